"""A legend in a corner of a picture: the classes that it shows, with their colours."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .captions import FONT, Layout, text_size

_SHARE = 0.2  # share of the picture that a legend may cover
_LEAST_SIDE = 160  # pixels of a picture with a legend
_SHADE = 0.25  # share of the background that is seen through it


@dataclass(frozen=True)
class Legend:
    """A legend with its place in a picture.

    Attributes:
        box: (x, y, width, height) in pixels.
        lines: Text and colour of each line; without a colour it counts the classes left out.
        line_height: Height of a line in pixels.
        scale: Scale of the font.
    """

    box: tuple[int, int, int, int]
    lines: list[tuple[str, np.ndarray | None]]
    line_height: int
    scale: float

    def draw(self, image: np.ndarray) -> None:
        """Draw it into a picture, RGB, uint8."""
        x, y, width, height = self.box
        behind = image[y : y + height, x : x + width]
        behind[:] = (behind * _SHADE).astype(np.uint8)
        size = self.line_height
        for number, (text, color) in enumerate(self.lines):
            top = y + number * size
            if color is not None:
                corners = (x + 2, top + 2), (x + size - 3, top + size - 3)
                cv2.rectangle(image, *corners, color.tolist(), -1)
            place = x + size + 2, top + size - max(3, size // 4)
            cv2.putText(image, text, place, FONT, self.scale, (255, 255, 255), 1, cv2.LINE_AA)


def present_labels(region_map: np.ndarray, labels: Sequence[int]) -> list[int]:
    """Labels of the regions that have pixels, those with most first."""
    areas = np.bincount(region_map[region_map > 0], minlength=len(labels) + 1)[1:]
    pixels: Counter[int] = Counter()
    for label, area in zip(labels, areas.tolist()):
        pixels[label] += area
    return sorted(+pixels, key=lambda label: (-pixels[label], label))


def place_legend(
    entries: Sequence[tuple[str, np.ndarray]], edges: np.ndarray, scale: float, layout: Layout
) -> Legend | None:
    """A legend in the corner where it hides the fewest outlines; None where it has no room.

    It covers a fifth of the picture at most; classes without room are counted in its last line. A
    picture with a side of less than 160 pixels has none.

    Args:
        entries: Name and colour of each class.
        edges: Mask of the outlines, bool of shape (H, W).
        scale: Scale of the font.
        layout: Layout of the picture, in which the legend is reserved.
    """
    height, width = layout.size
    if min(layout.size) < _LEAST_SIDE:
        return None
    for count in range(len(entries), 0, -1):
        lines = list(entries[:count])
        if count < len(entries):
            lines.append((f'+ {len(entries) - count} more', None))
        sizes = [text_size(text, scale) for text, _ in lines]
        line = max(size[1] for size in sizes) + 2
        w, h = max(size[0] for size in sizes) + line + 2, line * len(lines)
        if w * h > _SHARE * height * width:
            continue
        boxes = [(x, y, w, h) for y in (height - h, 0) for x in (width - w, 0)]
        if free := layout.free(np.array(boxes)):
            box = min(free, key=lambda b: edges[b[1] : b[1] + h, b[0] : b[0] + w].sum())
            layout.take(box)
            return Legend(box, lines, line, scale)
    return None
