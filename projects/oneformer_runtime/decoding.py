"""From logits to predictions in numpy: the rules of ``oneformer.models.fusion``.

The logits below a block bound what interpolation can make of them, so a block only sees the queries
that can matter in it.

Shapes: Q queries, K classes, N instances, h x w the 1/4 grid, H x W the size of the prediction. "No
object" is class K.
"""

import numpy as np

from .mask_resize import MaskResize
from .scores import best_classes, relevant_probabilities, sigmoid, softmax


def semantic_map(
    class_logits: np.ndarray, mask_logits: np.ndarray, resize: MaskResize
) -> np.ndarray:
    """Label every pixel; there is no void.

    Args:
        class_logits: Array of shape (Q, K + 1).
        mask_logits: Array of shape (Q, h, w).
        resize: Resize from the grid to the prediction.

    Returns:
        Labels of shape (H, W), int16.
    """
    class_weights = softmax(class_logits)[:, :-1]
    labels = np.empty(resize.size, np.int16)
    for block in resize.blocks():
        factors = relevant_probabilities(class_weights, block.source(mask_logits), block)
        labels[block.rows, block.columns] = best_classes(*factors)
    return labels


def panoptic_map(
    class_logits: np.ndarray,
    mask_logits: np.ndarray,
    resize: MaskResize,
    is_thing: np.ndarray,
    object_mask_thr: float,
    iou_thr: float,
) -> tuple[np.ndarray, list[dict]]:
    """Merge confident queries into one non-overlapping map.

    A pixel goes to the query with the highest score times mask probability, and stays void where
    that query's mask is below 0.5. A query whose share of its own mask is below ``iou_thr`` is
    dropped, and its pixels stay void. Stuff segments of a class are one segment.

    Args:
        class_logits: Array of shape (Q, K + 1).
        mask_logits: Array of shape (Q, h, w).
        resize: Resize from the grid to the prediction.
        is_thing: Bool of shape (K,).
        object_mask_thr: Confident is a query whose best class is real and scores above it.
        iou_thr: Least share of its own mask that a query must win, in [0, 1].

    Returns:
        Segment ids of shape (H, W), int32, 0 for void; and for each id from 1 a dict with ``id``,
        ``label``, ``isthing``, ``score`` (of a merged stuff segment its best query's) and ``area``
        in pixels.
    """
    probabilities = softmax(class_logits)
    labels, scores = probabilities.argmax(1), probabilities.max(1)
    # as torch compares them: in single precision
    kept = np.flatnonzero((labels != len(is_thing)) & (scores > np.float32(object_mask_thr)))
    Q = len(kept)
    if not Q:
        return np.zeros(resize.size, np.int32), []
    labels, scores = labels[kept], scores[kept]
    owner, covered = _owners(mask_logits[kept], scores, resize)
    visible, hidden = np.bincount(owner.ravel(), minlength=2 * Q).reshape(2, Q)
    accepted = (visible > 0) & ((visible + hidden) / covered.clip(min=1) >= iou_thr)

    id_of = np.zeros(2 * Q, np.int32)
    segments: list[dict] = []
    stuff_segment: dict[int, dict] = {}
    for q in np.flatnonzero(accepted).tolist():
        label, score, thing = int(labels[q]), float(scores[q]), bool(is_thing[labels[q]])
        segment = None if thing else stuff_segment.get(label)
        if segment is None:
            segment = dict(id=len(segments) + 1, label=label, isthing=thing, score=score, area=0)
            segments.append(segment)
            if not thing:
                stuff_segment[label] = segment
        area = segment['area'] + int(visible[q])
        segment.update(score=max(segment['score'], score), area=area)
        id_of[q] = segment['id']
    return id_of[owner], segments


def _owners(
    masks: np.ndarray, scores: np.ndarray, resize: MaskResize
) -> tuple[np.ndarray, np.ndarray]:
    """Which query has each pixel, plus Q where its mask is below 0.5; the sizes of all masks."""
    Q = len(masks)
    owner = np.empty(resize.size, np.int32)
    covered = np.zeros(Q, np.int64)
    for block in resize.blocks():
        source = block.source(masks)
        low, high = source.min((1, 2)), source.max((1, 2))
        # another is always better
        never = scores * sigmoid(high) < (scores * sigmoid(low)).max()
        used = np.flatnonzero(~never | (high >= 0))
        logits = block.resize(source[used])  # r n c
        covered[used] += np.count_nonzero(logits >= 0, axis=(0, 2))
        winner = (sigmoid(logits) * scores[used, None]).argmax(1)  # r c
        hidden = np.take_along_axis(logits, winner[:, None], 1)[:, 0] < 0
        owner[block.rows, block.columns] = used[winner] + Q * hidden
    return owner, covered


def top_instances(
    class_logits: np.ndarray, is_thing: np.ndarray, max_per_image: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, labels and class scores of the best (query, class) pairs.

    As in the original the best pairs are taken over all classes and those of stuff dropped
    afterwards, so fewer than ``max_per_image`` may remain.
    """
    scores = softmax(class_logits)[:, :-1]
    K = scores.shape[1]
    pairs = (-scores).ravel().argsort(kind='stable')[:max_per_image]
    pairs = pairs[is_thing[pairs % K]]
    return pairs // K, pairs % K, scores.ravel()[pairs]


def instances(
    class_logits: np.ndarray,
    mask_logits: np.ndarray,
    resize: MaskResize,
    is_thing: np.ndarray,
    max_per_image: int,
    score_thr: float = 0.0,
) -> dict[str, np.ndarray]:
    """The best instances, which may overlap, from the best.

    Args:
        class_logits: Array of shape (Q, K + 1).
        mask_logits: Array of shape (Q, h, w).
        resize: Resize from the grid to the prediction.
        is_thing: Bool of shape (K,).
        max_per_image: Pairs of query and class to take, stuff among them.
        score_thr: Instances that score less are left out.

    Returns:
        ``labels`` (N,), int64, ``scores`` (N,), float32 (class probability times mean mask
        probability inside the mask, 0 for empty masks), bool ``masks`` (N, H, W), and ``boxes``
        (N, 4), float32: tight boxes (x1, y1, x2, y2), x2 and y2 exclusive, zeros for empty masks.
    """
    found, labels, scores = top_instances(class_logits, is_thing, max_per_image)
    # no mask is surer than 1
    possible = scores >= np.float32(score_thr)
    found, labels, scores = found[possible], labels[possible], scores[possible]
    used, query_of = np.unique(found, return_inverse=True)
    masks, quality = _binary_masks(mask_logits[used], resize)
    scores = scores * quality[query_of]
    order = (-scores).argsort(kind='stable')
    order = order[scores[order] >= np.float32(score_thr)]
    return dict(
        labels=labels[order].astype(np.int64),
        scores=scores[order],
        masks=masks[query_of[order]],
        boxes=_boxes(masks)[query_of[order]],
    )


def _binary_masks(logits: np.ndarray, resize: MaskResize) -> tuple[np.ndarray, np.ndarray]:
    """Masks (n, H, W), bool, and the mean probabilities inside them (n,), float32."""
    n = len(logits)
    masks = np.zeros((n, *resize.size), bool)
    inside, area = np.zeros((2, n), np.float32)
    for block in resize.blocks() if n else ():
        source = block.source(logits)
        present = np.flatnonzero(source.max((1, 2)) > 0)
        values = block.resize(source[present])  # r n c
        binary = values > 0
        area[present] += np.count_nonzero(binary, axis=(0, 2))
        inside[present] += (sigmoid(values) * binary).sum((0, 2))
        masks[present, block.rows, block.columns] = binary.transpose(1, 0, 2)
    return masks, inside / (area + np.float32(1e-6))


def _boxes(masks: np.ndarray) -> np.ndarray:
    """Boxes (n, 4), float32, of masks (n, H, W), zeros for empty ones."""
    corners = []
    for axis in (1, 2):  # columns that are occupied, and rows
        occupied = masks.any(axis)
        first = occupied.argmax(1)
        last = occupied.shape[1] - occupied[:, ::-1].argmax(1)
        corners.append(np.stack([first, last], 1) * occupied.any(1, keepdims=True))
    x, y = corners
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).astype(np.float32)
