"""Post-processing equals plain loops written from the original's rules."""

import pytest
import torch
import torch.nn.functional as F

from oneformer.metainfo import BENCHMARKS
from oneformer.models import fusion


def things_of(benchmark):
    return [name in benchmark['thing_classes'] for name in benchmark['classes']]


IS_THING = dict(
    small=[True, False, True, False, False, True],
    ade20k=things_of(BENCHMARKS['ade20k']),  # interleaved
    coco=things_of(BENCHMARKS['coco']),  # things first
    cityscapes=[label > 10 for label in range(19)],  # things last
)


@pytest.fixture(params=IS_THING)
def is_thing(request):
    """Which classes are things, of one data set after the other."""
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


@pytest.mark.parametrize('object_thr, overlap_thr', [(0.5, 0.8), (0.8, 0.8), (0.3, 0.5)])
def test_panoptic_map_equals_a_plain_loop(is_thing, object_thr, overlap_thr):
    found = 0
    for seed in range(60):
        size = (23 + seed % 3, 31 - seed % 5)
        cls_scores, masks = plausible_logits(seed, len(is_thing), size=size)
        kept, labels, scores = fusion.confident_queries(cls_scores, object_thr)
        ours = fusion.panoptic_map(labels, scores, masks[kept], is_thing, overlap_thr)
        segment_map, segments = reference_panoptic(
            cls_scores, masks, is_thing, object_thr, overlap_thr
        )
        assert torch.equal(ours[0], segment_map)
        assert [(s['label'], s['isthing']) for s in ours[1]] == segments
        assert [s['id'] for s in ours[1]] == list(range(1, len(segments) + 1))
        found += len(segments)
    assert found > 60  # the cases are not empty


def test_no_confident_query_gives_a_void_map():
    is_thing = torch.tensor(IS_THING['small'])
    cls_scores = torch.zeros(5, 7)
    kept, labels, scores = fusion.confident_queries(cls_scores, 0.5)
    assert len(kept) == 0
    masks = fusion.resize_masks(torch.zeros(0, 4, 4), (16, 16), (15, 13), (30, 26))
    segment_map, segments = fusion.panoptic_map(labels, scores, masks, is_thing, 0.8)
    assert segment_map.shape == (30, 26) and not segment_map.any() and segments == []


def test_instances_equal_a_plain_loop(is_thing):
    K = len(is_thing)
    for seed in range(10):
        cls_scores, masks = plausible_logits(seed, K)
        queries, labels, scores = fusion.top_instances(cls_scores, is_thing, 20)
        binary, quality = fusion.mask_quality(masks)
        probs = cls_scores.softmax(-1)[:, :-1]
        pairs = sorted(
            ((probs[q, k].item(), q, k) for q in range(len(probs)) for k in range(K)), reverse=True
        )[:20]  # first the best over all classes, then without stuff
        expected = {(q, k): score for score, q, k in pairs if is_thing[k]}
        assert len(queries) == len(expected) <= 20
        for q, k, score in zip(queries.tolist(), labels.tolist(), scores.tolist()):
            assert score == pytest.approx(expected[q, k])
            inside = masks[q] > 0
            mean = (masks[q].sigmoid() * inside).sum() / (inside.sum() + 1e-6)
            assert torch.equal(binary[q], inside)
            torch.testing.assert_close(quality[q], mean)


def test_semantic_map_equals_the_undivided_sum(is_thing):
    cls_scores, masks = plausible_logits(3, len(is_thing))
    scores = torch.einsum('qk,qhw->khw', cls_scores.softmax(-1)[:, :-1], masks.sigmoid())
    for rows in (1, 7, 1000):
        assert torch.equal(fusion.semantic_map(cls_scores, masks, rows), scores.argmax(0))


def test_masks_are_resized_to_the_padded_input_then_cropped_then_to_the_photo():
    logits = torch.randn(3, 8, 10, generator=torch.Generator().manual_seed(0))
    resized = fusion.resize_masks(logits, (32, 40), (27, 33), (54, 66))
    step = F.interpolate(logits[None], size=(32, 40), mode='bilinear', align_corners=False)
    step = F.interpolate(step[..., :27, :33], size=(54, 66), mode='bilinear', align_corners=False)
    assert torch.equal(resized, step[0])
    direct = F.interpolate(logits[None], size=(54, 66), mode='bilinear', align_corners=False)[0]
    assert not torch.allclose(resized, direct)


def test_boxes_are_tight_and_zero_for_empty_masks():
    masks = torch.zeros(3, 6, 9, dtype=torch.bool)
    masks[0, 2:4, 3:8] = True
    masks[2, 5, 8] = True
    expected = [[3, 2, 8, 4], [0, 0, 0, 0], [8, 5, 9, 6]]
    assert fusion.mask_boxes(masks).tolist() == expected
