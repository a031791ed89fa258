"""Notes for people about images that can be read in more than one way."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from mmengine.logging import print_log

from oneformer_runtime.depth import BITS, STEPS

from .orientation import SIDEWAYS
from .reading import LoadedImage
from .rules import ImageRules

WHERE = 'in the datasets of the config, those of validation and test, too'
STEP_WORDS = f'{", ".join(map(str, STEPS[:-1]))} and {STEPS[-1]}'
_KINDS = ('orientation', 'transparent', 'pages', *STEPS)


def depth_advice(white: int) -> str:
    """Advice on images of more than 8 bits, the brightest of which need 0 to ``white``."""
    return (
        f'To read all images alike, dark ones too, set value_range=(0, {white}), or the black and '
        f'the white of your camera, {WHERE}; or value_range=dict(percentiles=(0.1, 99.9)) to go by '
        f'the values of each image, or value_range={BITS!r} to confirm this rule'
    )


def frame_is_open(loaded: LoadedImage) -> bool:
    """Whether labels of the same size may be drawn upright as well as on the stored pixels."""
    height, width = loaded.pixels.shape[:2]
    return loaded.orientation > 1 and (loaded.orientation not in SIDEWAYS or height == width)


def bits_of(loaded: LoadedImage, rules: ImageRules) -> int | None:
    """The bits that the default rule found in an image of more than 8 bits, else None."""
    if loaded.values is None or rules.value_range is not None:
        return None
    return int(loaded.value_range[1]).bit_length()


def frame_hint(size: tuple[int, int], results: Mapping) -> str:
    """Reason why labels of (height, width) ``size`` do not fit an image, and the remedy."""
    orientation = results.get('exif_orientation', 1)
    if orientation not in SIDEWAYS or tuple(size) != tuple(results['ori_shape'])[::-1]:
        return 'they do not belong together'
    if results['image_rules'].turns:
        return (
            f"the file's EXIF orientation {orientation} turns it; labels fit the stored pixels: "
            f"set orientation='stored' {WHERE}"
        )
    return (
        f'the file has EXIF orientation {orientation}, and labels fit the image that it is turned '
        f"to: set orientation='upright' {WHERE}"
    )


def _orientation_note(loaded: LoadedImage, path: str, rules: ImageRules, labelled: bool) -> str:
    frame = 'turned upright' if rules.turns else 'left as it is stored'
    height, width = loaded.pixels.shape[:2]
    text = f'image {path} has EXIF orientation {loaded.orientation} and is {frame}'
    if not labelled:
        other = 'stored' if rules.turns else 'upright'
        return (
            f'{text}: its predictions and result files are {width} x {height} pixels in this '
            f'frame (orientation={other!r} in the test dataset of the config, or of LoadPhoto, '
            'chooses the other)'
        )
    return (
        f'{text}, but its labels have the same size either way: if they are drawn on the stored '
        f"pixels, as oneformer browse shows, set orientation='stored' {WHERE}; "
        "orientation='upright' confirms that they are not"
    )


def image_notes(
    loaded: LoadedImage, path: str, rules: ImageRules, labelled: bool = False
) -> list[tuple[str | int, str]]:
    """Notes on an image that may be read in another way than its owner meant.

    Args:
        loaded: The image.
        path: Name of the image, for messages.
        rules: Rules by which it was loaded.
        labelled: Whether it has labels, which were drawn in one of the frames.

    Returns:
        Pairs of the kind of a note, one of a few, and its text.
    """
    notes: list[tuple[str | int, str]] = []
    chosen_by_nobody = labelled and rules.orientation is None and frame_is_open(loaded)
    if chosen_by_nobody or loaded.orientation > 1 and not labelled:
        notes.append(('orientation', _orientation_note(loaded, path, rules, labelled)))
    bits = bits_of(loaded, rules)
    if bits is not None and loaded.values is not None:
        low, high = loaded.values
        white = int(loaded.value_range[1])
        text = (
            f'image {path} has values of {loaded.dtype} from {low} to {high}: the range of the '
            f'fewest of {STEP_WORDS} bits that hold them, 0 to {white}, becomes 0 to 255. '
            f'{depth_advice(white)}'
        )
        notes.append((bits, text))
    if loaded.transparent:
        text = (
            f'image {path} has {100 * loaded.transparent:.1f} % transparent pixels, which are '
            'read with the colours that the file holds below: paint a background if these '
            'mean nothing'
        )
        notes.append(('transparent', text))
    if loaded.pages > 1:
        text = (
            f'image {path} is a file of {loaded.pages} images, of which the first is read: '
            'save the others as files of their own'
        )
        notes.append(('pages', text))
    return notes


class SayOnce:
    """Logs one note of each kind, whichever worker process of a data loader meets it first."""

    def __init__(self, kinds: Sequence[str | int] = _KINDS) -> None:
        self.kinds = kinds
        self._said = torch.zeros(len(kinds), dtype=torch.bool).share_memory_()

    def __call__(self, notes: Iterable[tuple[str | int, str]]) -> None:
        """Log the notes of kinds that have not been logged."""
        for kind, text in notes:
            place = self.kinds.index(kind)
            if not self._said[place]:
                self._said[place] = True
                print_log(text, logger='current', level=logging.WARNING)
