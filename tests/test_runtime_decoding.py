"""``oneformer_runtime``: post-processing in numpy equals that of torch, and images are read alike.

Where the two best scores of a pixel differ by less than 1e-5, either label is right, and so is
either side of a mask where its logit is 0 up to rounding.
"""

import io
from itertools import product

import cv2
import numpy as np
import PIL
import pytest
import torch
from given_masks import GivenMasks
from PIL import Image
from test_fusion import GEOMETRIES, IS_THING, plausible_logits, reference_resize

from oneformer.images import reading
from oneformer.images.rules import ImageRules
from oneformer.kernels.mask_resize import MaskResize as TorchResize
from oneformer.kernels.mask_resize import axis_matrix as torch_matrix
from oneformer.models import fusion
from oneformer.panoptic_codes import decode_segments
from oneformer_runtime import decoding
from oneformer_runtime.mask_resize import MaskResize, axis_matrix
from oneformer_runtime.reading import decode_file
from oneformer_runtime.resizing import resize_image

LARGE = (100, 150), (400, 600), (397, 581), (600, 880)


def plain(seed, things, geometry, queries=10):
    return plausible_logits(seed, len(things), queries, geometry[0])


def scaled(seed, things, geometry):
    """Logits of several hundred, whose exponentials overflow."""
    cls_scores, masks = plain(seed, things, geometry)
    return 50 * cls_scores, 50 * masks


def tied(seed, things, geometry):
    """Queries that occur twice, of which the first wins, and less sure ones of the same masks."""
    cls_scores, masks = plain(seed, things, geometry, 4)
    rolled = 0.9 * cls_scores.roll(1, -1)
    return torch.cat([cls_scores, cls_scores, rolled]), torch.cat([masks, masks, masks])


def whole_numbers(seed, things, geometry):
    """Logits that are often 0, at which a mask begins, or equal."""
    cls_scores, masks = plain(seed, things, geometry)
    return cls_scores.round(), (masks / 4).round()


def empty(seed, things, geometry):
    """Sure queries without a pixel, beside others."""
    cls_scores, masks = plain(seed, things, geometry)
    masks[::2] = -20
    return cls_scores, masks


def nothing(seed, things, geometry):
    """No query is of a class."""
    cls_scores, masks = plain(seed, things, geometry)
    cls_scores[:, -1] += 30
    return cls_scores, masks


def crowded(seed, things, geometry):
    return plain(seed, things, geometry, 250)


CASES = [plain, scaled, tied, whole_numbers, empty, nothing, crowded]
SETS = dict(**IS_THING, one_thing=[True], one_stuff=[False], only_stuff=[False] * 5)


class Pair:
    """The same logits on both sides."""

    def __init__(self, cls_scores, masks, geometry, things):
        self.queries = GivenMasks(cls_scores, masks)
        self.theirs = TorchResize(*geometry)
        self.arrays = cls_scores.numpy(), masks.numpy(), MaskResize(*geometry)
        self.things = torch.tensor(things)
        self.masks = reference_resize(masks, geometry).double()
        self.scores = cls_scores.double().softmax(-1)

    def decided(self, scores):
        """Pixels where rounding cannot change which of (N, H, W) scores is the highest."""
        if len(scores) < 2:
            return np.ones(scores.shape[1:], bool)
        best, second = scores.topk(2, dim=0).values
        return (best - second >= 1e-5).numpy()

    def compare_semantic(self):
        expected = fusion.semantic_map(self.queries, self.theirs).numpy()
        labels = decoding.semantic_map(*self.arrays)
        assert labels.dtype == np.int16 and labels.shape == expected.shape
        scores = torch.einsum('qk,qhw->khw', self.scores[:, :-1], self.masks.sigmoid())
        different = labels != expected
        assert not (different & self.decided(scores)).any()
        return int((~different).sum())

    def compare_panoptic(self, object_thr, iou_thr):
        K = len(self.things)
        found = fusion.panoptic_map(self.queries, self.theirs, self.things, object_thr, iou_thr)
        expected, segments = decode_segments(found[0].numpy(), K, found[1])
        id_map, own = decoding.panoptic_map(*self.arrays, self.things.numpy(), object_thr, iou_thr)
        assert id_map.dtype == np.int32
        keys = ('id', 'label', 'isthing')
        assert [[s[k] for k in keys] for s in own] == [[s[k] for k in keys] for s in found[1]]
        np.testing.assert_allclose(
            [s['score'] for s in own], [s['score'] for s in segments], atol=1e-6
        )
        assert [s['area'] for s in own] == np.bincount(id_map.ravel(), minlength=len(own) + 1)[
            1:
        ].tolist()
        probabilities, labels = self.scores.max(-1)
        kept = (labels < K) & (probabilities > object_thr)
        masks = self.masks[kept]
        sure = self.decided(probabilities[kept, None, None] * masks.sigmoid())
        sure &= (masks.abs() > 1e-4).all(0).numpy()
        assert not ((id_map != expected) & sure).any()
        return len(own)

    def compare_tied(self):
        """Labels: which of two equal queries has a pixel is open, and so is its share."""
        K, none = len(self.things), [dict(label=len(self.things))]
        theirs = fusion.panoptic_map(self.queries, self.theirs, self.things, 0.1, 0.0)
        expected, _ = decode_segments(theirs[0].numpy(), K, theirs[1])
        id_map, own = decoding.panoptic_map(*self.arrays, self.things.numpy(), 0.1, 0.0)
        maps = (
            np.array([s['label'] for s in none + segments])[ids]
            for ids, segments in ((expected, theirs[1]), (id_map, own))
        )
        probabilities, labels = self.scores.max(-1)
        kept = (labels < K) & (probabilities > 0.1)
        kept[4:8] = False  # the same as the first four
        sure = self.decided(probabilities[kept, None, None] * self.masks[kept].sigmoid())
        sure &= (self.masks.abs() > 1e-4).all(0).numpy()
        assert not (np.not_equal(*maps) & sure).any()
        return len(own)

    def compare_instances(self, number):
        """The instances of as many pairs, or fewer where the next ones have an equal score."""
        ordered = self.scores[:, :-1].flatten().sort(descending=True).values
        while number < len(ordered) and number and ordered[number - 1] - ordered[number] < 1e-6:
            number -= 1
        expected = fusion.instances(self.queries, self.theirs, self.things, number)
        own = decoding.instances(*self.arrays, self.things.numpy(), number)
        order = expected['scores'].argsort(descending=True, stable=True)
        expected = {key: value[order].numpy() for key, value in expected.items()}
        np.testing.assert_allclose(own['scores'], expected['scores'], atol=2e-6)
        assert own['labels'].dtype == np.int64 and own['boxes'].dtype == np.float32
        assert own['masks'].dtype == bool and own['scores'].dtype == np.float32
        # of equal scores either may come first
        left = list(range(len(own['labels'])))
        for k, score in enumerate(expected['scores']):
            near = [j for j in left if abs(own['scores'][j] - score) < 5e-6]
            same = [
                j
                for j in near
                if own['labels'][j] == expected['labels'][k]
                and (own['masks'][j] != expected['masks'][k]).mean() < 1e-3
                and np.abs(own['boxes'][j] - expected['bboxes'][k]).max() <= 1
            ]
            assert same, (k, score)
            left.remove(same[0])
        return len(expected['scores'])


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.__name__)
def test_all_predictions_equal_those_of_torch(case):
    segments = instances = pixels = 0
    for seed, (geometry, things) in enumerate(product(GEOMETRIES.values(), SETS.values())):
        if case is not crowded or seed % 5 == 0:  # it takes ten times as long
            pair = Pair(*case(seed, things, geometry), geometry, things)
            pixels += pair.compare_semantic()
            if case is tied:
                segments += pair.compare_tied()
            else:
                segments += pair.compare_panoptic(0.5, 0.8)
                segments += pair.compare_panoptic(0.1, 0.0)
            instances += pair.compare_instances(20)
    assert pixels > 1e5 and instances > 20 and (segments > 20) != (case is nothing)


def test_a_large_image_equals_torch():
    things = IS_THING['ade20k']
    pair = Pair(*plausible_logits(3, len(things), 30, LARGE[0]), LARGE, things)
    assert pair.compare_semantic() > 5e5
    assert pair.compare_panoptic(0.5, 0.5) > 1 and pair.compare_instances(100) > 1


def test_instances_below_a_score_are_left_out():
    things = IS_THING['coco']
    cls_scores, masks = plausible_logits(1, len(things), 30, (9, 11))
    arrays = cls_scores.numpy(), masks.numpy(), MaskResize(*GEOMETRIES['enlarged'])
    every = decoding.instances(*arrays, np.array(things), 40)
    middle = float(every['scores'][len(every['scores']) // 2])
    some = decoding.instances(*arrays, np.array(things), 40, middle)
    count = int((every['scores'] >= np.float32(middle)).sum())
    assert 0 < count < len(every['scores'])
    for name, values in some.items():
        np.testing.assert_array_equal(values, every[name][:count])


@pytest.mark.parametrize(
    'step', [(8, 32, 32, 32), (8, 32, 29, 91), (40, 160, 157, 33), (1, 4, 1, 1)]
)
def test_the_weights_of_an_axis_are_those_of_torch(step):
    np.testing.assert_allclose(axis_matrix(*step), torch_matrix(*step).numpy(), atol=1e-7)


def sizes_of_images():
    rng = np.random.default_rng(0)
    for _ in range(150):
        yield tuple(int(side) for side in rng.integers(1, 180, 4))
    yield from [(300, 90, 100, 30), (90, 300, 30, 100), (1, 500, 1, 64), (64, 64, 64, 64)]


def test_images_are_resized_as_by_pillow_to_the_last_digit():
    rng = np.random.default_rng(1)
    newer = int(PIL.__version__.split('.')[0]) >= 13
    compared = 0
    for height, width, *size in sizes_of_images():
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        if height % 3 == 0:
            image = (image > 127).astype(np.uint8) * 255
        if not newer and 0 < height - size[0] > 2 * (width - size[1]):
            continue  # an older Pillow takes the axes in the other order
        expected = np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resize_image(image, tuple(size)), expected)
        compared += 1
    assert compared > 80


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def pictures():
    """Files by what they are."""
    rng = np.random.default_rng(0)
    colour = cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (36, 24))
    image, found = Image.fromarray(colour), {}
    alpha = Image.fromarray(rng.integers(0, 256, (24, 36), np.uint8))

    def add(name, picture, kind, **options):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        found[f'{kind} {name}'] = file.getvalue()

    for kind in ('JPEG', 'PNG', 'WEBP', 'TIFF'):
        for orientation in range(1, 9):
            add(str(orientation), image, kind, exif=exif(orientation))
    writable = dict(
        JPEG=('L', 'CMYK'),
        PNG=('1', 'L', 'LA', 'P', 'RGBA', 'I;16'),
        WEBP=('RGBA',),
        TIFF=('1', 'L', 'LA', 'P', 'RGBA', 'I;16'),
        BMP=('1', 'L', 'P', 'RGB'),
        PPM=('1', 'L', 'RGB'),
    )
    for kind, modes in writable.items():
        for mode in modes:
            picture = image.convert('L').convert(mode) if mode[0] == 'I' else image.convert(mode)
            if mode.endswith('A'):
                picture.putalpha(alpha)
            add(mode, picture, kind)
    add('of several', image, 'TIFF', save_all=True, append_images=[image, image])
    add('moving', image, 'PNG', save_all=True, append_images=[image.rotate(90), image])
    add('progressive', image, 'JPEG', progressive=True)
    add('of one colour clear', image, 'PNG', transparency=(1, 2, 3))
    deep = rng.integers(0, 4096, (24, 36, 3)).astype(np.uint16)
    for ending in ('.png', '.tiff', '.ppm'):
        found[f'deep {ending}'] = cv2.imencode(ending, deep)[1].tobytes()
        grey = ending.replace('ppm', 'pgm')
        found[f'deep grey {grey}'] = cv2.imencode(grey, deep[..., 0])[1].tobytes()
    found['deep with alpha'] = cv2.imencode('.png', np.dstack([deep, deep[..., 0]]))[1].tobytes()
    found['JPEG of damaged EXIF'] = found['JPEG 6'].replace(b'Exif\0\0MM', b'Exif\0\0X\xff')
    found['JPEG and more'] = found['JPEG 3'] + b'more'
    return found


PICTURES = pictures()
RULES = dict(default=ImageRules(), chosen=ImageRules('stored', (100, 3000)))


@pytest.mark.parametrize('rules', RULES.values(), ids=RULES)
def test_files_are_read_as_by_the_inferencer(rules):
    assert len(PICTURES) > 60
    for name, data in PICTURES.items():
        expected = reading.decode_file(data, 'x', 'image', rules)
        loaded = decode_file(data, 'image x', rules)
        np.testing.assert_array_equal(loaded.pixels, expected.pixels, err_msg=name)
        for fact in ('orientation', 'dtype', 'values', 'value_range', 'transparent', 'pages'):
            assert getattr(loaded, fact) == getattr(expected, fact), (name, fact)


def test_cut_files_are_refused_by_name():
    cut = 0
    for name, data in PICTURES.items():
        if name.endswith(' 1') or name in ('PPM RGB', 'BMP RGB', 'PNG RGBA', 'deep .tiff'):
            for length in (0, 10, len(data) // 2, len(data) - 9):
                with pytest.raises(ValueError, match=r'^image a\.x is (damaged|not an image).*: '):
                    decode_file(data[:length], 'image a.x')
                cut += 1
    assert cut >= 24


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'PPM'])
def test_an_absurd_size_is_refused_before_decoding(kind, monkeypatch):
    monkeypatch.setenv('ONEFORMER_MAX_PIXELS', '863')
    data = PICTURES[f'{kind} RGB' if kind in ('BMP', 'PPM') else f'{kind} 1']
    with pytest.raises(ValueError, match='36 x 24 pixels, more than the 863 that are read'):
        decode_file(data, 'image x')


def test_other_kinds_are_named_with_the_remedy():
    file = io.BytesIO()
    Image.new('L', (5, 5)).save(file, 'GIF')
    for data in (file.getvalue(), b'some text', b''):
        with pytest.raises(
            ValueError, match='image x is not an image, or none of JPEG.*convert it'
        ):
            decode_file(data, 'image x')
