"""From logits to answers: the original's post-processing of each task as pure functions.

Shapes: Q queries, K classes, H x W the size of the answer. "No object" is class K.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_masks(
    logits: Tensor, input_size: tuple[int, int], content: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Bring mask logits to the size of the photo by the original's two bilinear steps.

    Args:
        logits: At 1/4 of the padded input, of shape (Q, h, w).
        input_size: (height, width) of the padded input.
        content: (height, width) of the input without padding.
        size: (height, width) of the answer.

    Returns:
        Of shape (Q, H, W), Q may be zero.
    """
    if len(logits) == 0:  # interpolate takes no empty batch
        return logits.new_zeros(0, *size)
    logits = F.interpolate(logits[None], size=input_size, mode='bilinear')
    logits = logits[..., : content[0], : content[1]]
    if content != size:
        logits = F.interpolate(logits, size=size, mode='bilinear')
    return logits[0]


def class_score_tiles(cls_scores: Tensor, masks: Tensor, rows: int) -> Iterator[Tensor]:
    """Score every class at every pixel, a few rows at a time, which bounds the memory.

    Args:
        cls_scores: Logits of shape (Q, K + 1).
        masks: Logits of shape (Q, H, W).
        rows: Height of a tile.

    Yields:
        Scores of shape (K, rows, W), from the first row to the last.
    """
    class_weights = cls_scores.softmax(-1)[:, :-1]
    for tile in masks.split(rows, dim=1):
        yield torch.einsum('qk,qhw->khw', class_weights, tile.sigmoid())


def semantic_map(cls_scores: Tensor, masks: Tensor, rows: int = 64) -> Tensor:
    """Label every pixel; there is no void.

    Args:
        cls_scores: Logits of shape (Q, K + 1).
        masks: Logits of shape (Q, H, W).
        rows: Rows labelled at a time.

    Returns:
        Labels of shape (H, W), int64.
    """
    return torch.cat([tile.argmax(0) for tile in class_score_tiles(cls_scores, masks, rows)])


def add_class_scores(
    total: Tensor, cls_scores: Tensor, masks: Tensor, flipped: bool, rows: int = 64
) -> None:
    """Add the class scores of one view of a photo to those of others, in place.

    Args:
        total: Of shape (K, H, W).
        cls_scores: Logits of shape (Q, K + 1).
        masks: Logits of shape (Q, H, W).
        flipped: The view is mirrored left to right.
        rows: Rows added at a time.
    """
    tiles = class_score_tiles(cls_scores, masks, rows)
    for target, tile in zip(total.split(rows, dim=1), tiles):
        target += tile.flip(-1) if flipped else tile


def confident_queries(cls_scores: Tensor, score_thr: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries that a panoptic answer may use.

    Args:
        cls_scores: Logits of shape (Q, K + 1).
        score_thr: A query's best class must be real and score above it.

    Returns:
        Their indices, labels and scores.
    """
    scores, labels = cls_scores.softmax(-1).max(-1)
    kept = ((labels != cls_scores.shape[-1] - 1) & (scores > score_thr)).nonzero()[:, 0]
    return kept, labels[kept], scores[kept]


def panoptic_map(
    labels: Tensor, scores: Tensor, masks: Tensor, is_thing: Tensor, iou_thr: float
) -> tuple[Tensor, list[dict]]:
    """Merge confident queries into one non-overlapping map.

    A pixel goes to the query with the highest score times mask probability, and stays void where
    that query's mask is below 0.5. A query whose share of its own mask is below ``iou_thr`` is
    dropped, and its pixels stay void. Stuff segments of a class are one segment.

    Args:
        labels: Of shape (Q,), of confident queries in query order.
        scores: Of shape (Q,).
        masks: Logits of shape (Q, H, W).
        is_thing: Bool of shape (K,).
        iou_thr: Least share of its own mask that a query must win, in [0, 1]; mmdet's name for the
            original's overlap threshold.

    Returns:
        Segment ids of shape (H, W), int64, 0 for void; and for each id from 1 a dict with ``id``,
        ``label``, ``isthing`` and ``score`` (of a merged stuff segment its best query's).
    """
    Q = len(labels)
    if Q == 0:
        return torch.zeros(masks.shape[1:], dtype=torch.long, device=masks.device), []
    probabilities = masks.sigmoid()
    winner = (scores[:, None, None] * probabilities).argmax(0)  # H W
    own = probabilities.gather(0, winner[None])[0] >= 0.5  # H W, the winner's mask covers the pixel
    won = winner.flatten().bincount(minlength=Q)
    visible = winner[own].bincount(minlength=Q)
    covered = (probabilities >= 0.5).flatten(1).sum(1)
    kept = (visible > 0) & (won.double() / covered.clamp(min=1) >= iou_thr)

    segment_of = torch.zeros(Q, dtype=torch.long)
    segments, stuff_segment = [], {}
    columns = (labels, scores, is_thing[labels], kept)
    for q, (label, score, isthing, keep) in enumerate(zip(*(c.tolist() for c in columns))):
        if not keep:
            continue
        segment = None if isthing else stuff_segment.get(label)
        if segment is None:
            segment = dict(id=len(segments) + 1, label=label, isthing=isthing, score=score)
            segments.append(segment)
            if not isthing:
                stuff_segment[label] = segment
        segment['score'] = max(segment['score'], score)
        segment_of[q] = segment['id']
    return torch.where(own, segment_of.to(winner.device)[winner], 0), segments


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
        Queries, labels and class scores of the pairs.
    """
    scores = cls_scores.softmax(-1)[:, :-1]
    K = scores.shape[1]
    top = scores.flatten().topk(min(max_per_image, scores.numel()))
    thing = is_thing[top.indices % K]
    pairs = top.indices[thing]
    return pairs // K, pairs % K, top.values[thing]


def mask_quality(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Binary masks and their mean probability inside.

    Args:
        masks: Logits of shape (Q, H, W).

    Returns:
        Bool masks of shape (Q, H, W), and in [0, 1] the quality of shape (Q,), 0 for empty masks.
    """
    binary = masks > 0
    inside = (masks.sigmoid() * binary).flatten(1).sum(1)
    return binary, inside / (binary.flatten(1).sum(1) + 1e-6)


def mask_boxes(masks: Tensor) -> Tensor:
    """Tight boxes (x1, y1, x2, y2) around bool masks (Q, H, W), x2 and y2 exclusive.

    Returns:
        Of shape (Q, 4), float32, zeros for empty masks.
    """
    corners = []
    for occupied in (masks.any(1), masks.any(2)):  # columns, rows
        occupied = occupied.int()
        first = occupied.argmax(1)
        last = occupied.shape[1] - occupied.flip(1).argmax(1)
        corners.append(torch.stack([first, last], 1) * occupied.any(1, keepdim=True))
    (x, y) = corners
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).float()
