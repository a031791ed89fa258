"""Notes for people about images that can be read in more than one way, each kind once."""

import logging

from .loaded import LoadedImage
from .rules import ImageRules

LOG = logging.getLogger('oneformer_runtime')


def image_notes(loaded: LoadedImage, name: str, rules: ImageRules) -> dict[str, str]:
    """Notes on an image that may be read in another way than its owner meant, by their kind.

    Args:
        loaded: The image.
        name: Its name, for messages.
        rules: Rules by which it was loaded.
    """
    notes = {}
    if loaded.orientation > 1:
        frame, other = (
            ('turned upright', 'stored') if rules.turns else ('left as stored', 'upright')
        )
        notes['orientation'] = (
            f'image {name} has EXIF orientation {loaded.orientation} and is {frame}, and so are '
            f'its predictions: orientation={other!r} chooses the other'
        )
    if loaded.values is not None and rules.value_range is None:
        low, high = loaded.values
        white = int(loaded.value_range[1])
        notes[f'{white.bit_length()} bits'] = (
            f'image {name} has values of {loaded.dtype} from {low} to {high}: 0 to {white} '
            f'becomes 0 to 255. To read all images alike set value_range=(0, {white}), or the '
            'black and the white of your camera'
        )
    if loaded.transparent:
        notes['transparent'] = (
            f'image {name} has {100 * loaded.transparent:.1f} % transparent pixels, which are '
            'read with the colours that the file holds below: paint a background if these mean '
            'nothing'
        )
    if loaded.pages > 1:
        notes['pages'] = (
            f'image {name} is a file of {loaded.pages} images, of which the first is read: save '
            'the others as files of their own'
        )
    return notes


class SayOnce:
    """Logs one note of each kind, as warnings of the logger ``oneformer_runtime``."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, notes: dict[str, str]) -> None:
        """Log the notes of kinds that have not been logged."""
        for kind in notes.keys() - self._said:
            self._said.add(kind)
            LOG.warning(notes[kind])
