"""From logits to predictions: the original's post-processing of each task.

Predictions are made block by block. The logits below a block bound what interpolation can make of
them, so a block only sees the queries that can matter in it, and Q masks at full size never exist.

Shapes: Q queries, K classes, N instances, H x W the size of the prediction, h x w the
1/4 grid, r x c a block of the prediction. "No object" is class K.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from ..host.transfers import fetch, send
from ..kernels.class_scores import best_classes
from ..kernels.mask_resize import MaskResize
from ..kernels.without_waits import chosen, count_values
from ..panoptic_codes import check_codes, segment_code
from .oneformer_head import ScoresOfBlock


class Outputs(Protocol):
    """What is fused of an image and a task: ``ImageOutputs``, or ``MergedWindows``."""

    cls_scores: Tensor

    def mask_logits(self, index: Tensor) -> Tensor:
        """Mask logits (n, h, w) of the queries of given indices (n,), which are on the host."""
        raise NotImplementedError

    def block_scores(self) -> ScoresOfBlock:
        """A function that returns the two factors of the class scores of a block."""
        raise NotImplementedError


def class_scores(
    outputs: Outputs, resize: MaskResize
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Score every class at every pixel.

    Yields:
        The rows and columns of a block, and its scores of shape (K, r, c).
    """
    block_scores = outputs.block_scores()
    for block in resize.blocks():
        class_weights, probabilities = block_scores(block)
        scores = class_weights.T @ probabilities  # r K c
        yield (block.rows, block.columns), scores.transpose(0, 1)


def add_class_scores(total: Tensor, outputs: Outputs, resize: MaskResize, flipped: bool) -> None:
    """Add the class scores of one view of an image to those of others, in place.

    Args:
        total: Class scores of shape (K, H, W).
        outputs: Outputs for the view.
        resize: Resize from the view to the image.
        flipped: The view is mirrored left to right.
    """
    W = total.shape[-1]
    for (rows, columns), scores in class_scores(outputs, resize):
        if flipped:
            columns, scores = slice(W - columns.stop, W - columns.start), scores.flip(-1)
        total[:, rows, columns] += scores


def semantic_map(outputs: Outputs, resize: MaskResize) -> Tensor:
    """Label every pixel; there is no void.

    Returns:
        Labels of shape (H, W), int64.
    """
    labels = torch.empty(resize.size, dtype=torch.long, device=resize.device)
    block_scores = outputs.block_scores()
    for block in resize.blocks():
        labels[block.rows, block.columns] = best_classes(*block_scores(block))
    return labels


def confident_queries(
    cls_scores: Tensor, is_thing: Tensor, object_mask_thr: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries that a panoptic prediction may use.

    Args:
        cls_scores: Logits of shape (Q, K + 1).
        is_thing: Bool of shape (K,).
        object_mask_thr: A query's best class must be real and score above it.

    Returns:
        Their indices, labels and scores, and which are things, on the host.
    """
    best = cls_scores.softmax(-1).max(-1)
    scores, labels, things = fetch(best.values, best.indices, is_thing)
    kept = ((labels != len(things)) & (scores > object_mask_thr)).nonzero()[:, 0]
    labels = labels[kept]
    return kept, labels, scores[kept], things[labels]


def panoptic_map(
    outputs: Outputs,
    resize: MaskResize,
    is_thing: Tensor,
    object_mask_thr: float,
    iou_thr: float,
) -> tuple[Tensor, list[dict]]:
    """Merge confident queries into one non-overlapping map.

    A pixel goes to the query with the highest score times mask probability, and stays void where
    that query's mask is below 0.5. A query whose share of its own mask is below ``iou_thr`` is
    dropped, and its pixels stay void. Stuff segments of a class are one segment.

    Args:
        outputs: Outputs for the image.
        resize: Resize from the grid to the prediction.
        is_thing: Bool of shape (K,).
        object_mask_thr: Confident is a query whose best class is real and scores above it.
        iou_thr: Least share of its own mask that a query must win, in [0, 1]; mmdet's name for the
            original's overlap threshold.

    Returns:
        ``label + INSTANCE_OFFSET * id`` for things, ``label`` for stuff, K for void, of shape
        (H, W), int32; and for each id from 1 a dict with ``id``, ``label``, ``isthing``, ``score``
        (of a merged stuff segment its best query's) and ``area`` in pixels.
    """
    check_codes(len(is_thing))
    kept, labels, scores, things = confident_queries(outputs.cls_scores, is_thing, object_mask_thr)
    void = len(is_thing)
    Q = len(kept)
    if Q == 0:
        return torch.full(resize.size, void, dtype=torch.int32, device=resize.device), []
    masks = outputs.mask_logits(kept)
    owner, covered = _owners(masks, send(scores, masks.device), resize)
    counts, covered = fetch(count_values(owner, 2 * Q), covered)
    visible, hidden = counts.view(2, Q)
    accepted = (visible > 0) & ((visible + hidden).double() / covered.clamp(min=1) >= iou_thr)

    codes = torch.full((2 * Q,), void, dtype=torch.int32)
    segments: list[dict] = []
    stuff_segment: dict[int, dict] = {}
    columns = labels, scores, things, visible, accepted
    for q, row in enumerate(zip(*(column.tolist() for column in columns))):
        label, score, thing, area, accept = row
        if not accept:
            continue
        segment = None if thing else stuff_segment.get(label)
        if segment is None:
            segment = dict(id=len(segments) + 1, label=label, isthing=thing, score=score, area=0)
            segments.append(segment)
            if not thing:
                stuff_segment[label] = segment
        segment.update(score=max(segment['score'], score), area=segment['area'] + area)
        codes[q] = segment_code(segment)
    return send(codes, owner.device)[owner.int()], segments


def _owners(masks: Tensor, scores: Tensor, resize: MaskResize) -> tuple[Tensor, Tensor]:
    """Which query has each pixel, and the sizes of all masks.

    Args:
        masks: Logits of shape (Q, h, w).
        scores: Scores of shape (Q,).
        resize: Resize from the grid to the prediction.

    Returns:
        The query of the highest score times probability, plus Q where its mask is below 0.5, of
        shape (H, W), int16; and the pixels of each mask at or above 0.5, of shape (Q,).
    """
    Q = len(masks)
    owner = torch.empty(resize.size, dtype=torch.int16, device=masks.device)
    covered = torch.zeros(Q, device=masks.device, dtype=torch.double)
    for block in resize.blocks():
        source = block.source(masks)
        low, high = (bound((1, 2)) for bound in (source.amin, source.amax))
        never = scores * high.sigmoid() < (scores * low.sigmoid()).max()  # another is always better
        used = chosen(~never | (high >= 0))
        logits = block.resize(source[used])  # r n c
        covered[used] += (logits >= 0).float().sum((0, 2))
        winner = (logits.sigmoid() * scores[used, None]).max(1).indices  # r c
        hidden = logits.gather(1, winner[:, None])[:, 0] < 0
        owner[block.rows, block.columns] = (used[winner] + Q * hidden).short()
    return owner, covered


def top_instances(
    cls_scores: Tensor, is_thing: Tensor, max_per_image: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best (query, class) pairs; a query may appear several times.

    As in the original the best pairs are taken over all classes and those of stuff dropped
    afterwards, so fewer than ``max_per_image`` may remain.

    Args:
        cls_scores: Logits of shape (Q, K + 1).
        is_thing: Bool of shape (K,).
        max_per_image: Number of pairs to take.

    Returns:
        Queries, labels and class scores of the pairs, on the host.
    """
    scores = cls_scores.softmax(-1)[:, :-1]
    K = scores.shape[1]
    top = scores.flatten().topk(min(max_per_image, scores.numel()))
    pairs, values, things = fetch(top.indices, top.values, is_thing)
    kept = things[pairs % K]
    pairs = pairs[kept]
    return pairs // K, pairs % K, values[kept]


def instances(
    outputs: Outputs, resize: MaskResize, is_thing: Tensor, max_per_image: int
) -> dict[str, Tensor]:
    """The best instances, which may overlap.

    Args:
        outputs: Outputs for the image.
        resize: Resize from the grid to the prediction.
        is_thing: Bool of shape (K,).
        max_per_image: Pairs of query and class to take, stuff among them.

    Returns:
        ``labels`` (N,), ``scores`` (N,) (class probability times mean mask probability inside the
        mask, 0 for empty masks), bool ``masks`` (N, H, W), and ``bboxes`` (N, 4), float32: tight
        boxes (x1, y1, x2, y2), x2 and y2 exclusive, zeros for empty masks.
    """
    found, labels, scores = top_instances(outputs.cls_scores, is_thing, max_per_image)
    used, query_of = found.unique(return_inverse=True)
    logits = outputs.mask_logits(used)
    labels, scores, query_of = (send(x, logits.device) for x in (labels, scores, query_of))
    H, W = resize.size
    masks = torch.zeros(len(labels), H, W, dtype=torch.bool, device=logits.device)
    inside, area = logits.new_zeros(2, len(used))
    rows, columns = logits.new_zeros(len(used), H), logits.new_zeros(len(used), W)  # 1 if occupied
    for block in resize.blocks():
        source = block.source(logits)
        positive = source.amax((1, 2)) > 0
        present = chosen(positive)
        values = block.resize(source[present])  # r n c
        binary = values > 0
        number = binary.float()
        area[present] += number.sum((0, 2))
        inside[present] += values.sigmoid_().mul_(number).sum((0, 2))
        rows[present, block.rows] += number.amax(2).T
        columns[present, block.columns] += number.amax(0)
        place = torch.zeros_like(positive, dtype=torch.long)  # of a query among the present
        place[present] = torch.arange(len(present), device=place.device)
        pairs = chosen(positive[query_of])
        masks[pairs, block.rows, block.columns] = binary.transpose(0, 1)[place[query_of[pairs]]]
    return dict(
        labels=labels,
        scores=scores * (inside / (area + 1e-6))[query_of],
        masks=masks,
        bboxes=occupied_boxes(columns, rows)[query_of],
    )


def occupied_boxes(columns: Tensor, rows: Tensor) -> Tensor:
    """Boxes (x1, y1, x2, y2) from occupied columns (Q, W) and rows (Q, H), x2 and y2 exclusive.

    Returns:
        Tensor of shape (Q, 4), float32, zeros where nothing is occupied.
    """
    corners = []
    for occupied in (columns > 0, rows > 0):
        occupied = occupied.int()
        first = occupied.argmax(1)
        last = occupied.shape[1] - occupied.flip(1).argmax(1)
        corners.append(torch.stack([first, last], 1) * occupied.any(1, keepdim=True))
    (x, y) = corners
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).float()
