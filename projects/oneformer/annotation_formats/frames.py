"""The frame that labels are drawn in: the image as viewers show it, or the pixels as stored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..images.image_files import ImageTooLargeError, open_image
from ..images.orientation import SIDEWAYS, exif_orientation, turn


@dataclass(frozen=True)
class Frame:
    """Size of an image as it is viewed, and how labels have to be turned to lie on it.

    Attributes:
        height: Height of the upright image, in pixels.
        width: Width of the upright image, in pixels.
        turns: Orientation, 1 to 8, by which labels are turned; 1 where they were drawn upright.
    """

    height: int
    width: int
    turns: int = 1

    @property
    def drawn(self) -> tuple[int, int]:
        """(height, width) of the image that labels were drawn on."""
        size = self.height, self.width
        return size[::-1] if self.turns in SIDEWAYS else size

    def upright_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W), uint8, of the frame of the labels in that of the image."""
        return turn(mask, self.turns)

    def upright_points(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2), (x, y) in pixels from the corner, in the frame of the image."""
        if self.turns == 1:
            return points
        height, width = self.drawn
        x, y = points[:, 0], points[:, 1]
        across, down = width - x, height - y
        turned = {
            2: (across, y),
            3: (across, down),
            4: (x, down),
            5: (y, x),
            6: (down, x),
            7: (down, across),
            8: (y, across),
        }[self.turns]
        return np.stack(turned, 1)


def stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """(height, width) of the pixels as stored, and the orientation; nothing is decoded.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is not an image.
    """
    try:
        with open_image(path, f'image {path}') as header:
            late = header.format == 'PNG' and not header.info.get('exif')
            orientation = exif_orientation(header, path.read_bytes() if late else b'')
            size = header.height, header.width
            if header.format == 'TIFF' and orientation in SIDEWAYS:
                size = size[::-1]  # Pillow states that of the upright image
    except FileNotFoundError as error:
        raise FileNotFoundError(f'image {path} does not exist: put it there') from error
    except ImageTooLargeError:
        raise
    except Exception as error:  # parsers of headers raise whatever they like
        raise ValueError(
            f'image {path} is not an image, or damaged: replace it ({error})'
        ) from error
    return size, orientation


def frame_of(path: Path, stated: tuple[int, int] | None = None, file: Path | str = '') -> Frame:
    """The frame of an image file, and of labels that state the size of what they were drawn on.

    Args:
        path: The image.
        stated: (height, width) that the annotations state; None if they state none, and are taken
            as drawn on the image as viewers show it.
        file: File of the annotations, for messages.

    Raises:
        OSError: If the image is missing or cannot be read.
        ValueError: If it is not an image, or of another size than stated.
    """
    size, orientation = stored_size(path)
    upright = size[::-1] if orientation in SIDEWAYS else size
    if stated is None or tuple(stated) == upright:
        return Frame(*upright)
    if tuple(stated) == size:
        return Frame(*upright, turns=orientation)
    raise ValueError(
        f'{file}: it is for an image of {stated[1]} x {stated[0]} pixels, but {path} has '
        f'{upright[1]} x {upright[0]}: put back the image that was annotated, or annotate this one'
    )
