"""Pictures in a row, with lines of text below."""

from collections.abc import Sequence

import cv2
import numpy as np

from .captions import FONT

_GAP = 6  # pixels between panels


def side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    """A row of panels of one height, with white gaps."""
    gap = np.full((len(panels[0]), _GAP, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def text_below(panels: Sequence[np.ndarray], texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Panels with lines of text below, black on white; lines are wrapped, heights made equal."""
    scale = max(0.4, panels[0].shape[1] / 1280)
    line_height = round(40 * scale)
    wrapped = [
        [part for line in lines for part in _wrap(line, panel.shape[1], scale)]
        for panel, lines in zip(panels, texts)
    ]
    height = (max(map(len, wrapped)) + 1) * line_height
    captioned = []
    for panel, lines in zip(panels, wrapped):
        strip = np.full((height, panel.shape[1], 3), 255, np.uint8)
        for number, line in enumerate(lines, start=1):
            position = (2, number * line_height)
            cv2.putText(strip, line, position, FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
        captioned.append(np.concatenate([panel, strip]))
    return captioned


def _wrap(line: str, width: int, scale: float) -> list[str]:
    """Break a line between words where it would be wider than ``width`` pixels."""
    lines = ['']
    for word in line.split():
        longer = f'{lines[-1]} {word}'.lstrip()
        if lines[-1] and cv2.getTextSize(longer, FONT, scale, 1)[0][0] > width - 4:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
