"""Rules by which image files become input of a model."""

from dataclasses import dataclass, replace

from .depth import BITS, ValueRange, check_value_range
from .orientation import ORIENTATIONS, STORED, UPRIGHT


@dataclass(frozen=True)
class ImageRules:
    """Rules for an EXIF orientation, and for more than 8 bits.

    A rule of None is the default, and its effect on an image is logged where it may be wrong.

    Attributes:
        orientation: Frame of the pixels: ``'upright'`` turns an image by the orientation that its
            file states, as viewers do (the default); ``'stored'`` leaves the pixels as stored.
        value_range: Range for images with more than 8 bits, see ``depth.to_eight_bits``; the
            default is ``'bits'``.
    """

    orientation: str | None = None
    value_range: ValueRange | None = None

    def __post_init__(self) -> None:
        if self.orientation is not None and self.orientation not in ORIENTATIONS:
            raise ValueError(
                f'orientation is {self.orientation!r}: it has to be one of {ORIENTATIONS}'
            )
        if self.value_range is not None:
            check_value_range(self.value_range)

    @property
    def turns(self) -> bool:
        """Whether images are turned upright."""
        return (self.orientation or UPRIGHT) == UPRIGHT

    @property
    def depth(self) -> ValueRange:
        """The rule for more than 8 bits."""
        return BITS if self.value_range is None else self.value_range

    def over(self, others: 'ImageRules | None') -> 'ImageRules':
        """These rules, and those of ``others`` where these are None."""
        return self if others is None else replace(others, **self.chosen())

    def chosen(self) -> dict:
        """The rules that are not None, as options of a dataset or of ``LoadPhoto``."""
        rules = dict(orientation=self.orientation, value_range=self.value_range)
        return {name: value for name, value in rules.items() if value is not None}


DEFAULT = ImageRules()
LABELS = ImageRules(orientation=STORED)
