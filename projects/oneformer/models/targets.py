"""What a batch should be answered with, and what its labels leave open.

Where labels are partial, what they leave open is not held against the model: classes that they do
not annotate leave the softmax, unknown pixels leave the masks, and a query that lies on pixels
which may show such a class is not taught to be "no object".

Shapes: L decoder outputs, B images, Q queries, K classes, N targets of an image, P points,
H x W the padded input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmcv.ops import point_sample
from mmdet.structures import SampleList
from torch import Tensor


@dataclass
class Targets:
    """What one image should be answered with.

    Attributes:
        labels: Classes of shape (N,), N may be zero.
        masks: Bool of shape (N, H, W).
        img_id: Identifies the image to ``SetCriterion.sample_points``.
        known: Bool of shape (K,), the classes that the labels annotate; None for all.
        ignored: Bool of shape (H, W), pixels that count in no mask; None for none.
        open: Bool of shape (H, W), pixels that may show what the labels do not annotate, among them
            the ignored ones; None for none.
    """

    labels: Tensor
    masks: Tensor
    img_id: int | str
    known: Tensor | None = None
    ignored: Tensor | None = None
    open: Tensor | None = None


def batch_targets(data_samples: SampleList, is_thing: Sequence[bool]) -> list[Targets]:
    """Expand each sample's target map to masks of the padded input size.

    Args:
        data_samples: With ``gt_instances.labels`` (N,), ``gt_panoptic_seg.sem_seg`` (1, h, w), in
            which k is target k - 1, 0 is background and -1 is unknown, and in their metainfo
            ``task`` and, where labels are partial, ``known_labels`` and ``ignore``.
        is_thing: For each of the K classes.

    Returns:
        One per sample, with masks of its ``batch_input_shape``.
    """
    targets = []
    for sample in data_samples:
        labels = sample.gt_instances.labels
        target_map = sample.gt_panoptic_seg.sem_seg[0]
        height, width = sample.batch_input_shape
        target_map = F.pad(
            target_map, (0, width - target_map.shape[1], 0, height - target_map.shape[0])
        )
        index = torch.arange(1, len(labels) + 1, device=labels.device)
        masks = target_map == index[:, None, None]  # N H W
        known = None
        ignored = open_pixels = target_map < 0 if sample.get('ignore') else None
        if sample.get('known_labels') is not None:
            known = torch.zeros(len(is_thing), dtype=torch.bool)
            known[list(sample.known_labels)] = True
            asked = torch.tensor(is_thing) | (sample.task != 'instance')
            if (asked & ~known).any():
                open_pixels = target_map <= 0
            known = known.to(labels.device, non_blocking=True)
        img_id = sample.get('img_id')
        targets.append(Targets(labels, masks, img_id, known, ignored, open_pixels))
    return targets


def counted_points(ignored: Tensor | None, points: Tensor) -> Tensor | None:
    """Which points count: those whose bilinear sample touches no ignored pixel.

    Args:
        ignored: Bool of shape (H, W), or None.
        points: Of shape (M, P, 2).

    Returns:
        0 or 1 of shape (M, P), float32; None if all count.
    """
    if ignored is None:
        return None
    share = point_sample(ignored[None, None].float(), points.view(1, -1, 2))
    return (share.view(points.shape[:-1]) == 0).float()


def known_scores(cls_scores: Tensor, targets: Sequence[Targets]) -> Tensor:
    """Put logits of classes that an image's labels do not annotate to -inf, which stops gradients.

    Args:
        cls_scores: Of shape (L, B, Q, K + 1).
        targets: Of the B images.
    """
    if all(target.known is None for target in targets):
        return cls_scores
    known = torch.ones_like(cls_scores[0, :, 0], dtype=torch.bool)  # B K+1
    for row, target in zip(known, targets):
        if target.known is not None:
            row[:-1] = target.known
    return cls_scores.masked_fill(~known[:, None], -torch.inf)
