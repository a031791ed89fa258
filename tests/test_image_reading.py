"""Image files as a model sees them: EXIF orientation, more than 8 bits, alpha, PIL images."""

import io
import json
import zlib

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from oneformer.images.orientation import turn, turn_back
from oneformer.images.reading import load_image
from oneformer.images.rules import ImageRules

HEIGHT, WIDTH = 24, 36
X1, Y1, X2, Y2 = 4, 3, 14, 11  # of the cat
RED, GREY = (30, 60, 220), (120, 110, 100)  # BGR
CAT = dict(classes=('cat',), thing_classes=('cat',))
LOAD = [dict(type='LoadPhoto'), dict(type='LoadSegmentMap')]
ORIENTATIONS = range(2, 9)


def scene(height=HEIGHT, width=WIDTH):
    """BGR, with a cat."""
    image = np.full((height, width, 3), GREY, np.uint8)
    image[Y1:Y2, X1:X2] = RED
    return image


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def upright(image, orientation):
    """What Pillow makes of it."""
    stored = Image.fromarray(image)
    stored.info['exif'] = exif(orientation).tobytes()
    return np.array(ImageOps.exif_transpose(stored))


def late_exif(data):
    """A PNG whose EXIF follows the pixels."""
    start = data.index(b'eXIf') - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], 'big')
    rest = data[:start] + data[end:]
    return rest[:-12] + data[start:end] + rest[-12:]


def encoded(kind, image, orientation):
    """A file of stored pixels with an orientation."""
    kind, _, variant = kind.partition(' ')
    file = io.BytesIO()
    options = dict(JPEG=dict(quality=98, subsampling=0), WEBP=dict(lossless=True)).get(kind, {})
    Image.fromarray(image[..., ::-1]).save(file, kind, exif=exif(orientation), **options)
    return late_exif(file.getvalue()) if variant else file.getvalue()


def instances(folder, files, size=(HEIGHT, WIDTH), **options):
    """Write a set of images with a cat each; its dataset."""
    for part in ('img', ''):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / 'img' / name).write_bytes(data)
    box = [X1, Y1, X2, Y1, X2, Y2, X1, Y2]
    content = dict(
        images=[
            dict(id=k, file_name=name, height=size[0], width=size[1])
            for k, name in enumerate(files)
        ],
        annotations=[
            dict(id=k, image_id=k, category_id=1, iscrowd=0, area=80, segmentation=[box])
            for k in range(len(files))
        ],
        categories=[dict(id=1, name='cat')],
    )
    (folder / 'instances.json').write_text(json.dumps(content))
    return instance_set(folder, **options)


def instance_set(folder, pipeline=LOAD, **options):
    return DATASETS.build(
        dict(
            type='InstanceDataset',
            ann_file='instances.json',
            data_root=str(folder),
            data_prefix=dict(img='img/'),
            metainfo=CAT,
            pipeline=pipeline,
            serialize_data=False,
            **options,
        )
    )


def config_of(folder, **options):
    """A config for the tools, of the set in a folder."""
    set_config = dict(
        type='InstanceDataset',
        ann_file='instances.json',
        data_root=str(folder),
        data_prefix=dict(img='img/'),
        metainfo=CAT,
        pipeline=LOAD,
        **options,
    )
    path = folder / 'config.py'
    path.write_text(f'train_dataloader = dict(dataset={set_config!r})\n')
    return path


@pytest.fixture
def said(monkeypatch, tmp_path):
    """The notes that were logged, by whichever process."""
    log = tmp_path / 'said.txt'
    log.touch()

    def note(text, **kwargs):
        with log.open('a') as file:
            file.write(text + '\n')

    monkeypatch.setattr('oneformer.images.notes.print_log', note)
    return lambda: log.read_text().splitlines()


# orientation


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'PNG late', 'WEBP', 'TIFF'])
def test_one_option_chooses_the_frame_of_every_format(kind, tmp_path):
    stored = scene()
    for orientation in ORIENTATIONS:
        path = tmp_path / f'{orientation}.bin'
        path.write_bytes(encoded(kind, stored, orientation))
        for rules, expected in (
            (ImageRules(), upright(stored, orientation)),
            (ImageRules('upright'), upright(stored, orientation)),
            (ImageRules('stored'), stored),
        ):
            loaded = load_image(str(path), 'image', rules)
            assert loaded.orientation == orientation
            assert loaded.pixels.shape == expected.shape
            assert np.abs(loaded.pixels.astype(int) - expected).max() <= 8


def test_turning_back_undoes_turning():
    image = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    for orientation in range(1, 9):
        assert np.array_equal(turn(image, orientation), upright(image, orientation))
        assert np.array_equal(turn_back(turn(image, orientation), orientation), image)


@pytest.mark.parametrize('bits', [8, 16])
def test_a_deep_image_with_alpha_is_turned_too(bits, tmp_path):
    values = np.dstack([scene(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    data = cv2.imencode('.png', values if bits == 8 else values.astype(np.uint16) * 257)[1]
    chunk = exif(6).tobytes().removeprefix(b'Exif\0\0')
    body = b'eXIf' + chunk
    whole = len(chunk).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(4, 'big')
    data = data.tobytes()
    path = tmp_path / 'a.png'
    path.write_bytes(data[:33] + whole + data[33:])
    loaded = load_image(str(path), 'image')
    assert np.array_equal(loaded.pixels, upright(scene(), 6))
    assert np.array_equal(load_image(str(path), 'image', ImageRules('stored')).pixels, scene())


def test_metadata_that_says_nothing_or_nonsense_turns_nothing(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    tags = b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0%c\0\0\0\0\0\0\0'
    for options in (
        dict(exif=b'Exif\0\0no metadata'),
        dict(exif=tags % 99),
        dict(exif=tags % 0),
        dict(exif=(tags % 6)[:24]),
        dict(exif=exif(1)),
        dict(exif=b'Exif\0\0II*\0\xff\xff\xff\xff'),
        dict(xmp=xmp),
        {},
    ):
        Image.fromarray(scene()).save(tmp_path / 'a.jpg', **options)
        loaded = load_image(str(tmp_path / 'a.jpg'), 'image')
        assert loaded.orientation == 1 and loaded.pixels.shape[:2] == (HEIGHT, WIDTH)


def test_tags_of_either_byte_order_behind_others_turn(tmp_path):
    for order in ('<', '>'):
        tags = exif(6)
        tags[0x010F], tags[0x0110], tags[0x0131] = 'maker', 'a camera', 'a program'
        tags.endian = order
        Image.fromarray(scene()).save(tmp_path / 'a.jpg', exif=tags)
        assert load_image(str(tmp_path / 'a.jpg'), 'image').orientation == 6


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_labels_of_the_stored_pixels_are_named_where_sizes_differ(orientation, tmp_path):
    dataset = instances(tmp_path, {'a.jpg': encoded('JPEG', scene(), orientation)})
    message = (
        rf"\(24, 36\), but .*a.jpg has \(36, 24\): the file's EXIF orientation {orientation} turns "
        "it; labels fit the stored pixels: set orientation='stored'"
    )
    with pytest.raises(ValueError, match=message):
        dataset[0]
    sample = instance_set(tmp_path, orientation='stored')[0]
    assert np.abs(sample['img'][sample['gt_seg_map'] == 1] - RED).max() <= 8
    # labels of the other frame, by an option of the loader
    upside = instances(tmp_path, {'a.jpg': encoded('JPEG', scene(), orientation)}, (WIDTH, HEIGHT))
    assert upside[0]['img'].shape[:2] == (WIDTH, HEIGHT)
    pipeline = [dict(type='LoadPhoto', orientation='stored'), LOAD[1]]
    with pytest.raises(ValueError, match="that it is turned to: set orientation='upright'"):
        instance_set(tmp_path, pipeline)[0]


def png_labels(folder, kind, orientation):
    """A set of one image that a camera turned, with label PNGs of its stored pixels."""
    for part in ('img', 'seg'):
        (folder / part).mkdir(parents=True)
    (folder / 'img/a.jpg').write_bytes(encoded('JPEG', scene(), orientation))
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[Y1:Y2, X1:X2] = 1
    base = dict(data_root=str(folder), data_prefix=dict(img='img/', seg='seg/'), pipeline=LOAD)
    base['serialize_data'] = False
    if kind == 'semantic':
        cv2.imwrite(str(folder / 'seg/a.png'), values)
        meta = dict(classes=('rest', 'cat'), thing_classes=())
        return dict(base, type='SemanticDataset', metainfo=meta), 2
    cv2.imwrite(str(folder / 'seg/a.png'), np.dstack([values * 0, values * 0, values]))
    content = dict(
        images=[dict(id=1, file_name='a.jpg', height=WIDTH, width=HEIGHT)],
        annotations=[
            dict(image_id=1, file_name='a.png', segments_info=[dict(id=1, category_id=1)])
        ],
        categories=[dict(id=1, name='cat')],
    )
    (folder / 'panoptic.json').write_text(json.dumps(content))
    return dict(base, type='PanopticDataset', ann_file='panoptic.json', metainfo=CAT), 1


@pytest.mark.parametrize('kind', ['panoptic', 'semantic'])
def test_label_images_of_the_stored_pixels_are_named(kind, tmp_path):
    config, cat = png_labels(tmp_path, kind, 8)
    with pytest.raises(ValueError, match=r"seg/a.png has .* set orientation='stored'"):
        DATASETS.build(config)[0]
    if kind == 'panoptic':  # its JSON states the upright size, as some exports do
        content = json.loads((tmp_path / 'panoptic.json').read_text())
        content['images'][0].update(height=HEIGHT, width=WIDTH)
        (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    sample = DATASETS.build({**config, 'orientation': 'stored'})[0]
    assert np.abs(sample['img'][sample['gt_seg_map'] == cat] - RED).max() <= 8


def test_label_images_are_read_as_they_are_stored(tmp_path):
    config, _ = png_labels(tmp_path, 'panoptic', 1)
    content = json.loads((tmp_path / 'panoptic.json').read_text())
    content['images'][0].update(height=HEIGHT, width=WIDTH)
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    png = np.array(Image.open(tmp_path / 'seg/a.png'))
    for orientation in (3, 6):
        Image.fromarray(png).save(tmp_path / 'seg/a.png', exif=exif(orientation))
        sample = DATASETS.build(config)[0]
        assert np.abs(sample['img'][sample['gt_seg_map'] == 1] - RED).max() <= 8


@pytest.mark.parametrize(
    ('orientation', 'side'), [(2, WIDTH), (3, WIDTH), (4, WIDTH), (5, HEIGHT), (8, HEIGHT)]
)
def test_labels_that_fit_either_frame_are_asked_about_once(orientation, side, tmp_path, said):
    size = HEIGHT, side
    files = {f'{k}.jpg': encoded('JPEG', scene(*size), orientation) for k in range(8)}
    dataset = instances(tmp_path, files, size)
    loader = DataLoader(dataset, num_workers=2, batch_size=2, collate_fn=list)
    assert len([sample for _ in range(2) for batch in loader for sample in batch]) == 16
    (line,) = set(said())
    assert len(said()) <= 2  # two workers may meet theirs at the same moment
    assert f'EXIF orientation {orientation} and is turned upright' in line
    assert "set orientation='stored'" in line and "orientation='upright' confirms" in line
    before = len(said())
    stored = instance_set(tmp_path, orientation='stored')[0]
    assert np.abs(stored['img'][stored['gt_seg_map'] == 1] - RED).max() <= 8
    turned = instance_set(tmp_path, orientation='upright')[0]
    assert np.abs(turned['img'].astype(int) - upright(scene(*size), orientation)).max() <= 8
    assert len(said()) == before


def test_nothing_is_said_where_sizes_tell_that_labels_are_upright(tmp_path, said):
    dataset = instances(
        tmp_path, {'a.jpg': encoded('JPEG', scene(WIDTH, HEIGHT), 6)}, (HEIGHT, WIDTH)
    )
    assert dataset[0]['img'].shape[:2] == (HEIGHT, WIDTH)
    assert not said()


def test_the_check_counts_orientations_and_its_remedy_works(tmp_path, run_tool, capsys):
    files = {f'{k}.jpg': encoded('JPEG', scene(), k) for k in (1, 3, 3 + 1, 6, 8)}
    files['again.jpg'] = files['3.jpg']
    instances(tmp_path, files)
    config = config_of(tmp_path)
    with pytest.raises(SystemExit):
        run_tool('check_dataset', config, '--workers', 1)
    text = capsys.readouterr().out
    assert 'error: sizes differ (2)' in text and "set orientation='stored'" in text
    assert '3 of 6 images have an EXIF orientation that does not change their size' in text
    assert '(orientation 3: 2, orientation 4: 1)' in text
    assert 'labels of 2 other images with an orientation are drawn on the stored pixels' in text
    stored = '--cfg-options', 'train_dataloader.dataset.orientation=stored'
    assert '0 errors, 0 warnings' in run_tool('check_dataset', config, '--workers', 1, *stored)
    loader = '--cfg-options', 'train_dataloader.dataset.pipeline.0.orientation=stored'
    assert '0 errors, 0 warnings' in run_tool('check_dataset', config, '--workers', 2, *loader)


def test_the_check_names_sets_that_are_read_otherwise_than_training(tmp_path, run_tool):
    instances(tmp_path, {'a.png': cv2.imencode('.png', scene())[1].tobytes()})
    config = config_of(tmp_path, orientation='stored')
    train = config.read_text().removeprefix('train_')
    for options, warnings in ((dict(orientation='upright'), 1), (dict(orientation='stored'), 0)):
        val = config_of(tmp_path, **options).read_text().removeprefix('train_')
        config.write_text(f'train_{train}val_{val}')
        text = run_tool('check_dataset', config, '--workers', 1)
        assert f'0 errors, {warnings} warnings' in text
        line = "val reads images by {'orientation': 'upright'}, but training by {'orientation': 'st"
        assert (line in text) == bool(warnings)


def test_an_unknown_frame_and_a_loader_that_knows_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="orientation is 'raw': it has to be one of .*'stored'"):
        instance_set(tmp_path, orientation='raw')
    pipeline = [dict(type='mmdet.LoadImageFromFile'), LOAD[1]]
    with pytest.raises(ValueError, match="LoadImageFromFile .* write dict.type='LoadPhoto'"):
        instance_set(tmp_path, pipeline, orientation='stored')


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_label_numbers_are_read_as_they_are_stored(suffix, tmp_path):
    config, cat = png_labels(tmp_path, 'semantic', 1)
    values = Image.open(tmp_path / 'seg/a.png')
    values.load()
    (tmp_path / 'seg/a.png').unlink()
    for orientation in (4, 6):
        values.save(tmp_path / f'seg/a{suffix}', exif=exif(orientation))
        sample = DATASETS.build({**config, 'seg_map_suffix': suffix})[0]
        assert np.abs(sample['img'][sample['gt_seg_map'] == cat] - RED).max() <= 8


# more than 8 bits


def deep_files(values):
    """Encodings of grey values of uint16, of the same sizes."""
    colour = np.dstack([values // 2, values, values // 4])
    alpha = np.dstack([colour, np.full_like(values, 65535)])
    pgm = b'P5\n%d %d\n4095\n' % values.shape[::-1] + values.astype('>u2').tobytes()
    encode = {
        'grey.png': ('.png', values),
        'colour.png': ('.png', colour),
        'alpha.png': ('.png', alpha),
        'grey.tif': ('.tif', values),
        'colour.tif': ('.tif', colour),
    }
    files = {name: cv2.imencode(*how)[1].tobytes() for name, how in encode.items()}
    return files | {'grey.pgm': pgm}


def ramp(top, dtype=np.uint16):
    """Values from 0 to ``top``."""
    return np.linspace(0, top, HEIGHT * WIDTH).astype(dtype).reshape(HEIGHT, WIDTH)


def test_twelve_bits_fill_the_range_in_every_format(tmp_path, said):
    values = ramp(4000)
    expected = (values * (255 / 4095)).round()
    files = deep_files(values)
    dataset = instances(tmp_path, files)
    for k, name in enumerate(files):
        image = dataset[k]['img']
        assert image.dtype == np.uint8 and image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(image[..., 1] - expected).max() <= 1, name
        if name.startswith('grey'):
            assert (image == image[..., :1]).all()
        else:
            assert np.abs(image[..., 0] - expected / 2).max() <= 1
    (line,) = said()
    assert 'has values of uint16 from 0 to 4000' in line and '0 to 4095, becomes 0 to 255' in line
    assert 'set value_range=(0, 4095)' in line


@pytest.mark.parametrize(
    ('top', 'white'), [(200, 255), (256, 1023), (4095, 4095), (4096, 16383), (60000, 65535)]
)
def test_the_fewest_bits_that_hold_an_image_are_its_range(top, white, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), ramp(top))
    loaded = load_image(str(tmp_path / 'a.png'), 'image')
    assert loaded.values == (0, top) and loaded.value_range == (0, white)
    assert loaded.pixels.max() == round(top * 255 / white)


def test_a_range_of_values_and_percentiles_are_rules_of_the_dataset(tmp_path, said):
    files = {f'{k}.png': cv2.imencode('.png', ramp(top))[1] for k, top in enumerate((900, 4000))}
    instances(tmp_path, {name: data.tobytes() for name, data in files.items()})
    alike = instance_set(tmp_path, value_range=(100, 4100))
    assert [alike[k]['img'].max() for k in (0, 1)] == [51, 249] and alike[0]['img'].min() == 0
    each = instance_set(tmp_path, value_range=dict(percentiles=[1, 99]))
    for k in (0, 1):
        shares = [(each[k]['img'][..., 0] == end).mean() for end in (0, 255)]
        assert shares == pytest.approx([0.01, 0.01], abs=0.01)
    assert not said()  # rules that were chosen
    by_loader = instance_set(
        tmp_path, [dict(type='LoadPhoto', value_range=(0, 8000))], value_range=(0, 100)
    )
    assert by_loader[1]['img'].max() == round(4000 * 255 / 8000)
    for wrong in ((5, 5), (9, 5), (0, float('nan')), 'full', dict(percentiles=(0, 101)), 4095):
        with pytest.raises(ValueError, match='value_range is .* it has to be'):
            instance_set(tmp_path, value_range=wrong)


def test_numbers_without_black_and_white_are_refused_until_these_are_said(tmp_path):
    floats = ramp(1, np.float32) - 0.5
    files = {
        'a.tif': cv2.imencode('.tif', floats)[1].tobytes(),
        'b.tif': cv2.imencode('.tif', ramp(3000, np.int16) - 1000)[1].tobytes(),
        'c.tif': cv2.imencode('.tif', ramp(90000, np.int32))[1].tobytes(),
    }
    dataset = instances(tmp_path, files)
    for k, found in enumerate(('float32 from -0.5', 'int16 from -1000', 'int32 from 0 to 90000')):
        with pytest.raises(ValueError, match=f'{found}.*set value_range='):
            dataset[k]
    window = instance_set(tmp_path, value_range=(-0.5, 0.5))
    assert np.array_equal(window[0]['img'][..., 0], ((floats + 0.5) * 255).round())
    assert instance_set(tmp_path, value_range=(-1000, 2000))[1]['img'].max() == 255
    floats[0, 0] = np.nan
    (tmp_path / 'img/a.tif').write_bytes(cv2.imencode('.tif', floats)[1].tobytes())
    with pytest.raises(ValueError, match='has 1 values that are nan'):
        window[0]


def test_the_check_names_ranges_that_differ_and_its_remedy_works(tmp_path, run_tool):
    files = {
        f'{k}.png': cv2.imencode('.png', ramp(top))[1] for k, top in enumerate((900, 4e3, 3e3))
    }
    instances(tmp_path, {name: data.tobytes() for name, data in files.items()})
    config = config_of(tmp_path)
    text = run_tool('check_dataset', config, '--workers', 1)
    assert 'warning: more than 8 bits (1)' in text
    assert '3 of 3 images have more than 8 bits, with values from 0 to 4000' in text
    assert '0 to 1023 (10 bits) of 1, 0 to 4095 (12 bits) of 2 images' in text
    assert 'dark ones brighter' in text and 'set value_range=(0, 4095)' in text
    remedy = '--cfg-options', 'train_dataloader.dataset.value_range=(0,4095)'
    assert '0 errors, 0 warnings' in run_tool('check_dataset', config, '--workers', 1, *remedy)


# what else a file may hold


def test_transparent_pixels_and_further_pages_are_named_once(tmp_path, said, run_tool):
    values = np.dstack([scene(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    opaque = cv2.imencode('.png', values)[1].tobytes()
    values[: HEIGHT // 2, :, 3] = 0
    clear = cv2.imencode('.png', values)[1].tobytes()
    pages = io.BytesIO()
    page = Image.fromarray(scene()[..., ::-1])
    page.save(pages, 'TIFF', save_all=True, append_images=[page, page])
    files = {'a.png': opaque, 'b.png': clear, 'c.png': clear, 'd.tif': pages.getvalue()}
    dataset = instances(tmp_path, files)
    for k in range(4):
        assert np.array_equal(dataset[k]['img'], scene())
    assert len(said()) == 2
    assert 'b.png has 50.0 % transparent pixels' in said()[0]
    assert 'd.tif is a file of 3 images, of which the first is read' in said()[1]
    text = run_tool('check_dataset', config_of(tmp_path), '--workers', 1)
    assert '2 of 4 images, such as' in text and 'have transparent pixels' in text
    assert '1 of 4 images, such as' in text and 'are files of several images' in text


@pytest.mark.parametrize('mode', ['CMYK', 'L', 'P', 'LA'])
def test_colours_of_other_modes_stay(mode, tmp_path):
    image = Image.fromarray(scene()[..., ::-1]).convert(mode)
    path = tmp_path / ('a.jpg' if mode == 'CMYK' else 'a.png')
    image.save(path, **(dict(quality=98) if mode == 'CMYK' else {}))
    expected = np.array(image.convert('RGB'))[..., ::-1].astype(int)
    assert np.abs(load_image(str(path), 'image').pixels - expected).max() <= 5
