"""Outputs for an image from those of overlapping windows, merged at the level of mask logits.

Each window has its own queries. Those of neighbouring windows that find the same object where the
windows overlap become one query, and the usual fusion makes the prediction from the merged ones.

Points of the 1/4 grid where windows overlap are trusted to each window by its *share*, which falls
to its border; the shares of a point sum to 1. The window of the largest share is the point's home.

Shapes: Q queries of a window, K classes, C channels, h x w the 1/4 grid of the image, y x x that of
a window, r x c a part of the grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..host.transfers import fetch, send
from ..kernels.class_scores import BlockScores, ScoresOfBlock, relevant_probabilities
from ..kernels.mask_resize import Block
from .oneformer_head import ImageOutputs

_SAME_OBJECT = 0.5  # least IoU of two masks where their windows overlap
_NOWHERE = -50.0  # mask logit where a query has nothing to say


@dataclass
class Window(ImageOutputs):
    """Outputs of the network for a window of an image and a task.

    Attributes:
        top: First row of the image's grid that it covers.
        left: First column.
    """

    top: int
    left: int

    @property
    def bottom(self) -> int:
        """First row of the image's grid below it."""
        return self.top + self.mask_features.shape[1]

    @property
    def right(self) -> int:
        """First column of the image's grid right of it."""
        return self.left + self.mask_features.shape[2]

    def common(self, rows: slice, columns: slice) -> tuple[slice, slice] | None:
        """What the window covers of rows and columns of the image's grid, None for nothing."""
        rows = slice(max(rows.start, self.top), min(rows.stop, self.bottom))
        columns = slice(max(columns.start, self.left), min(columns.stop, self.right))
        empty = rows.start >= rows.stop or columns.start >= columns.stop
        return None if empty else (rows, columns)

    def part(self, rows: slice, columns: slice) -> Tensor:
        """Logits (Q, r, c) of a part of the image's grid; outside the border's are repeated."""
        (_, y, x), device = self.mask_features.shape, self.mask_features.device
        r = torch.arange(rows.start, rows.stop, device=device).sub_(self.top).clamp_(0, y - 1)
        c = torch.arange(columns.start, columns.stop, device=device).sub_(self.left)
        features = self.mask_features[:, r[:, None], c.clamp_(0, x - 1)]
        if self.mask_embeds is None:
            return features
        return torch.einsum('qc,crs->qrs', self.mask_embeds, features)


class MergedWindows:
    """Outputs for an image from several windows, like ``ImageOutputs``; one query per object.

    The class probabilities of a merged query are the mean of its members', weighted by the sizes of
    their masks. Its mask logits are the mean of those of its members by their shares, at points
    whose home is among its windows; elsewhere another window knows better, and it is silent.

    Args:
        windows: Windows that form a grid, row by row.

    Attributes:
        cls_scores: Logarithms of class probabilities, of shape (merged queries, K + 1).
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        self.windows = windows
        device = windows[0].cls_scores.device
        rows, self.home_rows = axis_shares([(w.top, w.bottom) for w in windows])
        columns, self.home_columns = axis_shares([(w.left, w.right) for w in windows])
        self.rows, self.columns = send(rows, device), send(columns, device)
        probabilities = torch.cat([window.cls_scores for window in windows]).softmax(-1)
        sizes = torch.cat([(w.mask_logits() > 0).flatten(1).sum(1) for w in windows])
        self.group_of = groups(len(sizes), self._links())  # of all queries, on the host
        weights = (sizes + 1e-3)[:, None]  # that of an empty mask is not zero
        total = probabilities.new_zeros(int(self.group_of.max()) + 1, probabilities.shape[1])
        total.index_add_(0, send(self.group_of, device), probabilities * weights)
        mean = total / total.sum(1, keepdim=True)
        self.cls_scores = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()

    def _links(self) -> list[tuple[int, int]]:
        """Pairs of queries of neighbouring windows that found the same object."""
        Q = len(self.windows[0].cls_scores)
        number = {(w.top, w.left): i for i, w in enumerate(self.windows)}
        tops, lefts = (sorted(set(starts)) for starts in zip(*number))
        neighbours = [((a, left), (b, left)) for a, b in pairwise(tops) for left in lefts]
        neighbours += [((top, a), (top, b)) for a, b in pairwise(lefts) for top in tops]
        pairs = [(number[first], number[second]) for first, second in neighbours]
        same = [same_objects(self.windows[i], self.windows[j]) for i, j in pairs]
        (found,) = fetch(torch.stack(same))
        firsts, seconds = np.array(pairs).T * Q
        return [(firsts[pair] + a, seconds[pair] + b) for pair, a, b in found.nonzero().tolist()]

    def mask_logits(self, index: Tensor) -> Tensor:
        """Mask logits (n, h, w) of the merged queries of given indices (n,), on the host."""
        place = self.group_of.new_full((len(self.cls_scores),), -1)
        place[index] = torch.arange(len(index))
        places = place[self.group_of].view(len(self.windows), -1)
        pieces = [wanted_logits(window, of) for window, of in zip(self.windows, places)]
        h, w = self.windows[-1].bottom, self.windows[-1].right
        masks = self.cls_scores.new_full((len(index), h, w), _NOWHERE)
        for (wanted, _), rows, columns in zip(pieces, self.home_rows, self.home_columns):
            if len(wanted):
                mean = self._mean(pieces, wanted, rows, columns)
                masks[send(wanted, masks.device), rows, columns] = mean
        return masks

    def _mean(
        self,
        pieces: Sequence[tuple[Tensor, Tensor]],
        wanted: Tensor,
        rows: slice,
        columns: slice,
    ) -> Tensor:
        """Mean logits by share in a part of the grid.

        Args:
            pieces: What ``wanted_logits`` returned for each window.
            wanted: Numbers of the queries, on the host.
            rows: Rows of the grid.
            columns: Columns of the grid.
        """
        shape = len(wanted), rows.stop - rows.start, columns.stop - columns.start
        total, weight = self.cls_scores.new_zeros(2, *shape)
        for i, (window, (found, logits)) in enumerate(zip(self.windows, pieces)):
            if (common := window.common(rows, columns)) is None:
                continue
            _, ours, theirs = np.intersect1d(wanted, found, return_indices=True)
            ours, theirs = (send(torch.from_numpy(x), logits.device) for x in (ours, theirs))
            share = self._share(i, *common)
            here = ours, *_shifted(common, rows.start, columns.start)
            there = slice(None), *_shifted(common, window.top, window.left)
            total[here] += share * logits[there][theirs]
            weight[here] += share
        return total / weight

    def _share(self, i: int, rows: slice, columns: slice) -> Tensor:
        return self.rows[i, rows, None] * self.columns[i, columns]

    def block_scores(self) -> ScoresOfBlock:
        """As of one window; where several overlap their class scores are averaged by share."""
        weights = [window.cls_scores.softmax(-1)[:, :-1] for window in self.windows]

        def scores(block: Block) -> BlockScores:
            parts = []
            place = block.grid_rows, block.grid_columns
            for i, (window, class_weights) in enumerate(zip(self.windows, weights)):
                if window.common(*place) is None:
                    continue
                used, probabilities = relevant_probabilities(
                    class_weights, window.part(*place), block
                )
                parts.append((used, probabilities * block.resize(self._share(i, *place)[None])))
            used, probabilities = zip(*parts)
            return torch.cat(used), torch.cat(probabilities, 1)

        return scores


def _shifted(place: tuple[slice, slice], top: int, left: int) -> tuple[slice, slice]:
    """Rows and columns counted from a corner."""
    rows, columns = place
    return (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )


def axis_shares(spans: Sequence[tuple[int, int]]) -> tuple[Tensor, list[slice]]:
    """How the windows of an image share an axis of its grid.

    Args:
        spans: First and last + 1 point of each window; several windows may have the same.

    Returns:
        The shares of shape (windows, points), 0 outside a window, those of different spans sum
        to 1; and the home points of each window.
    """
    length = max(stop for _, stop in spans)
    points = torch.arange(length)
    depths = {}
    for start, stop in sorted(set(spans)):
        # the image's border is not a border of the window
        before = points - start + 0.5 if start > 0 else points.new_full((length,), length)
        after = stop - points - 0.5 if stop < length else points.new_full((length,), length)
        depths[start, stop] = before.minimum(after).clamp(min=0.0)
    total = sum(depths.values())
    deepest = torch.stack(list(depths.values())).argmax(0)
    homes = {}
    for k, span in enumerate(depths):
        at_home = (deepest == k).nonzero()
        homes[span] = slice(int(at_home[0]), int(at_home[-1]) + 1)
    return torch.stack([depths[span] / total for span in spans]), [homes[span] for span in spans]


def wanted_logits(window: Window, places: Tensor) -> tuple[Tensor, Tensor]:
    """Mask logits of some queries of a window, one where several have found one object.

    Args:
        window: The window.
        places: Number of the object of each query, -1 for one that is not wanted; on the host.

    Returns:
        The numbers (m,), on the host, and logits (m, y, x).
    """
    queries = (places >= 0).nonzero()[:, 0]
    numbers, logits = places[queries], window.mask_logits(queries)
    first: dict[int, int] = {}
    for i, number in enumerate(numbers.tolist()):
        if (known := first.setdefault(number, i)) != i:
            logits[known] = logits[known].maximum(logits[i])
    if len(first) == len(queries):
        return numbers, logits
    kept = torch.tensor(list(first.values()))
    return numbers[kept], logits[send(kept, logits.device)]


def same_objects(one: Window, other: Window) -> Tensor:
    """Which queries of two windows find the same object where these overlap, bool (Q, Q).

    They have the same best class and an IoU of at least 1/2, and among such pairs each is the
    other's best by IoU times class probabilities.
    """
    place = other.common(slice(one.top, one.bottom), slice(one.left, one.right))
    assert place is not None, 'neighbours overlap'
    masks, scores, labels = [], [], []
    for window in (one, other):
        masks.append((window.part(*place) > 0).flatten(1).float())
        best = window.cls_scores.softmax(-1)[:, :-1].max(-1)
        scores.append(best.values)
        labels.append(best.indices)
    both = masks[0] @ masks[1].T
    either = masks[0].sum(1)[:, None] + masks[1].sum(1) - both
    iou = both / either.clamp(min=1)
    agree = (iou >= _SAME_OBJECT) & (labels[0][:, None] == labels[1])
    fit = iou * scores[0][:, None] * scores[1] * agree
    return (fit == fit.amax(0)) & (fit == fit.amax(1, keepdim=True)) & (fit > 0)


def groups(number: int, links: Sequence[tuple[int, int]]) -> Tensor:
    """The connected sets of numbered things, numbered by their first members.

    Returns:
        The set of each thing, of shape (number,).
    """
    pairs = np.array(links, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links), bool), tuple(pairs)), shape=(number, number))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()
