"""Targets of a batch, and what its labels leave open.

Where labels are partial, what they leave open is not held against the model: classes that they do
not annotate leave the softmax, unknown pixels leave the masks, and a query that lies on pixels
which may show such a class is not taught to be "no object". Where an image says which classes were
looked for in it, such a query is still taught to be none of these, as none is there.

Shapes: L decoder outputs, B images, Q queries, K classes, N targets of an image, P points,
H x W the padded input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmcv.ops import point_sample
from mmdet.structures import SampleList
from torch import Tensor

from ..host.transfers import send

_MASKS = 16  # expanded at a time


@dataclass
class Targets:
    """Targets of an image as one map, of which few masks exist at a time.

    Attributes:
        labels: Classes of shape (N,), N may be zero.
        target_map: Map of shape (H, W), integer: k is target k - 1, 0 is background, -1 is unknown.
        img_id: Identifies the image to ``SetCriterion.sample_points``.
        known: Bool of shape (K,), the classes that the labels annotate; None for all.
        unannotated: Bool of shape (H, W), pixels that may show what the labels do not annotate,
            among them the unknown ones; None for none.
        searched: Bool of shape (K,), the known classes of which everything is annotated in the
            image; of the others something is, and more may be there. None for all known ones.
        unsearched: Bool of shape (H, W), pixels that may show a class that is not ``searched``, but
            none that is; the unknown ones among them do not matter. None for none.
        has_unknown: The map may have unknown pixels, which count in no mask.
        regions: Where targets overlap, the map numbers regions: k is region k - 1. Bool of shape
            (N, R), the regions that each target consists of. None where none overlap.
    """

    labels: Tensor
    target_map: Tensor
    img_id: int | str
    known: Tensor | None = None
    unannotated: Tensor | None = None
    has_unknown: bool = False
    regions: Tensor | None = None
    searched: Tensor | None = None
    unsearched: Tensor | None = None

    @property
    def masks(self) -> Tensor:
        """Bool of shape (N, H, W)."""
        if self.regions is not None:
            return region_masks(self.regions, region_indices(self.target_map))
        index = torch.arange(1, len(self.labels) + 1, device=self.labels.device)
        return self.target_map == index[:, None, None]


def region_indices(target_map: Tensor) -> Tensor:
    """A map of regions as int64 (H, W): 0 is background or unknown, k is region k - 1."""
    return target_map.clamp(min=0).long()


def region_masks(regions: Tensor, indices: Tensor) -> Tensor:
    """Bool masks (N, H, W) of targets that consist of ``regions`` (N, R)."""
    return F.pad(regions, (1, 0))[:, indices]


class SampledTargets:
    """A target map at points: of each the four pixels around it and their bilinear weights.

    Sampling all masks at the same points costs little more than sampling one. Values are those of
    mmcv's ``point_sample`` on each mask.

    Args:
        target_map: Map of shape (H, W), see ``Targets``.
        points: (x, y) in [0, 1], of shape (..., P, 2).
        regions: Bool of shape (N, R), see ``Targets``.
    """

    def __init__(self, target_map: Tensor, points: Tensor, regions: Tensor | None = None) -> None:
        self.target_map, self.points, self.regions = target_map, points, regions

    def _corners(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids and weights (..., P) of the four pixels, one after the other to save memory."""
        H, W = self.target_map.shape
        x, y = self.points.unbind(-1)
        x, y = x * W - 0.5, y * H - 0.5
        left, top = x.floor(), y.floor()
        for row in (top, top + 1):
            for column in (left, left + 1):
                weights = (1 - (x - column).abs_()).mul_(1 - (y - row).abs_())
                inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
                pixels = row.clamp(0, H - 1) * W + column.clamp(0, W - 1)
                # outside is background
                yield self.target_map.flatten()[pixels.long()] * inside, weights

    def all_masks(self, count: int) -> Tensor:
        """All N masks at all points, in [0, 1], of shape (..., N, P)."""
        *sets, P, _ = self.points.shape
        if self.regions is not None:
            count = self.regions.shape[1]
        masks = self.points.new_zeros(*sets, count + 1, P)
        for ids, weights in self._corners():
            index = ids.clamp(min=0).long()[..., None, :]
            masks.scatter_add_(-2, index, (weights * (ids > 0))[..., None, :])
        masks = masks[..., 1:, :]
        return masks if self.regions is None else self.regions.to(masks.dtype) @ masks

    def _masks(self, count: int) -> Iterator[Tensor]:
        """The N masks, bool of shape (n, H, W), some at a time."""
        if self.regions is not None:
            indices = region_indices(self.target_map)
            for some in self.regions.split(_MASKS):
                yield region_masks(some, indices)
            return
        ids = torch.arange(1, count + 1, device=self.target_map.device)
        for some in ids.split(_MASKS):
            yield self.target_map == some[:, None, None]

    def own_masks(self) -> Tensor:
        """The mask of target n at its own points, for points of shape (L, N, P, 2).

        Returns:
            In [0, 1], of shape (L, N, P).
        """
        L, N, P, _ = self.points.shape
        grids = self.points.transpose(0, 1).reshape(N, L * P, 2)
        parts = [
            point_sample(masks[:, None].float(), grid)[:, 0]
            for masks, grid in zip(self._masks(N), grids.split(_MASKS))
        ]
        return torch.cat(parts).view(N, L, P).transpose(0, 1)

    def valid(self) -> Tensor:
        """1 at points whose bilinear sample touches no unknown pixel, else 0, of shape (..., P)."""
        touched = sum(weights * (ids < 0) for ids, weights in self._corners())
        return (touched == 0).float()


def batch_targets(data_samples: SampleList, is_thing: Sequence[bool]) -> list[Targets]:
    """Gather each sample's targets at the padded input size.

    Args:
        data_samples: Samples with ``gt_instances.labels`` (N,), ``gt_target_map.sem_seg`` of shape
            (1, h, w), in which k is target k - 1, 0 is background and -1 is unknown, where targets
            overlap ``gt_instances.regions`` (N, R), see ``Targets``, and in their metainfo ``task``
            and, where labels are partial, ``known_labels``, ``searched_labels`` and ``ignore``.
        is_thing: Whether each of the K classes is a thing.

    Returns:
        One per sample, at its ``batch_input_shape``.
    """
    targets = []
    for sample in data_samples:
        labels = sample.gt_instances.labels
        target_map = sample.gt_target_map.sem_seg[0]
        height, width = sample.batch_input_shape
        target_map = F.pad(
            target_map, (0, width - target_map.shape[1], 0, height - target_map.shape[0])
        )
        has_unknown = bool(sample.get('ignore'))
        unannotated = target_map < 0 if has_unknown else None
        unsearched = None
        if sample.get('known_labels') is not None:
            of_image = sample.get('searched_labels')
            complete = sample.known_labels if of_image is None else of_image
            asked = [k for k, thing in enumerate(is_thing) if thing or sample.task != 'instance']
            if not set(asked) <= set(complete):
                if of_image:
                    unsearched = target_map <= 0
                else:
                    unannotated = target_map <= 0
        targets.append(
            Targets(
                labels,
                target_map,
                sample.get('img_id'),
                unannotated=unannotated,
                has_unknown=has_unknown,
                regions=sample.gt_instances.get('regions'),
                unsearched=unsearched,
            )
        )
    _add_listed_classes(targets, data_samples, len(is_thing))
    return targets


def _add_listed_classes(
    targets: Sequence[Targets], data_samples: SampleList, num_classes: int
) -> None:
    """Set ``known`` and ``searched`` where the labels are partial; one copy serves the batch."""
    places, rows = [], []
    for target, sample in zip(targets, data_samples):
        if sample.get('known_labels') is None:
            continue
        for name, key in (('known', 'known_labels'), ('searched', 'searched_labels')):
            if sample.get(key) is not None:
                listed = set(sample.get(key))
                places.append((target, name))
                rows.append([label in listed for label in range(num_classes)])
    if rows:
        flags = send(torch.tensor(rows), targets[0].labels.device)
        for (target, name), row in zip(places, flags):
            setattr(target, name, row)


def known_scores(cls_scores: Tensor, targets: Sequence[Targets]) -> Tensor:
    """Put logits of classes that an image's labels do not annotate to -inf, which stops gradients.

    Args:
        cls_scores: Class logits of shape (L, B, Q, K + 1).
        targets: Targets of the B images.
    """
    if all(target.known is None for target in targets):
        return cls_scores
    known = torch.ones_like(cls_scores[0, :, 0], dtype=torch.bool)  # B K+1
    for row, target in zip(known, targets):
        if target.known is not None:
            row[:-1] = target.known
    return cls_scores.masked_fill(~known[:, None], -torch.inf)


def searched_scores(
    cls_scores: Tensor, wanted: Tensor, targets: Sequence[Targets], unsure: Sequence[Tensor | None]
) -> Tensor:
    """Leave open what was not looked for in an image, see ``Targets.searched``.

    A class of which there may be more in the image is put to -inf but for the queries that are
    taught it. Queries that may show what was not looked for do not learn "no object", against which
    the classes that were looked for are pushed down.

    Args:
        cls_scores: Class logits of shape (L, B, Q, K + 1), see ``known_scores``.
        wanted: The class that each query is taught, of shape (L, B, Q).
        targets: Targets of the B images.
        unsure: Such queries of each image, bool of shape (L, Q), or None.
    """
    if all(target.searched is None for target in targets):
        return cls_scores
    shape = cls_scores.shape
    fixed = torch.zeros(shape[:-1], dtype=torch.bool, device=cls_scores.device)  # L B Q
    more = torch.zeros(shape[1:2] + shape[-1:], dtype=torch.bool, device=cls_scores.device)  # B K+1
    for b, target in enumerate(targets):
        if target.searched is not None:
            more[b, :-1] = ~target.searched
        if unsure[b] is not None:
            fixed[:, b] = unsure[b] & (wanted[:, b] == shape[-1] - 1)
    others = wanted[..., None] != torch.arange(shape[-1], device=cls_scores.device)
    cls_scores = cls_scores.masked_fill(more[:, None] & others, -torch.inf)
    *classes, no_object = cls_scores.split([shape[-1] - 1, 1], dim=-1)
    no_object = torch.where(fixed[..., None], no_object.detach(), no_object)
    return torch.cat([*classes, no_object], dim=-1)
