"""Large images in overlapping windows, merged at the level of mask logits.

The network sees one window at a time, so its memory does not depend on the size of the image. Each
window has its own queries. Those of neighbouring windows that find the same object where the
windows overlap become one query, and the usual fusion makes the prediction from the merged ones.

Points of the 1/4 grid where windows overlap are trusted to each window by its *share*, which falls
to its border; the shares of a point sum to 1. The window of the largest share is the point's home.

Shapes: Q queries of a window, K classes, C channels, h x w the 1/4 grid of the image, y x x that of
a window, r x c a part of the grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..kernels.class_scores import BlockScores, ScoresOfBlock, relevant_probabilities
from ..kernels.mask_resize import Block
from .oneformer_head import BatchOutputs, ImageOutputs

_STRIDE = 4  # of the grid
_ALIGNMENT = 32  # windows begin where all maps of the backbone have a cell
_SAME_OBJECT = 0.5  # least IoU of two masks where their windows overlap
_NOWHERE = -50.0  # mask logit where a query has nothing to say


def check_window(window: Mapping) -> None:
    """Check ``test_cfg.window``.

    Raises:
        ValueError: For other keys than ``size`` and ``overlap``, and for lengths that do not work.
    """
    if set(window) != {'size', 'overlap'}:
        raise ValueError(
            f'model.test_cfg.window has the keys {sorted(window)}, but takes size and overlap'
        )
    size, overlap = window['size'], window['overlap']
    if any(side % _ALIGNMENT or side <= 0 for side in (size, overlap)) or 2 * overlap > size:
        raise ValueError(
            f'model.test_cfg.window has size {size} and overlap {overlap}, but both must be '
            f'positive multiples of {_ALIGNMENT}, and overlap at most half of size'
        )


def window_places(image: tuple[int, int], window: Mapping) -> list[tuple[slice, slice]]:
    """Rows and columns of the windows of an image, row by row.

    Args:
        image: (height, width) of the padded input.
        window: ``size`` of a window's sides and ``overlap`` of neighbours at least, in pixels.
    """
    rows, columns = (_spans(length, window['size'], window['overlap']) for length in image)
    return list(product(rows, columns))


def _spans(length: int, size: int, overlap: int) -> list[slice]:
    """The windows of an axis."""
    shown = min(size, length)
    starts = [*range(0, length - shown, size - overlap), length - shown]
    return [slice(start, start + shown) for start in starts]


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
        return torch.einsum('qc,crs->qrs', self.mask_embeds, features)


class WindowedOutputs:
    """Outputs of the network for a batch of large images, as ``BatchOutputs`` of small ones.

    Args:
        run_network: Function of images (B, 3, y, x) that returns their ``BatchOutputs``.
        batch_inputs: Images of shape (B, 3, height, width).
        contents: (height, width) of each image without padding.
        window: See ``test_cfg.window`` of the model.
    """

    def __init__(
        self,
        run_network: Callable[[Tensor], BatchOutputs],
        batch_inputs: Tensor,
        contents: Sequence[tuple[int, int]],
        window: Mapping,
    ) -> None:
        places = window_places(batch_inputs.shape[-2:], window)
        self.corners = [tuple(axis.start // _STRIDE for axis in place) for place in places]
        self.outputs = [run_network(batch_inputs[..., rows, columns]) for rows, columns in places]
        self.contents = contents

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the 1/4 grid of the images."""
        (top, left), (h, w) = self.corners[-1], self.outputs[-1].grid
        return top + h, left + w

    def of_image(self, b: int, task: str) -> 'Window | MergedWindows':
        """Outputs for an image and a task."""
        found = [outputs.of_image(b, task) for outputs in self.outputs]
        windows = [Window(**vars(one), top=y, left=x) for one, (y, x) in zip(found, self.corners)]
        return merge_windows(windows, self.contents[b])


def merge_windows(windows: Sequence[Window], content: tuple[int, int]) -> 'Window | MergedWindows':
    """Outputs for an image from those for its windows.

    Args:
        windows: Windows in the order of ``window_places``.
        content: (height, width) of the input without padding. Windows that are not needed to cover
            it are left out, so the prediction does not depend on the other images of the batch.
    """
    bottom = _last_needed([window.bottom for window in windows], content[0])
    right = _last_needed([window.right for window in windows], content[1])
    windows = [w for w in windows if w.bottom <= bottom and w.right <= right]
    return windows[0] if len(windows) == 1 else MergedWindows(windows)


def _last_needed(ends: Sequence[int], content: int) -> int:
    """The first end of a window beyond the content and the point that interpolation needs."""
    return min((end for end in ends if end * _STRIDE >= content + _STRIDE), default=max(ends))


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
        self.rows, self.home_rows = axis_shares([(w.top, w.bottom) for w in windows])
        self.columns, self.home_columns = axis_shares([(w.left, w.right) for w in windows])
        self.rows, self.columns = self.rows.to(device), self.columns.to(device)
        probabilities = torch.cat([window.cls_scores for window in windows]).softmax(-1)
        sizes = torch.cat([(w.mask_logits() > 0).flatten(1).sum(1) for w in windows])
        self.group_of = groups(len(sizes), self._links()).to(device)
        weights = (sizes + 1e-3)[:, None]  # that of an empty mask is not zero
        total = probabilities.new_zeros(int(self.group_of.max()) + 1, probabilities.shape[1])
        total.index_add_(0, self.group_of, probabilities * weights)
        mean = total / total.sum(1, keepdim=True)
        self.cls_scores = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()

    def _links(self) -> list[tuple[int, int]]:
        """Pairs of queries of neighbouring windows that found the same object."""
        links, Q = [], len(self.windows[0].cls_scores)
        number = {(w.top, w.left): i for i, w in enumerate(self.windows)}
        tops, lefts = (sorted(set(starts)) for starts in zip(*number))
        neighbours = [((a, left), (b, left)) for a, b in pairwise(tops) for left in lefts]
        neighbours += [((top, a), (top, b)) for a, b in pairwise(lefts) for top in tops]
        for first, second in neighbours:
            i, j = number[first], number[second]
            pairs = same_objects(self.windows[i], self.windows[j]).tolist()
            links += [(i * Q + a, j * Q + b) for a, b in pairs]
        return links

    def mask_logits(self, index: Tensor) -> Tensor:
        """Mask logits (n, h, w) of the merged queries of given indices (n,)."""
        Q = len(self.windows[0].cls_scores)
        place = self.group_of.new_full((len(self.cls_scores),), -1)
        place[index] = torch.arange(len(index), device=place.device)
        members = place[self.group_of]
        found = (members >= 0).nonzero()[:, 0]
        pieces: list[dict] = [{} for _ in index]  # of each query its logits in each of its windows
        for i, window in enumerate(self.windows):
            queries = found[(found >= i * Q) & (found < (i + 1) * Q)]
            for n, logits in zip(members[queries].tolist(), window.mask_logits(queries - i * Q)):
                # two queries of a window that found one object
                pieces[n][i] = logits.maximum(pieces[n].get(i, logits))
        h, w = self.windows[-1].bottom, self.windows[-1].right
        masks = self.cls_scores.new_full((len(index), h, w), _NOWHERE)
        for mask, piece in zip(masks, pieces):
            for i in piece:
                rows, columns = self.home_rows[i], self.home_columns[i]
                mask[rows, columns] = self._mean(piece, rows, columns)
        return masks

    def _mean(self, piece: dict[int, Tensor], rows: slice, columns: slice) -> Tensor:
        """Mean logits by share of a query's windows in a part of the grid."""
        shape = rows.stop - rows.start, columns.stop - columns.start
        total, weight = self.cls_scores.new_zeros(2, *shape)
        for i, logits in piece.items():
            window = self.windows[i]
            if (common := window.common(rows, columns)) is None:
                continue
            share = self._share(i, *common)
            here = _shifted(common, rows.start, columns.start)
            total[here] += share * logits[_shifted(common, window.top, window.left)]
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


def same_objects(one: Window, other: Window) -> Tensor:
    """Pairs (number, 2) of queries of two windows that find the same object where these overlap.

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
    mutual = (fit == fit.amax(0)) & (fit == fit.amax(1, keepdim=True)) & (fit > 0)
    return mutual.nonzero()


def groups(number: int, links: Sequence[tuple[int, int]]) -> Tensor:
    """The connected sets of numbered things, numbered by their first members.

    Returns:
        The set of each thing, of shape (number,).
    """
    pairs = np.array(links, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links), bool), tuple(pairs)), shape=(number, number))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()
