"""Images and label images are paired whatever their suffixes are, or the reason is named."""

import codecs

import numpy as np
import pytest
from label_scenes import (
    NAMES,
    build,
    check,
    config_of,
    encode,
    image,
    label_map,
    named,
    write,
    write_labels,
)
from mmdet.registry import DATASETS

KINDS = dict(jpg='JPEG', jpeg='JPEG', png='PNG', tif='TIFF')


def write_pairs(folder, *names, labels=None, seg='seg'):
    """Images of these names, and a label image of the same stem for each, or of given names."""
    for number, name in enumerate(names):
        stem, _, suffix = name.rpartition('.')
        write(folder / 'img' / name, encode(image(number), KINDS[suffix.lower()]))
        write(folder / seg / (labels[number] if labels else f'{stem}.png'), label_map())


def pairs(dataset, folder):
    """For each sample its id, image and label image, as they lie in the folder."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (i['img_id'], *(i[key].removeprefix(f'{folder}/') for key in ('img_path', 'seg_map_path')))
        for i in infos
    ]


MIXED = ('1.jpg', '2.JPG', '3.jpeg', '4.png', 'town/5.PNG', '6.tif')


@pytest.mark.parametrize(
    'options, count',
    [
        (dict(), 6),
        (dict(img_suffix=('.jpg', '.JPG', '.jpeg', '.png', '.PNG', '.tif')), 6),
        (dict(img_suffix=['.JPG'], seg_map_suffix=('.png',), report=print), 1),
    ],
)
def test_images_of_several_suffixes_are_read(options, count, tmp_path):
    write_pairs(tmp_path, *MIXED)
    dataset = build(tmp_path, **options)
    assert len(dataset) == count
    for index in range(count):
        np.testing.assert_array_equal(named(dataset[index]), NAMES)
    if not options:
        assert check(tmp_path) == []
        assert pairs(dataset, tmp_path)[4:] == [
            ('6', 'img/6.tif', 'seg/6.png'),
            ('town/5', 'img/town/5.PNG', 'seg/town/5.png'),
        ]


@pytest.mark.parametrize(
    'options, images, labels',
    [
        (dict(seg_map_suffix='_mask.png'), ['a.jpg', 'b.JPG'], ['a_mask.png', 'b_mask.png']),
        (
            dict(img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelIds.png'),
            ['a_leftImg8bit.png', 'b_leftImg8bit.png'],
            ['a_gtFine_labelIds.png', 'b_gtFine_labelIds.png'],
        ),
        (
            dict(seg_map_suffix=('_mask.png', '.png')),
            ['a.jpg', 'b.jpg'],
            ['a_mask.png', 'b.png'],
        ),
        (dict(), ['a.jpg', 'b.jpeg'], ['a.PNG', 'b.tif']),
    ],
)
@pytest.mark.parametrize('seg', ['seg', 'img', 'img/labels'])
def test_label_suffixes_of_all_kinds_in_folders_of_all_kinds(
    options, images, labels, seg, tmp_path
):
    if seg == 'img' and labels[0].endswith('PNG'):
        labels = ['a.png', 'b.png']
    write_pairs(tmp_path, *images, labels=labels, seg=seg)
    write(tmp_path / 'img/._a.jpg', b'what macOS leaves behind')
    dataset = build(tmp_path, data_prefix=dict(img='img', seg=seg), **options)
    assert pairs(dataset, tmp_path) == [
        (i.rpartition('.')[0], f'img/{i}', f'{seg}/{s}') for i, s in zip(images, labels)
    ]
    np.testing.assert_array_equal(named(dataset[1]), NAMES)


def test_two_files_of_one_name_are_named(tmp_path):
    write_pairs(tmp_path, 'a.jpg', 'a.png')
    with pytest.raises(ValueError, match=r'2 images of one label, a: a.jpg, a.png.*img_suffix'):
        build(tmp_path)
    assert len(build(tmp_path, img_suffix='.png')) == 1
    write(tmp_path / 'seg/a.tif', encode(label_map(), 'TIFF'))
    with pytest.raises(ValueError, match=r'2 label images of one image, a: a.png, a.tif'):
        build(tmp_path, img_suffix='.png')
    assert [f[1] for f in check(tmp_path)] == ['ambiguous files'] * 2


def test_files_of_one_name_in_two_folders_have_two_ids(tmp_path):
    write_pairs(tmp_path, 'cam0/1.jpg', 'cam1/1.jpg')
    ids = [number for number, _, _ in pairs(build(tmp_path), tmp_path)]
    assert ids == ['cam0/1', 'cam1/1']


def test_the_reason_of_a_missing_partner_is_named(tmp_path):
    write_pairs(tmp_path / 'a', *MIXED)
    with pytest.raises(ValueError) as error:
        build(tmp_path / 'a', img_suffix='.jpg')
    text = str(error.value)
    assert 'img has 6 files: ' in text and '.JPG 1' in text and '.jpeg 1' in text
    assert "Set img_suffix=('.jpg', " in text and 'leave it out to read all images' in text
    write_pairs(tmp_path / 'b', '1.jpg', '2.jpg', labels=['1_mask.png', '2_mask.png'])
    with pytest.raises(ValueError, match=r"has 2 files: .png 2. Set seg_map_suffix='_mask.png'"):
        build(tmp_path / 'b')
    with pytest.raises(ValueError, match=r'has no file \*.bmp.*img has 2 files: .jpg 2'):
        build(tmp_path / 'b', img_suffix='.bmp')
    for wrong in (5, (), ('.jpg', None), {}):
        with pytest.raises(ValueError, match='img_suffix is .*has to be a text such as'):
            build(tmp_path / 'b', img_suffix=wrong)


LISTS = {
    'stems': b'b\ntown/c\n',
    'names': b'b.JPG\ntown/c.png\n',
    'names of labels': b'b.png\ntown/c\n',
    'windows': codecs.BOM_UTF8 + b'b\r\ntown\\c\r\n\r\n',
    'notepad': 'b\r\ntown/c'.encode('utf-16'),
}


@pytest.mark.parametrize('kind', LISTS)
def test_lists_with_and_without_suffix(kind, tmp_path, said):
    write_pairs(tmp_path, 'a.jpg', 'b.JPG', 'town/c.png')
    (tmp_path / 'list.txt').write_bytes(LISTS[kind])
    dataset = build(tmp_path, ann_file='list.txt')
    assert pairs(dataset, tmp_path) == [
        ('b', 'img/b.JPG', 'seg/b.png'),
        ('town/c', 'img/town/c.png', 'seg/town/c.png'),
    ]
    assert len(said()) == dict(windows=2, notepad=1).get(kind, 0)


def test_lists_choose_among_files_of_one_name_and_their_faults_are_named(tmp_path, said):
    write_pairs(tmp_path, 'a.jpg', 'a.png', 'b.jpg')

    def load(text):
        (tmp_path / 'list.txt').write_text(text)
        return pairs(build(tmp_path, ann_file='list.txt'), tmp_path)

    assert load('a.png') == [('a', 'img/a.png', 'seg/a.png')]
    with pytest.raises(ValueError, match=r'2 images of one label, a: a.jpg, a.png'):
        load('a')
    with pytest.raises(
        ValueError,
        match=r'1 of 2 listed names have no file in .*img, one is '
        r"'c'.*img has 3 files: .jpg 2, .png 1",
    ):
        load('b\nc')
    with pytest.raises(ValueError, match='Write one name per line'):
        load('img/b.jpg seg/b.png')
    (tmp_path / 'seg/b.png').unlink()
    with pytest.raises(ValueError, match=r'no file in .*seg, one is .b.'):
        load('b')
    said()
    assert len(load('a.jpg\na.jpg')) == 2
    assert ['listed more than once' in text for text in said()] == [True]


@pytest.mark.parametrize('listed', [False, True])
def test_wrong_suffixes_of_mmsegmentation_are_named(listed, tmp_path):
    write_pairs(tmp_path, '1.JPG', '2.JPG')
    (tmp_path / 'list.txt').write_text('1\n2\n')
    source = dict(
        type='mmseg.BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='img', seg_map_path='seg'),
        ann_file='list.txt' if listed else '',
        metainfo=dict(classes=('background', 'cat', 'dog')),
    )

    def load(**options):
        return build(tmp_path, data_root=None, data_prefix={}, dataset={**source, **options})

    with pytest.raises(ValueError, match="img_suffix='.jpg' .*img has 2 files: .JPG 2"):
        load()
    with pytest.raises(ValueError, match="label PNG of BaseSegDataset .*seg_map_suffix='_m.png'"):
        load(img_suffix='.JPG', seg_map_suffix='_m.png')
    with pytest.raises(
        ValueError, match='ignore_index of a SemanticDataset with dataset=... would'
    ):
        build(tmp_path, dataset=source, ignore_index=None)
    dataset = load(img_suffix='.JPG')
    np.testing.assert_array_equal(named(dataset[1]), NAMES)
    assert [dataset.get_data_info(i)['img_id'] for i in range(2)] == ['1', '2']


def test_sets_of_both_kinds_of_labels_join(tmp_path):
    write_pairs(tmp_path / 'a', *MIXED)
    write_labels(tmp_path / 'b', label_map(0, 255, 255))
    classes = {0: 'background', 255: 'cat'}
    sets = [config_of(tmp_path / 'a'), config_of(tmp_path / 'b', label_classes=classes)]
    dataset = DATASETS.build(dict(type='JointDataset', datasets=sets))
    assert len(dataset) == 7
    assert set(named(dataset[6]).ravel()) == {'background', 'cat'}
