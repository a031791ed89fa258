"""The page's JavaScript, run by Node, computes what the runtime computes in Python."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer_runtime.decoding import instances, panoptic_map, semantic_map
from oneformer_runtime.description import TASKS, ImageSettings, ModelDescription, Thresholds
from oneformer_runtime.mask_resize import MaskResize
from oneformer_runtime.page import ASSETS
from oneformer_runtime.page.self_check import pattern
from oneformer_runtime.prediction import boxes_of_ids
from oneformer_runtime.preparing import prepare, to_batch

pytestmark = pytest.mark.skipif(shutil.which('node') is None, reason='Node is not installed')

SIZES = [((40, 60), (20, 30)), ((40, 60), (64, 96)), ((61, 20), (20, 19)), ((50, 7), (8, 7))]
SIZES += [((33, 47), (33, 20)), ((9, 9), (9, 9)), ((1, 5), (3, 2)), ((300, 200), (17, 11))]


# of onnxruntime-web and browsers: what the page advises
ERRORS = [
    ("Can't create a session. ERROR_CODE: 6, ERROR_MESSAGE: std::bad_alloc", 'smaller input size'),
    ('2345678', 'smaller input size'),  # an exception of C++, by its address
    ('Failed to allocate memory for requested buffer of size 1', 'smaller input size'),
    ('WebAssembly.Memory(): could not allocate memory', 'smaller input size'),
    ('Array buffer allocation failed', 'smaller input size'),
    ('Invalid typed array length: 9999999999', 'smaller input size'),
    ('memory access out of bounds', 'smaller input size'),
    ('WebAssembly SIMD is not supported in the current environment.', 'Update it'),
    ('no available backend found. ERR: [wasm] CompileError', 'Update it'),
    ('[ONNXRuntimeError] : 1 : FAIL : Non-zero status code', 'another browser'),
]


class Cases:
    """Cases for ``page_code.mjs``, which are run in one process."""

    def __init__(self, folder):
        self.folder, self.cases = folder, []

    def add(self, kind, **case):
        self.cases.append(dict(kind=kind, **case))
        return len(self.cases) - 1

    def write(self, name, array):
        (self.folder / name).write_bytes(np.ascontiguousarray(array).tobytes())

    def run(self):
        scripts = self.folder / 'js'
        shutil.copytree(ASSETS / 'js', scripts)
        (self.folder / 'package.json').write_text(
            '{"type": "module"}'
        )  # for older versions of Node
        (self.folder / 'cases.json').write_text(json.dumps(self.cases))
        script = Path(__file__).with_name('page_code.mjs')
        subprocess.run(['node', script, scripts, self.folder], check=True, timeout=120)
        return json.loads((self.folder / 'answers.json').read_text())


def describe(K, **image):
    settings = dict(short_edge=48, max_size=100, divisor=32, padding=(127.0, 1.0, 2.0), **image)
    names = tuple(f'class {k}' for k in range(K))
    return ModelDescription(
        names, names[::2], ImageSettings(**settings), Thresholds(0.3, 0.2, 7 if K < 40 else 30),
        category_ids=tuple(range(10, 10 + K)),
    )  # fmt: skip


# name: size of the image, classes, queries, settings of the image
SCENES = {
    'up': ((70, 90), 5, 9, {}),
    'small': ((23, 31), 6, 12, {}),
    'many classes': ((150, 301), 150, 40, {}),
    'fixed': ((90, 41), 4, 20, dict(size=(64, 96))),
    'nothing': ((40, 40), 3, 4, {}),
    'line': ((1, 70), 3, 5, {}),
}  # fmt: skip


def logits_of(rng, K, Q, grid, nothing):
    """Blobs as masks and decided classes, so that all rules meet something."""
    classes = rng.normal(size=(3, Q, K + 1)).astype(np.float32)
    labels = rng.integers(0, K + 1, (3, Q))
    np.put_along_axis(classes, labels[..., None], rng.uniform(1, 7, (3, Q, 1)), 2)
    if nothing:
        classes[..., -1] = 20
    y, x = np.mgrid[: grid[0], : grid[1]]
    masks = np.empty((3, Q, *grid), np.float32)
    for mask in masks.reshape(3 * Q, *grid):
        cy, cx, radius = rng.uniform(0, grid[0]), rng.uniform(0, grid[1]), rng.uniform(-1, grid[0])
        mask[:] = 3 * (radius - np.hypot(y - cy, x - cx)) + rng.normal(size=grid)
    return classes, masks


@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    """Answers of Node, and what they were asked about."""
    cases = Cases(tmp_path_factory.mktemp('page'))
    rng, asked = np.random.default_rng(5), {}
    for number, (source, target) in enumerate(SIZES):
        for channels in (3, 4):
            image = rng.integers(0, 256, (*source, channels), np.uint8)
            name = f'resize{number}-{channels}'
            cases.write(name, image)
            cases.add('resize', name=name, source=image.shape, target=target)
            asked[name] = image, target
    for name, (size, K, Q, settings) in SCENES.items():
        description = describe(K, **settings)
        image = rng.integers(0, 256, (*size, 4), np.uint8)
        prepared = prepare(image[..., 2::-1], description.image)
        grid = tuple(side // 4 for side in prepared.padded)
        classes, masks = logits_of(rng, K, Q, grid, name == 'nothing')
        for kind, array in dict(rgba=image, classes=classes, masks=masks).items():
            cases.write(f'{name}.{kind}', array)
        model, (height, width) = description.content(), size
        options = dict(scoreThr=0.2, share=1)
        asked[name] = cases.add(
            'predict', name=name, height=height, width=width, tasks=TASKS, model=model,
            options=options, Q=Q,
        )  # fmt: skip
        asked[name, 'given'] = description, prepared, grid, classes, masks
    asked['pattern'] = cases.add('pattern', height=70, width=65)
    asked['masks'] = [(rng.random((7, 5)) < share).astype(int) for share in (0, 0.2, 0.8, 1)]
    big = np.zeros((200, 300), int)
    big[3:190, 20:220] = 1
    asked['masks'].append(big)
    asked['codes'] = cases.add('codes', masks=[m.T.ravel().tolist() for m in asked['masks']])
    asked['runs'] = cases.add('runs', runs=[3, 2, 0, 4, 9, 1], count=7)
    asked['short'] = cases.add('runs', runs=[3, 2], count=7)
    asked['explained'] = cases.add('explained', messages=[text for text, _ in ERRORS])
    asked['headers'] = cases.add('headers', names=write_images(cases.folder))
    return cases.folder, cases.run(), asked


def write_images(folder):
    """Images of 21 x 13 pixels by the names of their files, and two that are none."""
    pixels = np.random.default_rng(0).integers(0, 256, (13, 21, 3), np.uint8)
    for name in ('a.png', 'a.jpg', 'lossy.webp', 'a.bmp', 'a.gif'):
        Image.fromarray(pixels).save(folder / name)
    Image.fromarray(pixels).save(folder / 'lossless.webp', lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / 'turned.jpg', exif=exif)
    Image.fromarray(pixels).save(folder / 'turned.webp', exif=exif)  # the extended format
    cv2.imwrite(str(folder / 'deep.png'), pixels.astype(np.uint16))
    (folder / 'cut.png').write_bytes((folder / 'a.png').read_bytes()[:14])
    (folder / 'text.png').write_bytes(b'no image at all, but some text')
    names = ('a.png', 'a.jpg', 'lossy.webp', 'a.bmp', 'a.gif', 'lossless.webp', 'turned.jpg')
    return [*names, 'turned.webp', 'deep.png', 'cut.png', 'text.png']


def read(folder, name, kind, shape):
    return np.frombuffer((folder / name).read_bytes(), kind).reshape(shape)


def test_images_are_resized_to_the_digit_as_by_pillow(answers):
    folder, _, asked = answers
    for number, (source, target) in enumerate(SIZES):
        for channels in (3, 4):
            image, _ = asked[f'resize{number}-{channels}']
            expected = Image.fromarray(image[..., :3]).resize(
                target[::-1], Image.Resampling.BILINEAR
            )
            found = read(folder, f'resize{number}-{channels}.out', np.uint8, (*target, 3))
            np.testing.assert_array_equal(found, np.asarray(expected), f'{source} to {target}')


@pytest.mark.parametrize('name', SCENES)
def test_the_input_of_the_network_is_that_of_the_runtime(answers, name):
    folder, found, asked = answers
    description, prepared, *_ = asked[name, 'given']
    expected = to_batch([prepared], description.image)[0]
    np.testing.assert_array_equal(
        read(folder, f'{name}.tensor', np.float32, expected.shape), expected
    )
    assert found[asked[name]]['asked'] == dict(padded=list(prepared.padded), words=list(TASKS))


@pytest.mark.parametrize('name', SCENES)
def test_predictions_are_those_of_the_runtime(answers, name):
    folder, found, asked = answers
    description, prepared, grid, classes, masks = asked[name, 'given']
    resize = MaskResize(grid, prepared.padded, prepared.content, prepared.size)
    answer, limits, is_thing = found[asked[name]], description.thresholds, description.is_thing

    expected = semantic_map(classes[2], masks[2], resize)
    semantic = read(folder, f'{name}.semantic', np.uint16, expected.shape)
    assert np.count_nonzero(semantic != expected) <= 1e-4 * expected.size

    arguments = is_thing, limits.object_mask_thr, limits.iou_thr
    id_map, segments = panoptic_map(classes[0], masks[0], resize, *arguments)
    panoptic = read(folder, f'{name}.panoptic', np.uint16, id_map.shape)
    assert np.count_nonzero(panoptic != id_map) <= 1e-4 * id_map.size
    assert len(answer['segments']) == len(segments)
    for own, theirs, box in zip(answer['segments'], segments, boxes_of_ids(id_map, len(segments))):
        for key in ('id', 'label', 'isthing'):
            assert own[key] == theirs[key]
        assert own['category'] == description.classes[own['label']]
        assert own['score'] == pytest.approx(theirs['score'], abs=1e-6)
        assert own['area'] == pytest.approx(theirs['area'], abs=2)
        assert np.abs(np.subtract(own['bbox'], box)).max() <= 1

    theirs = instances(classes[1], masks[1], resize, is_thing, limits.max_per_image, 0.2)
    assert len(answer['instances']) == len(theirs['labels'])
    for n, own in enumerate(answer['instances']):
        assert own['label'] == theirs['labels'][n]
        assert own['score'] == pytest.approx(theirs['scores'][n], abs=1e-5)
        code = mask_utils.frPyObjects(
            dict(size=list(prepared.size), counts=own['counts']), *prepared.size
        )
        mask = mask_utils.decode(code).view(bool)
        assert np.count_nonzero(mask != theirs['masks'][n]) <= 2
        assert own['area'] == mask.sum()
        x1, y1, x2, y2 = theirs['boxes'][n]
        assert np.abs(np.subtract(own['bbox'], (x1, y1, x2 - x1, y2 - y1))).max() <= 1
    if name == 'nothing':
        assert not segments and not len(theirs['labels'])
    elif name != 'line':
        least = 2 if name == 'many classes' else 0
        assert len(segments) > least and len(theirs['labels']) > least


def test_downloaded_maps_and_data_are_read_by_pillow_and_pycocotools(answers):
    folder, found, asked = answers
    for name, (size, K, *_) in SCENES.items():
        files = found[asked[name]]['files']
        panoptic = read(folder, f'{name}.panoptic', np.uint16, size)
        with Image.open(folder / f'{name}.panoptic.png') as image:
            assert image.mode == 'RGB'
            ids = np.asarray(image).astype(int) @ (1, 256, 65536)
        np.testing.assert_array_equal(ids, panoptic)
        with Image.open(folder / f'{name}.semantic.png') as image:
            assert image.mode == 'L'
            labels = read(folder, f'{name}.semantic', np.uint16, size)
            np.testing.assert_array_equal(np.asarray(image), labels)
        (annotation,) = files['panoptic']['annotations']
        assert annotation['file_name'] == 'image_panoptic.png'
        ids_of = {segment['id'] for segment in annotation['segments_info']}
        assert ids_of == set(np.unique(panoptic)) - {0}
        assert [c['id'] for c in files['panoptic']['categories']] == list(range(10, 10 + K))
        for result in files['instance']:
            code = result['segmentation']
            code['counts'] = code['counts'].encode()
            assert mask_utils.toBbox(code).tolist() == result['bbox']
            assert 10 <= result['category_id'] < 10 + K


def test_run_lengths_are_those_of_pycocotools(answers):
    _, found, asked = answers
    for mask, code in zip(asked['masks'], found[asked['codes']], strict=True):
        expected = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        assert code['text'] == expected['counts'].decode()
        assert sum(code['counts']) == mask.size


def test_runs_of_the_server_become_a_map_and_wrong_ones_none(answers):
    _, found, asked = answers
    assert found[asked['runs']] == [3, 3, 0, 0, 0, 0, 9]
    assert found[asked['short']] == []


def test_the_pattern_of_the_self_check_is_drawn_alike(answers):
    _, found, asked = answers
    np.testing.assert_array_equal(found[asked['pattern']], pattern(70, 65).ravel())


def test_errors_of_the_network_come_with_a_remedy(answers):
    _, found, asked = answers
    for (text, advice), told in zip(ERRORS, found[asked['explained']], strict=True):
        assert text in told and advice in told


def test_headers_tell_size_and_depth_before_an_image_is_decoded(answers):
    _, found, asked = answers
    *whole, deep, cut, text = found[asked['headers']]
    for header in (*whole, deep):
        assert (header['width'], header['height']) == (21, 13), header
    assert [header['kind'] for header in whole] == [
        *('PNG', 'JPEG', 'WebP', 'BMP', 'GIF', 'WebP', 'JPEG', 'WebP'),
    ]  # fmt: skip
    assert {header['bits'] for header in whole} == {8} and deep['bits'] == 16
    assert cut is None and text is None
