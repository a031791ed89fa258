"""Label images as people have them: lossy, in colour, with palettes, resized, masks of 255."""

import cv2
import numpy as np
import pytest
from label_scenes import (
    CLASSES,
    HEIGHT,
    METAINFO,
    NAMES,
    WIDTH,
    build,
    check,
    encode,
    image,
    label_map,
    named,
    raw_png,
    write,
    write_labels,
)
from mmdet.registry import METRICS
from PIL import Image

from oneformer.evaluation.cityscapes import ground_truth_file
from oneformer.images.lossy_formats import lossy_format
from oneformer.preparation.files import read_png

LESION = dict(classes=('background', 'lesion'), thing_classes=())
FAKES = dict(  # that Pillow does not write
    HEIC=b'\0\0\0\x18ftypheic\0\0\0\0mif1heic',
    JXL=b'\x00\x00\x00\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ',
)


def lossy(kind):
    """A label image in a lossy format."""
    values = label_map(cat=6, dog=14)
    if kind in FAKES:
        return FAKES[kind]
    if kind == 'TIFF':
        return encode(values, 'TIFF', compression='jpeg')
    if kind == 'animated WEBP':
        frames = [Image.fromarray(array).convert('RGB') for array in (values, values + 9)]
        return encode(frames[0], 'WEBP', save_all=True, append_images=frames[1:])
    return encode(values, kind)


LOSSY = {
    'JPEG': 'a JPEG',
    'WEBP': 'a lossy WebP',
    'animated WEBP': 'a lossy WebP',
    'JPEG2000': 'a JPEG 2000',
    'AVIF': 'an AVIF',
    'HEIC': 'a HEIC',
    'JXL': 'a JPEG XL',
    'TIFF': 'a TIFF with JPEG inside',
}


@pytest.mark.parametrize('kind', LOSSY)
def test_lossy_label_images_are_refused_whatever_their_name(kind, tmp_path):
    write_labels(tmp_path, lossy(kind))
    with pytest.raises(
        ValueError,
        match=f'label PNG of .*0.png is {LOSSY[kind]} by its content.*'
        'Export the labels again as PNG; to convert',
    ):
        build(tmp_path, metainfo=dict(classes=tuple('abcdefghijklmno'), thing_classes=()))[0]


def test_lossy_labels_are_refused_wherever_labels_are_read(tmp_path):
    path = tmp_path / 'a_000000_000001_gtFine_labelIds.png'
    write(path, lossy('JPEG'))
    message = 'gtFine_labelIds.png is a JPEG by its content'
    sample = dict(img_path='a_000000_000001_leftImg8bit.png', ori_shape=(HEIGHT, WIDTH))
    (tmp_path / 'a').mkdir()
    path.rename(tmp_path / 'a' / path.name)
    with pytest.raises(ValueError, match=message):
        ground_truth_file(sample, str(tmp_path), 'labelIds')
    with pytest.raises(ValueError, match=message):
        read_png(tmp_path / 'a' / path.name, 'semantic map', 1)
    metric = METRICS.build(dict(type='SemanticIoU', seg_prefix=str(tmp_path / 'a')))
    metric.dataset_meta = METAINFO
    with pytest.raises(ValueError, match=message):
        metric.official_map(dict(img_path='a_000000_000001_gtFine_labelIds.jpg'))
    write_labels(tmp_path, lossy('JPEG'), suffix='.jpg')
    ((severity, _, text),) = check(tmp_path)
    assert severity == 'error' and 'seg/0.jpg is a JPEG by its content' in text


def grey_as(mode, kind='PNG', **options):
    grey = Image.fromarray(label_map())
    return encode(grey.convert(mode), kind, **options)


PLAIN = {
    'WEBP lossless': lambda: grey_as('RGB', 'WEBP', lossless=True),
    'TIFF': lambda: encode(label_map(), 'TIFF', compression='tiff_lzw'),
    'BMP': lambda: encode(label_map(), 'BMP'),
    '16 bits': lambda: encode(label_map(dtype=np.uint16)),
    'RGB': lambda: grey_as('RGB'),
    'RGBA': lambda: grey_as('RGBA'),
    'LA': lambda: grey_as('LA'),
    '2 bits': lambda: raw_png(label_map(), 2),
    '4 bits': lambda: raw_png(label_map(), 4),
    'PGM': lambda: b'P5 %d %d 2\n' % (WIDTH, HEIGHT) + label_map().tobytes(),
    'palette': lambda: encode(label_map(), palette=[7 * i % 256 for i in range(768)]),
}


@pytest.mark.parametrize('kind', PLAIN)
def test_numbers_are_read_as_they_are_stored(kind, tmp_path, said):
    write_labels(tmp_path, PLAIN[kind](), PLAIN[kind]())
    assert lossy_format(PLAIN[kind]()) is None
    dataset = build(tmp_path)
    for index in range(2):
        np.testing.assert_array_equal(named(dataset[index]), NAMES)
    odd = kind in ('WEBP lossless', 'RGB', 'RGBA', 'LA', '2 bits', '4 bits', 'PGM')
    assert ['label images such as' in text for text in said()] == [True] * odd
    assert [kind for _, kind, _ in check(tmp_path)] == ['label PNG of another kind'] * odd


def test_one_bit_is_zero_and_one(tmp_path):
    mask = label_map(dog=0)
    write_labels(tmp_path, raw_png(mask, 1), encode(Image.fromarray(mask > 0)))
    dataset = build(tmp_path, label_classes=('background', 'cat'))
    for index in range(2):
        assert (named(dataset[index]) == np.where(mask, 'cat', 'background')).all()


def test_channels_that_mean_something_are_refused(tmp_path):
    grey = Image.fromarray(label_map()).convert('RGBA')
    grey.putalpha(Image.fromarray(label_map(0, 255, 255)))
    write_labels(tmp_path, encode(grey))
    with pytest.raises(ValueError, match=r'0.png has \d+ pixels that are transparent.*alpha'):
        build(tmp_path)[0]
    deep = np.repeat(label_map(dtype=np.uint16)[..., None], 3, -1)
    write_labels(tmp_path, raw_png(deep, 16, colour=2))
    with pytest.raises(ValueError, match='several channels of 16 bits.*export it in grey'):
        build(tmp_path)[0]


# palettes

COLORS = {'background': (0, 0, 0), 'cat': (255, 0, 0), 'dog': (0, 255, 0)}


def indexed(*names, spare=()):
    """A label image with a palette of the colours of these classes, in their order."""
    index = {name: number for number, name in enumerate(names)}
    values = np.vectorize(index.get)(NAMES).astype(np.uint8)
    return encode(values, palette=[c for name in names for c in COLORS[name]] + list(spare))


def test_a_colour_at_another_value_is_an_error_and_colours_can_be_read(tmp_path):
    write_labels(tmp_path, indexed(*CLASSES), indexed('cat', 'background', 'dog'))
    dataset = build(tmp_path)
    dataset[0]
    for _ in range(2):  # again and again
        with pytest.raises(
            ValueError,
            match=r'1.png has the colour .* at value 0 .*0.png has it '
            r'at value 1.*label_colors=',
        ):
            dataset[1]
    ((severity, kind, text),) = check(tmp_path)
    assert (severity, kind) == ('error', 'palettes differ')
    assert '1.png' in text and '0.png' in text
    colors = {color: name for name, color in COLORS.items()}
    dataset = build(tmp_path, label_colors=colors)
    for index in range(2):
        np.testing.assert_array_equal(named(dataset[index]), NAMES)
    assert check(tmp_path, label_colors=colors) == []


def test_other_colours_of_the_same_values_are_said(tmp_path, said):
    other = encode(label_map(), palette=[9, 9, 9, 50, 60, 70, 80, 90, 100])
    write_labels(tmp_path, indexed(*CLASSES), other, other)
    dataset = build(tmp_path)
    for index in range(3):
        np.testing.assert_array_equal(named(dataset[index]), NAMES)
    (text,) = said()
    assert 'values are read whatever their colours' in text
    assert [found[:2] for found in check(tmp_path)] == [('warning', 'palettes differ')]


def test_entries_that_no_pixel_uses_do_not_matter(tmp_path, said):
    write_labels(tmp_path, indexed(*CLASSES), indexed(*CLASSES, spare=(0, 255, 0, 1, 2, 3)))
    dataset = build(tmp_path)
    assert [named(dataset[i]).tolist() for i in range(2)] == [NAMES.tolist()] * 2
    assert said() == [] and check(tmp_path) == []


# colours

RGB = np.array(list(COLORS.values()), np.uint8)[label_map()]


def test_a_colour_picture_is_named_with_its_colours_and_the_remedy(tmp_path):
    write_labels(tmp_path, RGB)
    cat, dog = (NAMES == 'cat').sum(), (NAMES == 'dog').sum()
    with pytest.raises(
        ValueError,
        match=rf'\(0, 0, 0\) in {NAMES.size - cat - dog} pixels, '
        rf'\(0, 255, 0\) in {dog} pixels, \(255, 0, 0\) in {cat} pixels.*'
        r"label_colors={\(0, 0, 0\): 'background'",
    ):
        build(tmp_path)[0]
    write_labels(tmp_path, image())
    with pytest.raises(ValueError, match='so many that it may be a photograph'):
        build(tmp_path)[0]


@pytest.mark.parametrize(
    'colors, expected',
    [
        ({(0, 0, 0): 'background', (255, 0, 0): 'cat', (0, 255, 0): 'dog'}, CLASSES),
        ({'#000000': None, '#FF0000': 'cat', '#00ff00': 'dog'}, ('', 'cat', 'dog')),
        ({(0, 0, 0): 'kitty', (255, 0, 0): 'dog', (0, 255, 0): 'dog'}, ('cat', 'dog', 'dog')),
    ],
)
def test_a_table_of_colours_names_them(colors, expected, tmp_path):
    write_labels(tmp_path, RGB)
    metainfo = dict(METAINFO, aliases=dict(kitty='cat'))
    dataset = build(tmp_path, label_colors=colors, metainfo=metainfo)
    np.testing.assert_array_equal(named(dataset[0]), np.array(expected)[label_map()])
    assert check(tmp_path, label_colors=colors, metainfo=metainfo) == []


def test_colours_that_are_not_listed_and_wrong_tables_are_named(tmp_path):
    write_labels(tmp_path, RGB)
    colors = {(255, 0, 0): 'cat', (0, 255, 0): 'dog'}
    with pytest.raises(
        ValueError,
        match=r'0.png has \d+ pixels of colour .* \(0, 0, 0\), which '
        'label_colors does not list.*None for void',
    ):
        build(tmp_path, label_colors=colors)[0]
    with pytest.raises(ValueError, match=r'pixels of colour \(R, G, B\) \(0, 255, 0\) and \d+ '):
        build(tmp_path, label_colors={(0, 0, 0): 'background'})[0]
    with pytest.raises(ValueError, match=r'label_colors has \[\(0, 0, 300\)\]'):
        build(tmp_path, label_colors={(0, 0, 300): 'cat'})
    with pytest.raises(ValueError, match='takes the place of label_classes'):
        build(tmp_path, label_colors=colors, label_classes=CLASSES)
    with pytest.raises(ValueError, match='label_colors lists #ff0000 twice'):
        build(tmp_path, label_colors={**colors, '#ff0000': 'dog'})
    assert [f[1] for f in check(tmp_path, label_colors=colors)] == ['colour is not a class']


# values


def masks(folder, *values, number=2):
    """Label images of a cat and a dog, each of its value, or both of the last."""
    label = label_map(*values) if len(values) == 3 else label_map(values[0], values[1], values[1])
    write_labels(folder, *[label] * number)
    return label


@pytest.mark.parametrize(
    'values, options, remedy, fixed',
    [
        (
            (0, 255),
            dict(metainfo=LESION),
            "label_classes={0: 'background', 255: 'lesion'}, ignore_index=None",
            dict(label_classes={0: 'background', 255: 'lesion'}, ignore_index=None),
        ),
        (
            (0, 255),  # the default does not hold where 255 is a class
            dict(metainfo=LESION),
            'Void by ignore_index=255',
            dict(label_classes={'0': 'background', '255': 'lesion'}),
        ),
        (
            (0, 1),
            dict(metainfo=LESION, reduce_zero_label=True),
            'Void by reduce_zero_label=True',
            dict(reduce_zero_label=False),
        ),
        (
            (0, 255),
            dict(metainfo=dict(classes=('lesion',), thing_classes=())),
            "classes=('background', 'lesion') in metainfo, here and in the model",
            dict(metainfo=LESION, label_classes={0: 'background', 255: 'lesion'}),
        ),
    ],
)
def test_masks_whose_objects_are_void_are_an_error_with_a_remedy_that_works(
    values, options, remedy, fixed, tmp_path
):
    label = masks(tmp_path, *values)
    found = [f for f in check(tmp_path, **options) if f[0] == 'error']
    assert [kind for _, kind, _ in found] == ['labels teach nothing']
    assert remedy in found[0][2]
    options = {**options, **fixed}
    expected = np.where(label > 0, 'lesion', 'background')
    assert (named(build(tmp_path, **options)[0]) == expected).all()
    assert check(tmp_path, **options) == []


def test_the_start_of_training_names_them_too(tmp_path, said):
    """From a few label images, so a warning where there are more, and an error where not."""
    masks(tmp_path / 'few', 0, 255)
    with pytest.raises(ValueError, match='so that nothing is taught.*ignore_index=None'):
        build(tmp_path / 'few', metainfo=LESION)
    masks(tmp_path / 'many', 0, 255, number=20)
    said()
    assert len(build(tmp_path / 'many', metainfo=LESION)) == 20
    (text,) = said()
    assert '16 label PNGs that were looked at, of 20' in text and 'ignore_index=None' in text
    build(tmp_path / 'many', metainfo=LESION, label_classes={0: 'background', 255: 'lesion'})
    assert said() == []


def test_classes_without_a_pixel_are_named(tmp_path):
    masks(tmp_path / 'values', 0, 1)
    ((severity, kind, text),) = check(tmp_path / 'values')
    assert (severity, kind) == ('warning', 'class without target')
    assert 'no pixel of 2 label images shows dog' in text
    assert check(tmp_path / 'values', test_mode=True) == []
    write_labels(tmp_path / 'colours', RGB)
    colors = {(0, 0, 0): 'background', (255, 0, 0): None, (0, 255, 0): None}
    for _ in range(2):
        found = check(tmp_path / 'colours', label_colors=colors)
        assert [f[:2] for f in found] == [('warning', 'labels teach nothing')]
        assert "show 'background' and void alone" in found[0][2]
        colors[9, 9, 9] = 'cat'


def test_masks_of_grey_steps_and_of_one_class_are_explained(tmp_path):
    masks(tmp_path / 'steps', 0, 128, 255)
    remedy = "label_classes={0: 'background', 128: 'cat', 255: 'dog'}, ignore_index=None"
    with pytest.raises(ValueError, match=r'grey steps.*say ') as error:
        build(tmp_path / 'steps')[0]
    assert remedy in str(error.value)
    classes = {0: 'background', 128: 'cat', 255: 'dog'}
    dataset = build(tmp_path / 'steps', label_classes=classes, ignore_index=None)
    np.testing.assert_array_equal(named(dataset[0]), NAMES)
    masks(tmp_path / 'ones', 0, 1)
    one = dict(classes=('lesion',), thing_classes=())
    with pytest.raises(
        ValueError,
        match=r"If 1 is 'lesion' and 0 is background, say label_classes="
        r"\{0: 'background', 1: 'lesion'\}",
    ):
        build(tmp_path / 'ones', metainfo=one)[0]
    masks(tmp_path / 'from one', 1, 2, 3)
    with pytest.raises(ValueError, match=r"count classes from 1, say label_classes=\(None, 'back"):
        build(tmp_path / 'from one')[0]
    dataset = build(tmp_path / 'from one', label_classes=(None, *CLASSES))
    np.testing.assert_array_equal(named(dataset[0]), NAMES)


def test_sets_of_one_value_are_named(tmp_path):
    masks(tmp_path, 0, 0)
    ((severity, kind, text),) = check(tmp_path)
    assert (severity, kind) == ('warning', 'labels teach nothing')
    assert "is 'background' (value 0 in 100 % of the pixels)" in text
    found = check(tmp_path, reduce_zero_label=True)
    assert 'error' in [severity for severity, _, _ in found]
    # void that somebody wrote is meant
    masks(tmp_path, 0, 1)
    found = check(tmp_path, label_classes=('background', None))
    assert [f[:2] for f in found] == [('warning', 'labels teach nothing')]


def test_a_wrong_ignore_index_is_named(tmp_path):
    masks(tmp_path, 0, 1)
    for wrong in (-1, '255', (254, 255), 1.0):
        with pytest.raises(ValueError, match='ignore_index is .*or None if there is none'):
            build(tmp_path, ignore_index=wrong)
    with pytest.raises(ValueError, match=r"{255: 'dog'}.*ignore_index=None"):
        build(tmp_path, label_classes={0: 'cat', 255: 'dog'}, ignore_index=255)


def test_labels_that_were_resized_or_are_photographs_are_named(tmp_path):
    many = dict(classes=tuple(f'class {k}' for k in range(200)), thing_classes=())
    label = label_map(0, 60, 150)
    large = cv2.resize(label, (3 * WIDTH, 3 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    clean = cv2.resize(label, (3 * WIDTH, 3 * HEIGHT), interpolation=cv2.INTER_NEAREST)
    for name, values in (('linear', large), ('nearest', clean)):
        write_labels(tmp_path / name, values, values)
        for number in range(2):
            write(tmp_path / name / f'img/{number}.jpg', np.zeros((*values.shape, 3), np.uint8))
    assert [f[1] for f in check(tmp_path / 'nearest', metainfo=many)] == ['class without target']
    ((severity, kind, text), _) = check(tmp_path / 'linear', metainfo=many)
    assert (severity, kind) == ('warning', 'mixed values')
    assert '2 of 2 label PNGs' in text and 'nearest neighbour' in text
    write_labels(tmp_path / 'image', image()[..., 0])
    with pytest.raises(
        ValueError,
        match=r'different values, 4 mean something: it looks like a '
        'photograph',
    ):
        build(tmp_path / 'image')[0]
