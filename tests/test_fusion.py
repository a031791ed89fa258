"""Post-processing equals plain loops written from the original's rules.

The references resize all masks to full size first, the fast paths never do. Where the two best
scores of a pixel differ by less than 1e-5, either prediction is right.
"""

import pytest
import torch
import torch.nn.functional as F
from given_masks import GivenMasks
from mmdet.evaluation.functional import INSTANCE_OFFSET
from torch.utils._python_dispatch import TorchDispatchMode

from oneformer.kernels.mask_resize import MaskResize
from oneformer.metainfo import KNOWN_DATASETS
from oneformer.models import fusion
from oneformer.panoptic_codes import decode_segments


def things_of(metainfo):
    return [name in metainfo['thing_classes'] for name in metainfo['classes']]


IS_THING = dict(
    small=[True, False, True, False, False, True],
    ade20k=things_of(KNOWN_DATASETS['ade20k']),  # interleaved
    coco=things_of(KNOWN_DATASETS['coco']),  # things first
    cityscapes=[label > 10 for label in range(19)],  # things last
)


@pytest.fixture(params=IS_THING)
def is_thing(request):
    """Which classes are things, of one dataset after the other."""
    return torch.tensor(IS_THING[request.param])


def plausible_logits(seed, num_classes, num_queries=10, size=(23, 31)):
    """Random blobs with sure and unsure classes, of which a few occur several times."""
    generator = torch.Generator().manual_seed(seed)
    occurring = torch.randint(0, num_classes + 1, (5,), generator=generator)
    cls_scores = torch.randn(num_queries, num_classes + 1, generator=generator)
    labels = occurring[torch.randint(0, 5, (num_queries,), generator=generator)]
    sureness = 10 * torch.rand(num_queries, generator=generator)
    cls_scores[torch.arange(num_queries), labels] += sureness
    coarse = 6 * torch.randn(1, num_queries, 4, 5, generator=generator)
    masks = F.interpolate(coarse, size=size, mode='bicubic')[0] - 5
    return cls_scores, masks


# of the grid, the padded input, the input and the image
GEOMETRIES = dict(
    enlarged=((9, 11), (36, 44), (33, 41), (57, 71)),
    shrunk=((24, 16), (96, 64), (95, 50), (41, 23)),
    as_it_is=((8, 13), (32, 52), (32, 52), (32, 52)),
    one_pixel=((8, 8), (32, 32), (1, 1), (1, 1)),
    line=((8, 24), (32, 96), (3, 96), (1, 300)),
    many_blocks=((40, 64), (160, 256), (157, 250), (150, 391)),
)


@pytest.fixture(params=GEOMETRIES)
def geometry(request):
    """Sizes of the grid, the padded input, the input without padding and the image."""
    return GEOMETRIES[request.param]


def plausible_queries(seed, num_classes, geometry, num_queries=10):
    cls_scores, masks = plausible_logits(seed, num_classes, num_queries, geometry[0])
    return cls_scores, masks, GivenMasks(cls_scores, masks)


def reference_resize(masks, geometry):
    _, input_size, content, size = geometry
    masks = F.interpolate(masks[None], size=input_size, mode='bilinear', align_corners=False)
    masks = masks[..., : content[0], : content[1]]
    if content != size:
        masks = F.interpolate(masks, size=size, mode='bilinear', align_corners=False)
    return masks[0]


def reference_class_scores(cls_scores, masks):
    return torch.einsum('qk,qhw->khw', cls_scores.softmax(-1)[:, :-1], masks.sigmoid())


def sure(scores):
    """Pixels where rounding cannot change which of (N, H, W) scores is the highest."""
    best, second = scores.topk(2, dim=0).values
    return best - second >= 1e-5


def reference_panoptic(cls_scores, masks, is_thing, object_thr, overlap_thr):
    scores, labels = cls_scores.softmax(-1).max(-1)
    K = len(is_thing)
    kept = [q for q in range(len(labels)) if labels[q] != K and scores[q] > object_thr]
    segment_map = torch.zeros(masks.shape[1:], dtype=torch.long)
    segments, memory = [], {}
    if not kept:
        return segment_map, segments
    probs = masks[kept].sigmoid()
    owner = (scores[kept][:, None, None] * probs).argmax(0)
    for k, q in enumerate(kept):
        area, original = (owner == k).sum().item(), (probs[k] >= 0.5).sum().item()
        mask = (owner == k) & (probs[k] >= 0.5)
        if area == 0 or original == 0 or mask.sum() == 0 or area / original < overlap_thr:
            continue
        label = labels[q].item()
        if not is_thing[label] and label in memory:
            segment_map[mask] = memory[label]
            continue
        segments.append((label, bool(is_thing[label])))
        segment_map[mask] = len(segments)
        if not is_thing[label]:
            memory[label] = len(segments)
    return segment_map, segments


def codes_of(segment_map, segments, void):
    codes = [void] + [
        label + INSTANCE_OFFSET * number * isthing
        for number, (label, isthing) in enumerate(segments, 1)
    ]
    return torch.tensor(codes)[segment_map]


@pytest.mark.parametrize('object_thr, overlap_thr', [(0.5, 0.8), (0.8, 0.8), (0.3, 0.5)])
def test_panoptic_map_equals_a_plain_loop(is_thing, object_thr, overlap_thr):
    found, K = 0, len(is_thing)
    for seed in range(60):
        geometry = ((9, 11), (36, 44), (36 - seed % 3, 44 - seed % 5), (23 + seed % 7, 71))
        cls_scores, masks, queries = plausible_queries(seed, K, geometry)
        resize = MaskResize(*geometry, block=(16, 24))
        codes, segments = fusion.panoptic_map(queries, resize, is_thing, object_thr, overlap_thr)
        segment_map, expected = reference_panoptic(
            cls_scores, reference_resize(masks, geometry), is_thing, object_thr, overlap_thr
        )
        assert [(s['label'], s['isthing']) for s in segments] == expected
        assert [s['id'] for s in segments] == list(range(1, len(expected) + 1))
        assert torch.equal(codes, codes_of(segment_map, expected, K).int())
        found += len(expected)
    assert found > 60  # the cases are not empty


def test_a_crowded_panoptic_map_equals_a_plain_loop(geometry):
    is_thing = torch.tensor(IS_THING['ade20k'])
    K = len(is_thing)
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, K, (250,), generator=generator)
    cls_scores = 12 * F.one_hot(labels, K + 1) + torch.randn(250, K + 1, generator=generator)
    masks = 6 * torch.randn(250, *geometry[0], generator=generator)
    resize = MaskResize(*geometry)
    codes, segments = fusion.panoptic_map(
        GivenMasks(cls_scores, masks), resize, is_thing, 0.5, 0.01
    )
    masks = reference_resize(masks, geometry)
    segment_map, expected = reference_panoptic(cls_scores, masks, is_thing, 0.5, 0.01)
    assert [(s['label'], s['isthing']) for s in segments] == expected
    scores = cls_scores.softmax(-1).amax(-1)[:, None, None] * masks.sigmoid()
    certain = sure(scores)
    assert torch.equal(codes[certain], codes_of(segment_map, expected, K).int()[certain])
    assert geometry[-1] == (1, 1) or len(expected) > 20


def test_no_confident_query_gives_a_void_map():
    is_thing = torch.tensor(IS_THING['small'])
    queries = GivenMasks(torch.zeros(5, 7), torch.zeros(5, 4, 4))
    resize = MaskResize((4, 4), (16, 16), (15, 13), (30, 26))
    codes, segments = fusion.panoptic_map(queries, resize, is_thing, 0.5, 0.8)
    assert codes.shape == (30, 26) and (codes == 6).all() and segments == []


def reference_instances(cls_scores, masks, is_thing, max_per_image):
    """Label, score, mask and box by query and label."""
    K = len(is_thing)
    probs = cls_scores.softmax(-1)[:, :-1]
    pairs = sorted(
        ((probs[q, k].item(), q, k) for q in range(len(probs)) for k in range(K)), reverse=True
    )[:max_per_image]  # first the best over all classes, then without stuff
    expected = {}
    for score, q, k in pairs:
        if is_thing[k]:
            inside = masks[q] > 0
            mean = (masks[q].sigmoid() * inside).sum() / (inside.sum() + 1e-6)
            rows, columns = inside.nonzero(as_tuple=True)
            box = [0, 0, 0, 0]
            if len(rows):
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            expected[q, k] = (score * mean.item(), inside, [int(side) for side in box])
    return expected


def test_instances_equal_a_plain_loop(is_thing, geometry):
    K = len(is_thing)
    for seed in range(5):
        cls_scores, masks, queries = plausible_queries(seed, K, geometry)
        masks[3] = -1  # an empty mask
        prediction = fusion.instances(queries, MaskResize(*geometry), is_thing, 20)
        found, labels, _ = fusion.top_instances(cls_scores, is_thing, 20)
        masks = reference_resize(masks, geometry)
        expected = reference_instances(cls_scores, masks, is_thing, 20)
        assert torch.equal(prediction['labels'], labels)
        assert set(zip(found.tolist(), labels.tolist())) == expected.keys()
        for n, key in enumerate(zip(found.tolist(), labels.tolist())):
            score, inside, box = expected[key]
            assert prediction['scores'][n].item() == pytest.approx(score, abs=1e-5)
            assert torch.equal(prediction['masks'][n], inside)
            assert prediction['bboxes'][n].tolist() == box


def test_an_image_of_stuff_has_no_instances():
    queries = GivenMasks(torch.randn(4, 7), torch.ones(4, 8, 8))
    resize = MaskResize((8, 8), (32, 32), (32, 32), (20, 20))
    prediction = fusion.instances(queries, resize, torch.zeros(6, dtype=torch.bool), 10)
    assert {name: tuple(value.shape) for name, value in prediction.items()} == dict(
        labels=(0,), scores=(0,), masks=(0, 20, 20), bboxes=(0, 4)
    )


@pytest.mark.parametrize('num_queries', [1, 10, 250])
def test_semantic_map_equals_the_undivided_sum(is_thing, geometry, num_queries):
    cls_scores, masks, queries = plausible_queries(3, len(is_thing), geometry, num_queries)
    labels = fusion.semantic_map(queries, MaskResize(*geometry))
    scores = reference_class_scores(cls_scores, reference_resize(masks, geometry))
    certain = sure(scores)
    assert torch.equal(labels[certain], scores.argmax(0)[certain])
    assert geometry[-1] == (1, 1) or certain.double().mean() > (0.9 if num_queries > 1 else 0.3)


def test_semantic_map_of_undecided_queries_equals_the_undivided_sum():
    geometry = GEOMETRIES['many_blocks']
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.1, 1.0, 4.0])[torch.randint(0, 3, (250, 1), generator=generator)]
    cls_scores = scale * torch.randn(250, 151, generator=generator)
    masks = torch.randn(250, *geometry[0], generator=generator) * scale[..., None] * 3
    labels = fusion.semantic_map(GivenMasks(cls_scores, masks), MaskResize(*geometry))
    scores = reference_class_scores(cls_scores, reference_resize(masks, geometry))
    certain = sure(scores)
    assert certain.double().mean() > 0.9 and len(labels.unique()) > 20
    assert torch.equal(labels[certain], scores.argmax(0)[certain])


@pytest.mark.parametrize('flipped', [False, True])
def test_class_scores_of_a_view_are_added_up(geometry, flipped):
    cls_scores, masks, queries = plausible_queries(1, 150, geometry)
    total = torch.ones(150, *geometry[-1])
    fusion.add_class_scores(total, queries, MaskResize(*geometry), flipped)
    scores = reference_class_scores(cls_scores, reference_resize(masks, geometry))
    expected = 1 + (scores.flip(-1) if flipped else scores)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('block', [None, (1, 1), (7, 1000)])
def test_masks_are_resized_to_the_padded_input_then_cropped_then_to_the_image(geometry, block):
    if block == (1, 1):
        geometry = GEOMETRIES['enlarged']
    masks = torch.randn(3, *geometry[0], generator=torch.Generator().manual_seed(0))
    resized = torch.full((3, *geometry[-1]), torch.nan)
    for piece in MaskResize(*geometry, block=block).blocks():
        part = piece.resize(piece.source(masks)).transpose(0, 1)
        resized[:, piece.rows, piece.columns] = part
    torch.testing.assert_close(resized, reference_resize(masks, geometry), atol=1e-5, rtol=0)


def test_two_steps_are_not_one():
    masks = torch.randn(3, 8, 10, generator=torch.Generator().manual_seed(0))
    two_steps = reference_resize(masks, ((8, 10), (32, 40), (27, 33), (54, 66)))
    direct = F.interpolate(masks[None], size=(54, 66), mode='bilinear', align_corners=False)[0]
    assert not torch.allclose(two_steps, direct)


def largest_tensor(function):
    """Most values that a tensor has which the function makes."""
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    with Watch():
        function()
    return max(sizes)


def test_no_task_holds_all_masks_at_full_size():
    geometry = ((64, 128), (256, 512), (256, 512), (512, 1024))
    pixels = 512 * 1024
    is_thing = torch.tensor(IS_THING['ade20k'])
    cls_scores, masks = plausible_logits(0, 150, 60, (64, 128))
    queries = GivenMasks(cls_scores, masks)
    resize = MaskResize(*geometry)
    assert largest_tensor(lambda: fusion.semantic_map(queries, resize)) <= pixels
    assert (
        largest_tensor(lambda: fusion.panoptic_map(queries, resize, is_thing, 0.3, 0.5)) <= pixels
    )
    prediction = fusion.instances(queries, resize, is_thing, 100)
    largest = largest_tensor(lambda: fusion.instances(queries, resize, is_thing, 100))
    assert largest <= prediction['masks'].numel()  # the prediction itself


def test_boxes_are_tight_and_zero_for_empty_masks():
    masks = torch.zeros(3, 6, 9)
    masks[0, 2:4, 3:8] = 1
    masks[2, 5, 8] = 1
    expected = [[3, 2, 8, 4], [0, 0, 0, 0], [8, 5, 9, 6]]
    assert fusion.occupied_boxes(masks.sum(1), masks.sum(2)).tolist() == expected


def test_segments_have_one_id_and_area_in_sample_prediction_and_files():
    geometry = GEOMETRIES['enlarged']
    is_thing = torch.tensor(IS_THING['small'])
    found = 0
    for seed in range(20):
        _, _, outputs = plausible_queries(seed, 6, geometry)
        codes, segments = fusion.panoptic_map(outputs, MaskResize(*geometry), is_thing, 0.3, 0.5)
        id_map, decoded = decode_segments(codes.numpy(), 6, segments)
        for info, segment in zip(segments, decoded, strict=True):
            assert segment == {key: info[key] for key in ('id', 'label', 'area', 'score')}
            code = info['label'] + INSTANCE_OFFSET * info['id'] * info['isthing']
            assert ((id_map == info['id']) == (codes.numpy() == code)).all()
            assert info['area'] == (codes == code).sum() > 0
        assert (id_map == 0).sum() == (codes == 6).sum()
        found += len(segments)
        # a class that is left out leaves the ids of the others
        some, kept = codes.clone(), segments[1:]
        if segments:
            some[torch.from_numpy(id_map == segments[0]['id'])] = 6
            others, rest = decode_segments(some.numpy(), 6, kept)
            assert [s['id'] for s in rest] == [s['id'] for s in kept]
            assert (others[others > 0] == id_map[others > 0]).all()
    assert found > 20


def test_maps_of_other_models_are_numbered_by_their_codes():
    codes = torch.tensor([[4, 2001, 2001, 1], [1001, 4, 1, 1]]).numpy()
    expected = [[0, 3, 3, 1], [2, 0, 1, 1]]
    infos = [dict(id=0, label=1, isthing=False, score=0.5)]  # an id that is void's, others missing
    for given in (None, infos, infos * 2):
        id_map, segments = decode_segments(codes, 4, given)
        assert id_map.tolist() == expected
        assert [(s['id'], s['label'], s['area']) for s in segments] == [
            (1, 1, 3),
            (2, 1, 1),
            (3, 1, 2),
        ]
        assert ('score' in segments[0]) == bool(given)
