"""The run of tools/convert_labels.py: outputs, divisions, resuming, and what is told."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from oneformer.annotation_formats.annotated import (
    AnnotatedImage,
    AnnotationSource,
    Category,
    Loss,
    Region,
    SourceImage,
)
from oneformer.annotation_formats.formats import FORMATS
from oneformer.annotation_formats.splitting import split_by_share

HEIGHT, WIDTH = 40, 60
CATEGORIES = (Category('cat', True), Category('road', False), Category('rare', True))


def rectangle(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


class Toy(AnnotationSource):
    """Text files beside the images: class, order, crowd, top, left, bottom, right."""

    title = 'rectangles'
    categories = CATEGORIES
    reads = 0

    def find(self):
        images = sorted(self.path.rglob('*.png'))
        names = [path.relative_to(self.path).as_posix() for path in images]
        missing = [f'{i}: no labels' for i in images if not i.with_suffix('.txt').exists()]
        return [
            SourceImage(name, path, annotation=path.with_suffix('.txt'))
            for name, path in zip(names, images)
        ], missing

    def read(self, image):
        type(self).reads += 1
        regions = []
        for number, line in enumerate(image.annotation.read_text().splitlines(), 1):
            name, *values = line.split()
            try:
                order, crowd, *box = map(int, values)
            except ValueError as error:
                raise ValueError(f'{image.annotation}, line {number}: {error}') from error
            options = dict(order=order, crowd=bool(crowd), where=f'line {number}')
            regions.append(Region.of_mask(name, rectangle(*box), **options))
        return AnnotatedImage(HEIGHT, WIDTH, regions, losses=[Loss('comment', image.name)])


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Ten images, in two folders, with cats on a road; one has something rare."""
    monkeypatch.setitem(FORMATS, 'toy', Toy)
    Toy.reads = 0
    rng = np.random.default_rng(0)
    for number in range(10):
        path = tmp_path / 'source' / f'cam{number % 2}' / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        lines = ['cat 2 0 10 10 20 20', 'road 1 0 15 0 30 60', 'road 1 0 30 0 35 60']
        lines += ['cat 0 1 0 50 5 60'] + ['rare 3 0 12 12 14 14'] * (number in (3, 4))
        path.with_suffix('.txt').write_text('\n'.join(lines))
    return tmp_path / 'source'


@pytest.fixture
def convert(run_tool, source, tmp_path):
    def run(*options, to='panoptic', out='out'):
        out = tmp_path / out
        printed = run_tool(
            'convert_labels', 'toy', source, out, '--to', to, '--workers', 1, *options
        )
        return out, printed

    return run


def read(path):
    return json.loads(path.read_text())


def files(out, split):
    return [image['file_name'] for image in read(out / f'{split}.json')['images']]


def read_ids(path):
    rgb = np.asarray(Image.open(path)).astype(int)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def test_panoptic_pixels_belong_to_the_region_on_top(convert):
    out, printed = convert('--split', 'train=1')
    content = read(out / 'train.json')
    names = {c['id']: (c['name'], c['isthing']) for c in content['categories']}
    assert sorted(names.values()) == [('cat', 1), ('rare', 1), ('road', 0)]
    for image, annotation in zip(content['images'], content['annotations']):
        number = int(Path(image['file_name']).stem)
        expected = np.full((HEIGHT, WIDTH), '', object)
        expected[0:5, 50:60] = 'cat crowd'
        expected[15:35] = 'road'
        expected[10:20, 10:20] = 'cat'
        if number in (3, 4):
            expected[12:14, 12:14] = 'rare'
        ids = read_ids(out / 'segments' / annotation['file_name'])
        got = np.full((HEIGHT, WIDTH), '', object)
        for segment in annotation['segments_info']:
            mask = ids == segment['id']
            name = names[segment['category_id']][0]
            got[mask] = name + ' crowd' * segment['iscrowd']
            assert mask.sum() == segment['area']
            left, top, width, height = segment['bbox']
            rows, columns = np.nonzero(mask)
            assert (rows.min(), columns.min()) == (top, left)
            assert (rows.max(), columns.max()) == (top + height - 1, left + width - 1)
        assert (got == expected).all() and not ids[expected == ''].any()
        assert len(annotation['segments_info']) == 3 + (number in (3, 4))
    share = (expected == '').mean()
    assert f'{share:.1%} of the pixels have no label' in printed
    assert 'left out: comment, 10 times' in printed and 'nothing is wrong' in printed


def test_instances_keep_their_whole_masks_and_lie_in_the_order_of_the_pile(convert):
    out, printed = convert(to='instance')
    assert 'an instance JSON has things only: road' in printed
    for split in ('train', 'val'):
        coco = COCO(str(out / f'{split}.json'))
        assert {c['name'] for c in coco.dataset['categories']} == {'cat', 'rare'}
        for image in coco.dataset['images']:
            crowd, cat, *rare = coco.imgToAnns[image['id']]
            assert crowd['iscrowd'] == 1 and cat['iscrowd'] == 0
            assert (coco.annToMask(cat) == rectangle(10, 10, 20, 20)).all()
            for one in rare:
                assert (coco.annToMask(one) == rectangle(12, 12, 14, 14)).all()
                assert one['bbox'] == [12, 12, 2, 2] and one['area'] == 4


def test_label_pngs_have_class_numbers_and_a_background_by_choice(convert):
    out, printed = convert(to='semantic')
    label = np.asarray(Image.open(out / 'labels/cam1/3.png'))
    assert label.dtype == np.uint8 and label[0, 0] == 255 and label[0, 55] == 0
    assert label[20, 0] == 1 and label[12, 12] == 2 and label[12, 15] == 0
    assert '--background NAME' in printed
    out, printed = convert('--background', 'other', to='semantic', out='filled')
    label = np.asarray(Image.open(out / 'labels/cam1/3.png'))
    assert label[0, 0] == 0 and label[0, 55] == 1 and label[20, 0] == 2
    assert '--background' not in printed


def test_the_result_trains_and_images_can_be_copied(convert, source):
    out, _ = convert('--copy-images')
    copies = sorted((out / 'images').rglob('*.png'))
    assert len(copies) == 10
    assert copies[0].read_bytes() == (source / 'cam0/0.png').read_bytes()
    assert not list(out.rglob('*.tmp')) and not (out / '.conversion').exists()


def test_both_parts_have_every_class_and_the_seed_decides(convert):
    out, printed = convert('--split', 'train=0.7', 'val=0.3')
    names = {
        s: [i['file_name'] for i in read(out / f'{s}.json')['images']] for s in ('train', 'val')
    }
    assert len(names['train']) == 7 and len(names['val']) == 3
    assert all({'cam1/3.png', 'cam0/4.png'} & set(part) for part in names.values())
    default, _ = convert(out='default')
    assert {'cam1/3.png', 'cam0/4.png'} & set(files(default, 'val'))
    again, _ = convert('--split', 'train=0.7', 'val=0.3', out='again')
    assert read(again / 'val.json')['images'] == read(out / 'val.json')['images']
    other, _ = convert('--split', 'train=0.7', 'val=0.3', '--seed', 1, out='other')
    assert read(other / 'val.json')['images'] != read(out / 'val.json')['images']


def test_a_division_keeps_the_share_of_every_class():
    rng = np.random.default_rng(0)
    shares = dict(train=0.7, val=0.2, test=0.1)
    classes = {
        f'{i}.jpg': [c for c in range(6) if rng.random() < 0.4 / (c + 1)] for i in range(500)
    }
    classes = {name: [str(c) for c in own] for name, own in classes.items()}
    part_of = split_by_share(classes, shares, 0)
    for label in map(str, range(6)):
        having = [name for name, own in classes.items() if label in own]
        for part, share in shares.items():
            found = sum(part_of[name] == part for name in having)
            assert abs(found - share * len(having)) <= 2
    assert part_of == split_by_share(dict(reversed(classes.items())), shares, 0)


def test_lists_divide_and_what_fits_nothing_is_named(convert, tmp_path):
    (tmp_path / 'a.txt').write_text('cam0/0.png\n2\n')
    (tmp_path / 'b.txt').write_text('cam1\\1\n')
    lists = f'train={tmp_path}/a.txt', f'val={tmp_path}/b.txt'
    out, printed = convert('--split-lists', *lists)
    assert [i['file_name'] for i in read(out / 'train.json')['images']] == [
        'cam0/0.png',
        'cam0/2.png',
    ]
    assert [i['file_name'] for i in read(out / 'val.json')['images']] == ['cam1/1.png']
    assert '7 images are in no list' in printed
    (tmp_path / 'b.txt').write_text('cam1/99\n')
    with pytest.raises(SystemExit, match="list of val has 'cam1/99'"):
        convert('--split-lists', *lists, out='other')
    (tmp_path / 'b.txt').write_text('0\n')
    with pytest.raises(SystemExit, match='cam0/0.png is listed for train and for val'):
        convert('--split-lists', *lists, out='third')


def test_a_broken_label_is_named_and_the_run_goes_on_after_it_is_mended(convert, source):
    broken = source / 'cam1/5.txt'
    good = broken.read_text()
    broken.write_text(good + '\ncat 0 0 1 x 3 4')
    with pytest.raises(SystemExit, match='1 images cannot be converted:\n.*5.txt, line 5'):
        convert()
    assert Toy.reads == 10
    broken.write_text(good)
    out, _ = convert()
    assert Toy.reads == 11 and len(list((out / 'segments').rglob('*.png'))) == 10
    _, printed = convert()
    assert 'has this conversion already' in printed and Toy.reads == 11
    broken.write_text('')
    with pytest.raises(SystemExit, match='has config.py already.*--overwrite'):
        convert()
    out, printed = convert('--overwrite', '--split', 'train=1')
    assert not (out / 'val.json').exists() and '1 images have no region' in printed
    assert len(list((out / 'segments').rglob('*.png'))) == 10


def test_of_many_broken_labels_the_first_are_shown_and_a_file_has_all(convert, source, monkeypatch):
    monkeypatch.setattr('oneformer.annotation_formats.conversion._SHOWN', 3)
    for label in source.rglob('*.txt'):
        label.write_text('cat x')
    with pytest.raises(SystemExit) as error:
        convert()
    said = str(error.value)
    assert said.count('line 1') == 3 and 'and 7 more, all of them in' in said
    path = Path(re.search('all of them in (.*)', said).group(1))
    assert path.read_text().count('line 1') == 10


def test_files_of_others_are_never_deleted(convert, tmp_path):
    (tmp_path / 'out/images').mkdir(parents=True)
    (tmp_path / 'out/images/mine.png').write_bytes(b'x')
    for options in ((), ('--overwrite',)):
        with pytest.raises(SystemExit, match='another folder'):
            convert(*options)
    assert (tmp_path / 'out/images/mine.png').read_bytes() == b'x'


def test_an_unfinished_run_with_other_options_is_not_mixed(convert, source):
    broken = source / 'cam1/5.txt'
    broken.write_text('cat')
    with pytest.raises(SystemExit, match='cannot be converted'):
        convert()
    with pytest.raises(SystemExit, match='unfinished conversion with other options'):
        convert(to='semantic')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--things', 'dog'], r"--things names \['dog'\], and the classes here are"),
        (['--things', 'cat', '--stuff', 'cat'], 'cannot be things and stuff'),
        (['--split', 'train=0.5', 'val=0.4'], 'sum up to 0.9'),
        (['--split', 'train'], "--split has 'train'"),
        (['--split-lists', 'val'], "--split-lists has 'val'"),
        (['--split', 'train=1', '--split-lists', 'val=x'], 'not both'),
    ],
)
def test_wrong_options_are_named_and_nothing_counts_as_done(convert, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        convert(*options)
    assert not (tmp_path / 'out/train.json').exists()


def test_panoptic_labels_need_to_know_what_is_counted(convert, monkeypatch):
    monkeypatch.setattr(Toy, 'categories', [Category(c.name) for c in CATEGORIES])
    with pytest.raises(SystemExit, match='nothing says it of .*--things CLASS'):
        convert()
    out, _ = convert('--stuff', 'road')
    things = {c['name']: c['isthing'] for c in read(out / 'train.json')['categories']}
    assert things == dict(cat=1, rare=1, road=0)


def test_regions_that_vanish_are_told(convert, source):
    (source / 'cam0/0.txt').write_text('cat 0 0 2 2 4 4\nroad 1 0 0 0 40 60\ncat 2 0 5 5 5 9')
    _, printed = convert()
    assert 'region wholly covered by others, 1 times' in printed and '0.png, line 1' in printed
    assert 'region without a pixel, 1 times' in printed and '0.png, line 3' in printed
