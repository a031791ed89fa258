"""What the user of a conversion chooses, and what follows for classes and names of files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..images.result_names import result_stems
from .annotated import Category


@dataclass(frozen=True)
class Choices:
    """What the user chose, see ``oneformer convert-labels``.

    Attributes:
        kind: Key of ``OUTPUTS``.
        things: Classes that are counted; None to ask the source.
        stuff: Classes that are not counted; None to ask the source.
        background: Name of the class of pixels without a region.
        shares: Shares of a new division, NAME=SHARE.
        lists: Files of a division by lists, NAME=FILE.
        seed: Seed of the division.
        copy_images: Whether images are copied.
        overwrite: Whether an earlier result is replaced.
    """

    kind: str
    things: Sequence[str] | None = None
    stuff: Sequence[str] | None = None
    background: str | None = None
    shares: Sequence[str] | None = None
    lists: Sequence[str] | None = None
    seed: int = 0
    copy_images: bool = False
    overwrite: bool = False


def choose_categories(found: Sequence[Category], choices: Choices) -> list[Category]:
    """The classes of the result, each known as thing or stuff.

    Raises:
        ValueError: If options name classes that do not exist, or contradict, or if panoptic labels
            are wanted and nothing says which classes are counted.
    """
    names = [category.name for category in found]
    things, stuff = list(choices.things or ()), list(choices.stuff or ())
    background = [choices.background] if choices.background else []
    for option, listed in (('--things', things), ('--stuff', stuff)):
        unknown = [name for name in listed if name not in names + background]
        if unknown:
            raise ValueError(f'{option} names {unknown}, and the classes here are {names}')
    both = sorted(set(things) & set(stuff + background))
    if both:
        raise ValueError(f'{both} cannot be things and stuff or background at once')
    categories = []
    for category in found:
        is_thing = category.is_thing
        if category.name in things or category.name in stuff:
            is_thing = category.name in things
        elif category.name == choices.background:
            is_thing = False
        elif things and not stuff:
            is_thing = False  # the rest
        elif stuff and not things:
            is_thing = True
        categories.append(replace(category, is_thing=is_thing))
    unknown = [category.name for category in categories if category.is_thing is None]
    if unknown and choices.kind == 'panoptic':
        raise ValueError(
            f'panoptic labels need to know which classes are counted, and nothing says it of '
            f'{unknown}: give --things CLASS ... (all others are stuff) or --stuff CLASS ...'
        )
    by_default = choices.kind == 'instance'
    categories = [
        replace(c, is_thing=by_default if c.is_thing is None else c.is_thing) for c in categories
    ]
    if choices.background and choices.background not in names:
        categories.insert(0, Category(choices.background, is_thing=False))
    if choices.kind == 'instance':
        if choices.background:
            raise ValueError('--background is for --to semantic and --to panoptic')
        categories = [category for category in categories if category.is_thing]
    limit = 255 if choices.kind == 'semantic' else 60_000
    if not 0 < len(categories) <= limit:
        raise ValueError(f'there are {len(categories)} classes, and 1 to {limit} are possible')
    return categories


def png_names(names: Sequence[str], kind: str) -> dict[str, str]:
    """Names of the PNGs by those of the images.

    Raises:
        ValueError: If two images of semantic labels differ in their suffix only.
    """
    stems = result_stems(names)
    pngs = {name: f'{stem}.png' for name, stem in zip(names, stems)}
    kept = [name for name, stem in zip(names, stems) if name == stem and '.' in name]
    if kind == 'semantic' and kept:
        raise ValueError(
            f'{len(kept)} images differ from another in their suffix only, as {kept[0]!r}, so that '
            'label PNGs cannot be paired with them by name: rename one of each'
        )
    return pngs
