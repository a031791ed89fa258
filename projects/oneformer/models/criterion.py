"""Sec. 3.5: bipartite matching, and the class, mask and dice losses of every decoder output.

Only the logits that a loss reads are computed: matching samples the mask *features* at its points,
and full-resolution masks exist for matched queries alone. The product over channels and bilinear
sampling commute, so the values are those of sampled masks.

Where labels are partial, what they leave open is not held against the model, see ``targets``.

Shapes: L decoder outputs, B images, Q queries, C channels, K classes, N targets of an image,
P points, h x w the 1/4-resolution grid, H x W the padded input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from mmcv.ops import point_sample
from mmdet.registry import MODELS
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from ..kernels.assignment import Assignment
from ..kernels.mask_losses import mask_costs, point_losses, uniform_points
from ..kernels.point_gathering import sample_pixels
from .targets import SampledTargets, Targets, known_scores, searched_scores

# of shape (B, C, h, w), shared by L outputs, or L of it
MaskFeatures: TypeAlias = Tensor | Sequence[Tensor]


@dataclass
class Matching:
    """Decoder outputs that share their mask features, in float32, and their assignment.

    Attributes:
        cls_scores: Logits of shape (l, B, Q, K + 1), see ``known_scores``.
        mask_embeds: Mask embeddings of shape (l, B, Q, C).
        mask_features: Mask features of shape (B, C, h, w).
        assignment: Assignment of queries and targets, on its way to the host.
    """

    cls_scores: Tensor
    mask_embeds: Tensor
    mask_features: Tensor
    assignment: Assignment


@MODELS.register_module()
class SetCriterion(nn.Module):
    """Losses of a batch, summed over matched pairs of all decoder outputs.

    Two normalisers follow the original up to the number of processes: class weights and mask counts
    are summed over the *global* batch and clamped once, so that a step does not depend on how a
    batch is spread over processes (the original normalises the class loss per process).

    Args:
        num_classes: K.
        class_weight: Weight of the class loss and of its matching cost.
        mask_weight: Weight of binary cross entropy of masks.
        dice_weight: Weight of dice.
        no_object_weight: Weight of the class "no object" inside the class loss.
        num_points: P, points per mask in matching and loss.
        oversample_ratio: Candidates per point in the loss.
        importance_sample_ratio: Share of points taken where the mask is most uncertain.
    """

    def __init__(
        self,
        num_classes: int,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if num_points < 1:
            raise ValueError(f'criterion.num_points is {num_points}: it has to be at least 1')
        self.num_classes = num_classes
        self.weights = dict(cls=class_weight, mask=mask_weight, dice=dice_weight)
        self.num_points = num_points
        self.num_candidates = int(num_points * oversample_ratio)
        self.num_uncertain = int(num_points * importance_sample_ratio)
        self.sample_points = uniform_points
        per_class = torch.ones(num_classes + 1)
        per_class[-1] = no_object_weight
        self.register_buffer('per_class', per_class, persistent=False)

    def forward(
        self,
        cls_scores: Tensor,
        mask_embeds: Tensor,
        mask_features: MaskFeatures,
        targets: Sequence[Targets],
        matchings: Sequence[Matching] | None = None,
    ) -> dict[str, Tensor]:
        """Match and compare, in float32.

        Args:
            cls_scores: Logits of shape (L, B, Q, K + 1).
            mask_embeds: Mask embeddings of shape (L, B, Q, C).
            mask_features: Mask features of shape (B, C, h, w), or where each output has its own, L
                of that shape.
            targets: Targets of the B images.
            matchings: What ``start_matching`` returned for them, if it was called before.

        Returns:
            ``loss_cls``, ``loss_mask``, ``loss_dice`` of the last output, and the same with the
            prefix ``d{i}.`` for the others from ``d0``, the initial queries. The keys never change
            and each value depends on the network, also without any target.
        """
        if matchings is None:
            matchings = self.start_matching(cls_scores, mask_embeds, mask_features, targets)
        with torch.autocast(cls_scores.device.type, enabled=False):
            parts = zip(*(self._sums(matching, targets) for matching in matchings))
            class_sums, weight_sums, mask_sums, dice_sums = map(torch.cat, parts)
            num_masks = sum(len(target.labels) for target in targets)
            totals = torch.cat([weight_sums, weight_sums.new_full((1,), num_masks)])
            all_reduce(totals)
            # gradients are averaged over processes, so each adds its share times their number
            # weights are zero only if no query of the batch has a class to learn
            totals = torch.cat([totals[:-1].clamp(min=1e-6), totals[-1:].clamp(min=1)])
            totals = totals / get_world_size()
            losses = dict(
                cls=self.weights['cls'] * class_sums / totals[:-1],
                mask=self.weights['mask'] * mask_sums / totals[-1],
                dice=self.weights['dice'] * dice_sums / totals[-1],
            )
        last = len(cls_scores) - 1
        return {
            f'{"" if i == last else f"d{i}."}loss_{name}': values[i]
            for i in (last, *range(last))
            for name, values in losses.items()
        }

    def start_matching(
        self,
        cls_scores: Tensor,
        mask_embeds: Tensor,
        mask_features: MaskFeatures,
        targets: Sequence[Targets],
    ) -> list[Matching]:
        """Begin what ``forward`` does first, so that a GPU gets other work while the host matches.

        Arguments are those of ``forward``; so are the random numbers that are drawn.
        """
        if isinstance(mask_features, Tensor):
            groups = [(cls_scores, mask_embeds, mask_features)]
        else:
            groups = list(zip(cls_scores.split(1), mask_embeds.split(1), mask_features))
        matchings = []
        with torch.autocast(cls_scores.device.type, enabled=False):
            for scores, embeds, features in groups:
                scores = known_scores(scores.float(), targets)
                outputs = scores, embeds.float(), features.float()
                matchings.append(Matching(*outputs, Assignment(self._costs(*outputs, targets))))
        return matchings

    def _sums(
        self, matching: Matching, targets: Sequence[Targets]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Class losses and their weights, mask and dice losses, summed, of shape (l,) each."""
        embeds, features = matching.mask_embeds, matching.mask_features
        open_queries = [
            self._open_queries(embeds[:, b], features[b : b + 1], target)
            for b, target in enumerate(targets)
        ]
        queries = matching.assignment.queries()
        return (
            *self._class_sums(matching.cls_scores, targets, queries, open_queries),
            *self._mask_sums(embeds, features, targets, queries),
        )

    def match(
        self,
        cls_scores: Tensor,
        mask_embeds: Tensor,
        mask_features: Tensor,
        targets: Sequence[Targets],
    ) -> list[Tensor]:
        """Assign a query to each target.

        Arguments are those of ``forward``; points are drawn per image and decoder output.

        Returns:
            For each image the query of each target, of shape (L, N), see ``Assignment.queries``.
        """
        return Assignment(self._costs(cls_scores, mask_embeds, mask_features, targets)).queries()

    @torch.no_grad()
    def _costs(
        self,
        cls_scores: Tensor,
        mask_embeds: Tensor,
        mask_features: Tensor,
        targets: Sequence[Targets],
    ) -> list[Tensor]:
        """Costs of each image, of shape (L, Q, N); arguments are those of ``forward``."""
        L, P = len(cls_scores), self.num_points
        step = self._at_once(cls_scores.device, 1, L)
        costs = []
        for b, target in enumerate(targets):
            N = len(target.labels)
            if N == 0:
                costs.append(cls_scores.new_zeros(L, cls_scores.shape[2], 0))
                continue
            points = self.sample_points(L, P, cls_scores.device, ('match', target.img_id))
            pairs = [
                self._mask_costs_at(*part, mask_features[b : b + 1], target)
                for part in zip(mask_embeds[:, b].split(step), points.split(step))
            ]
            mask_cost, dice_cost = (torch.cat(part) for part in zip(*pairs))  # L Q N
            class_cost = -cls_scores[:, b].softmax(-1)[..., target.labels]  # L Q N
            costs.append(
                self.weights['cls'] * class_cost
                + self.weights['mask'] * mask_cost
                + self.weights['dice'] * dice_cost
            )
        return costs

    @staticmethod
    def _at_once(device: torch.device, few: int, all_of: int) -> int:
        """A CPU is faster with what fits its cache, a GPU with few large operators."""
        return few if device.type == 'cpu' else all_of

    def _mask_costs_at(
        self, mask_embeds: Tensor, points: Tensor, mask_features: Tensor, target: Targets
    ) -> tuple[Tensor, Tensor]:
        """Costs of the masks of some decoder outputs at their points, see ``mask_costs``.

        Args:
            mask_embeds: Mask embeddings of shape (l, Q, C).
            points: Points of shape (l, P, 2).
            mask_features: Mask features of shape (1, C, h, w).
            target: Targets of the image.

        Returns:
            Cross entropy and dice cost of shape (l, Q, N).
        """
        features = sample_pixels(mask_features, points.flatten(0, 1))
        logits = mask_embeds @ features.view(*points.shape[:2], -1).mT  # l Q P
        sampled = SampledTargets(target.target_map, points, target.regions)
        valid = sampled.valid() if target.has_unknown else None
        return mask_costs(logits, sampled.all_masks(len(target.labels)), valid)

    @torch.no_grad()
    def _open_queries(
        self, mask_embeds: Tensor, mask_features: Tensor, target: Targets
    ) -> tuple[Tensor | None, Tensor | None]:
        """Which queries of an image lie by more than half on unannotated, or unsearched, pixels.

        Args:
            mask_embeds: Mask embeddings of shape (L, Q, C).
            mask_features: Mask features of shape (1, C, h, w).
            target: Targets of the image.

        Returns:
            For either bool of shape (L, Q); None if the image has no such pixels.
        """
        regions = [target.unannotated, target.unsearched]
        if all(pixels is None for pixels in regions):
            return None, None
        key = ('unannotated', target.img_id)
        points = self.sample_points(1, self.num_points, mask_embeds.device, key)
        covered = mask_embeds @ sample_pixels(mask_features, points[0]).mT > 0  # L Q P

        def mostly_on(pixels: Tensor | None) -> Tensor | None:
            if pixels is None:
                return None
            there = point_sample(pixels[None, None].float(), points)[0, 0] > 0.5  # P
            return 2 * (covered & there).sum(-1) > covered.sum(-1)

        return mostly_on(regions[0]), mostly_on(regions[1])

    def _class_sums(
        self,
        cls_scores: Tensor,
        targets: Sequence[Targets],
        queries: Sequence[Tensor],
        open_queries: Sequence[tuple[Tensor | None, Tensor | None]],
    ) -> tuple[Tensor, Tensor]:
        """Weighted cross entropy summed over images and queries, and the sum of weights, (L,).

        Queries on unannotated pixels without a target count in neither; what those on unsearched
        ones learn, says ``searched_scores``.
        """
        L, B, Q, K1 = cls_scores.shape
        # one column more than queries takes the targets that no query got
        wanted = torch.full((L, B, Q + 1), K1 - 1, device=cls_scores.device)
        valid = torch.ones(L, B, Q + 1, device=cls_scores.device)
        for b, (target, query_of) in enumerate(zip(targets, queries)):
            slot = query_of.remainder(Q + 1)  # -1 becomes Q
            wanted[:, b].scatter_(1, slot, target.labels.expand(L, -1))
            if (ignored := open_queries[b][0]) is not None:
                valid[:, b, :Q] = (~ignored).float()
                valid[:, b].scatter_(1, slot, 1.0)
        wanted, valid = wanted[..., :Q], valid[..., :Q].flatten(1)
        unsure = [unsearched for _, unsearched in open_queries]
        cls_scores = searched_scores(cls_scores, wanted, targets, unsure)
        losses = F.cross_entropy(
            cls_scores.flatten(0, 2), wanted.flatten(), self.per_class, reduction='none'
        )
        weights = self.per_class[wanted].flatten(1) * valid
        return (losses.view(L, -1) * valid).sum(1), weights.sum(1)

    def _mask_sums(
        self,
        mask_embeds: Tensor,
        mask_features: Tensor,
        targets: Sequence[Targets],
        queries: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy and dice summed over matched pairs, of shape (L,) each."""
        L = len(mask_embeds)
        if not any(len(target.labels) for target in targets):
            zero = mask_embeds.flatten(1).sum(1) * 0 + mask_features.sum() * 0  # with its graph
            return zero, zero
        mask_sums = dice_sums = mask_embeds.new_zeros(L)
        # unbound, since each slice would get a gradient of the size of the whole
        images = zip(targets, queries, mask_embeds.unbind(1), mask_features.unbind())
        for target, query_of, embeds, features in images:
            N = len(target.labels)
            if N == 0:
                continue
            matched = query_of >= 0  # L N
            index = query_of.clamp(min=0)[..., None].expand(-1, -1, embeds.shape[-1])
            embeds = embeds.gather(1, index)  # L N C
            logits = torch.einsum('lnc,chw->lnhw', embeds, features).flatten(0, 1)[:, None]
            parts = logits.detach().split(self._at_once(logits.device, N, L * N))
            points = torch.cat([self._loss_points(part, target) for part in parts])  # LN P 2
            at_points = point_sample(logits, points).view(L, N, -1)
            points = points.view(L, N, -1, 2)
            sampled = SampledTargets(target.target_map, points, target.regions)
            wanted = sampled.own_masks()  # L N P
            valid = sampled.valid() if target.has_unknown else None
            cross_entropy, dice = point_losses(at_points, wanted, valid)
            mask_sums = mask_sums + (cross_entropy * matched).sum(1)
            dice_sums = dice_sums + (dice * matched).sum(1)
        return mask_sums, dice_sums

    @torch.no_grad()
    def _loss_points(self, logits: Tensor, target: Targets) -> Tensor:
        """Points of the losses: of many candidates the most uncertain, and some at random.

        Args:
            logits: Mask logits of shape (M, 1, h, w).
            target: Targets of the image; its unknown pixels are as certain as can be.

        Returns:
            Tensor of shape (M, P, 2).
        """
        M, device = len(logits), logits.device
        candidates = self.sample_points(
            M, self.num_candidates, device, ('candidates', target.img_id)
        )
        uncertainty = -point_sample(logits, candidates)[:, 0].abs()
        if target.has_unknown:
            valid = SampledTargets(target.target_map, candidates).valid()
            uncertainty.masked_fill_(valid == 0, -torch.inf)
        top = uncertainty.topk(self.num_uncertain, dim=1, sorted=False).indices
        top = top[..., None].expand(-1, -1, 2)
        num_random = self.num_points - self.num_uncertain
        random = self.sample_points(M, num_random, device, ('random', target.img_id))
        return torch.cat([candidates.gather(1, top), random], dim=1)
