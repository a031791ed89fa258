"""What people hand to the inferencer in memory, and by which rules it reads their files."""

import io
import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from PIL import Image

from oneformer.inference import OneFormerInferencer
from oneformer.zoo import find_config

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'
SIZE = 48, 72


@pytest.fixture(scope='module')
def pixels():
    """An image, BGR."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(find_config(QUICKSTART)).model)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture(scope='module')
def inferencer(weights):
    return OneFormerInferencer(QUICKSTART, weights, 'cpu')


@pytest.fixture
def seen(inferencer, monkeypatch):
    """Images that the model gets, BGR, by the names of their predictions."""
    transform, images = inferencer.transform, []

    def keep(results):
        images.append(results['img'].copy())
        return transform(results)

    monkeypatch.setattr(inferencer, 'transform', keep)

    def read(inputs, **options):
        images.clear()
        predictions = inferencer(inputs, tasks='semantic', progress=False, **options)
        for image, prediction in zip(images, predictions, strict=True):
            assert image.dtype == np.uint8 and image.shape == (*prediction.semantic_map.shape, 3)
        return {prediction.name: image for image, prediction in zip(images, predictions)}

    return read


@pytest.fixture
def said(monkeypatch, inferencer):
    """The notes that were logged."""
    texts = []
    monkeypatch.setattr('oneformer.images.notes.print_log', lambda text, **_: texts.append(text))
    inferencer.say._said.zero_()
    return texts


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def reopened(image, kind='PNG', **options):
    """A PIL image that has not been decoded."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


def test_pil_images_are_read_like_their_arrays(pixels, inferencer):
    image = Image.fromarray(pixels[..., ::-1])
    predictions = inferencer([pixels, image, reopened(image)], tasks='semantic', progress=False)
    names = [prediction.name for prediction in predictions]
    assert names == ['array_000000', 'image_000001', 'image_000002']
    assert all(prediction.path is None for prediction in predictions)
    first, *others = (prediction.semantic_map for prediction in predictions)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(
    'mode', ['1', 'L', 'LA', 'P', 'RGBA', 'CMYK', 'YCbCr', 'HSV', 'PA', 'RGBX']
)
def test_pil_images_of_any_mode_have_their_colours(mode, pixels, seen):
    image = Image.fromarray(pixels[..., ::-1])
    image = image.convert('RGBA').convert(mode) if mode == 'PA' else image.convert(mode)
    expected = np.array(image.convert('RGB'))[..., ::-1].astype(int)
    (found,) = seen(image).values()
    assert np.abs(found - expected).max() <= 1


def test_deep_images_of_any_origin_are_read_by_one_rule(pixels, seen, said, tmp_path):
    values = pixels[..., 0].astype(np.uint16) * 16
    cv2.imwrite(str(tmp_path / 'a.png'), values)
    expected = (values * (255 / 4095)).round()
    inputs = [tmp_path / 'a.png', values, values[..., None], values.astype(np.int64)]
    inputs += [Image.fromarray(values), Image.open(tmp_path / 'a.png')]
    inputs += [Image.fromarray(values.astype(np.int32)), np.dstack([values] * 3)]
    images = seen(inputs)
    assert len(images) == len(inputs)
    for name, image in images.items():
        assert np.abs(image - expected[..., None]).max() <= 1, name
    (line,) = said
    assert 'a.png has values of uint16' in line and 'set value_range=(0, 4095)' in line
    chosen = seen(inputs, value_range=(0, 65535))
    assert max(image.max() for image in chosen.values()) == round(values.max() / 257)
    unit = values.astype(np.float32) / values.max()
    floats = seen([unit, Image.fromarray(unit)], value_range=(0, 1))
    assert [image.max() for image in floats.values()] == [255, 255]
    with pytest.raises(ValueError, match='image_000000 holds numbers of float32 from 0'):
        seen(Image.fromarray(unit))
    assert len(said) == 1


def test_a_pil_image_of_deep_colours_is_not_cut(pixels, seen, tmp_path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), pixels.astype(np.uint16) * 16)
    with pytest.raises(ValueError, match=r'which Pillow cuts to 8: hand over its path .*a.png'):
        seen(Image.open(path))
    assert np.abs(seen(path)['a.png'] - pixels.astype(int)).max() <= 1


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_pil_images_are_turned_as_files_are(kind, pixels, seen, said, tmp_path):
    image = Image.fromarray(pixels[..., ::-1])
    options = dict(exif=exif(6), **(dict(lossless=True) if kind == 'WEBP' else {}))
    image.save(tmp_path / 'a.bin', kind, **options)
    (tmp_path / 'a.bin').rename(tmp_path / 'a.png')  # content tells the format
    for frame, expected in (
        (None, cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)),
        ('upright', cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)),
        ('stored', pixels),
    ):
        inputs = [tmp_path / 'a.png', reopened(image, kind, **options)]
        if kind != 'TIFF':  # a TIFF that Pillow has decoded is upright for good
            inputs.append(reopened(image, kind, **options))
            inputs[-1].load()
        for name, found in seen(inputs, orientation=frame).items():
            assert found.shape == expected.shape, (frame, name)
            assert np.abs(found.astype(int) - expected).max() <= (60 if kind == 'JPEG' else 0)
    (line,) = said
    assert 'has EXIF orientation 6 and is turned upright' in line
    assert 'result files are 48 x 72 pixels in this frame' in line


def test_grey_arrays_are_read_as_grey(pixels, seen):
    images = seen([pixels[..., 0], pixels[..., :1]])
    for image in images.values():
        assert np.array_equal(image, pixels[..., :1].repeat(3, 2))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda p: p / 255, r'give whole numbers, here \(image \* 255\)'),
        (lambda p: p.astype(np.float32), r'float32 .* give BGR of uint8, .* or say value_range='),
        (lambda p: p > 9, 'an array of bool'),
        (lambda p: np.dstack([p, p[..., 0]]), r'leave alpha out, as in image\[..., :3\]'),
        (lambda p: p.transpose(2, 0, 1), r'channels come first: give image.transpose\(1, 2, 0\)'),
        (lambda p: p[None], 'give the images of a batch as a list'),
        (lambda p: p[:0], 'it is empty'),
        (lambda p: p[..., :2], r'shape \(height, width, 3\), as cv2.imread returns, or grey'),
        (torch.from_numpy, 'a tensor of torch.uint8 and shape .* give an array'),
        (lambda p: [torch.from_numpy(p)], 'a tensor of torch.uint8'),
    ],
)
def test_what_is_not_an_image_is_told_with_its_remedy(change, message, pixels, inferencer):
    with pytest.raises(ValueError, match=message):
        inferencer(change(pixels), progress=False)


def test_whole_numbers_of_more_than_8_bits_do_not_reach_the_model(pixels):
    pack = TRANSFORMS.build(dict(type='PackSegmentInputs'))
    with pytest.raises(ValueError, match='a.png reaches the model as numbers of uint16: load it'):
        pack(dict(img=pixels.astype(np.uint16), img_path='a.png'))


def test_a_damaged_pil_image_is_named(pixels, inferencer):
    data = cv2.imencode('.png', pixels)[1].tobytes()
    with pytest.raises(ValueError, match='image_000000 is damaged'):
        inferencer(Image.open(io.BytesIO(data[: len(data) // 2])), progress=False)


@pytest.mark.parametrize('where', ['dataset', 'loader'])
def test_prediction_follows_the_rules_of_the_config(where, pixels, weights, tmp_path):
    cfg = Config.fromfile(find_config(QUICKSTART))
    rules = dict(orientation='stored', value_range=(0, 5000))
    dataset = cfg.test_dataloader.dataset
    (dataset if where == 'dataset' else dataset.pipeline[0]).update(rules)
    inferencer = OneFormerInferencer(cfg, weights, 'cpu')
    assert inferencer.image_rules.value_range == (0, 5000)
    Image.fromarray(pixels[..., ::-1]).save(tmp_path / 'a.jpg', exif=exif(8))
    (stored,) = inferencer(tmp_path / 'a.jpg', tasks='semantic', progress=False)
    assert stored.semantic_map.shape == SIZE


def test_mmdets_own_inference_follows_the_rules_of_the_dataset(pixels, weights, tmp_path):
    cfg = Config.fromfile(find_config(QUICKSTART))
    cfg.test_dataloader.dataset.update(orientation='stored')
    cfg.model.update(criterion=None, text_mapper=None, contrastive_loss=None)
    cfg.model.backbone.pretrained = False
    model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    Image.fromarray(pixels[..., ::-1]).save(tmp_path / 'a.jpg', exif=exif(8))
    prediction = inference_detector(model, str(tmp_path / 'a.jpg'))
    assert prediction.ori_shape == SIZE
    cfg.test_dataloader.dataset.pipeline[0].orientation = 'upright'
    assert inference_detector(model, str(tmp_path / 'a.jpg')).ori_shape == SIZE[::-1]


def test_predict_chooses_frame_and_range(pixels, weights, run_tool, tmp_path, capsys):
    Image.fromarray(pixels[..., ::-1]).save(tmp_path / 'a.jpg', exif=exif(6))
    base = 'predict', tmp_path / 'a.jpg', '--model', QUICKSTART, '--weights', weights
    for option, size in (((), SIZE[::-1]), (('--orientation', 'stored'), SIZE)):
        run_tool(*base, '--tasks', 'panoptic', 'semantic', '--out-dir', tmp_path / 'out', *option)
        for part in ('panoptic/a.png', 'semantic/a.png', 'overlays/semantic/a.jpg'):
            assert Image.open(tmp_path / 'out' / part).size == size[::-1]
        (image,) = json.loads((tmp_path / 'out/panoptic.json').read_text())['images']
        assert (image['height'], image['width']) == size
    cv2.imwrite(str(tmp_path / 'a.tif'), pixels[..., 0].astype(np.float32))
    base = 'predict', tmp_path / 'a.tif', *base[2:], '--out-dir', tmp_path / 'out'
    with pytest.raises(SystemExit, match='holds numbers of float32 .* set value_range='):
        run_tool(*base)
    for option in ('--value-range', '--percentiles'):
        assert 'predicted images and frames: 1' in run_tool(*base, option, 1, 99)
