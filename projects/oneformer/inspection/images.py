"""Facts about the images of a dataset, apart from labels: one finding for images of a kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..datasets.findings import WARNING, Finding
from ..images.notes import STEP_WORDS, WHERE, bits_of, depth_advice, frame_is_open
from ..images.orientation import SIDEWAYS
from ..images.reading import LoadedImage
from ..images.rules import ImageRules

STORED_FITS = "set orientation='stored'"  # in the message of labels of another size


@dataclass(frozen=True)
class ImageFacts:
    """Facts about one image for the findings of its dataset.

    Attributes:
        path: Path of the file.
        id: Id of the image.
        orientation: Orientation that the file states, 1 to 8.
        open_frame: Whether labels of its size may be of either frame.
        fits: Frame that the size of its labels tells, ``'upright'``, ``'stored'``, or None.
        values: Least and largest of an image with more than 8 bits, else None.
        bits: Bits that the default rule found, else None.
        transparent: Whether pixels are transparent.
        pages: Images in the file.
    """

    path: str
    id: int | str
    orientation: int
    open_frame: bool
    fits: str | None
    values: tuple[float, float] | None
    bits: int | None
    transparent: bool
    pages: int


def facts_of(
    loaded: LoadedImage, sample: Mapping, findings: Sequence[Finding]
) -> ImageFacts | None:
    """Facts of an image and of the findings in its labels; None for a plain image."""
    deep, turned = loaded.values is not None, loaded.orientation > 1
    if not (deep or turned or loaded.transparent or loaded.pages > 1):
        return None
    rules, fits = sample['image_rules'], None
    labelled = 'segments_info' in sample and rules.orientation is None
    open_frame = labelled and frame_is_open(loaded)
    if labelled and loaded.orientation in SIDEWAYS and not open_frame:
        differ = [finding for finding in findings if finding.kind == 'sizes differ']
        fits = 'upright' if not differ else 'stored' if STORED_FITS in differ[0].message else None
    return ImageFacts(
        sample['img_path'],
        sample['img_id'],
        loaded.orientation,
        open_frame,
        fits,
        loaded.values,
        bits_of(loaded, rules),
        bool(loaded.transparent),
        loaded.pages,
    )


def _frames(facts: Sequence[ImageFacts], total: int) -> Finding | None:
    """The finding about images whose labels may be of either frame."""
    undecided = [fact for fact in facts if fact.open_frame]
    if not undecided:
        return None
    kinds = Counter(fact.orientation for fact in undecided)
    told = Counter(fact.fits for fact in facts if fact.fits)
    listed = ', '.join(f'orientation {kind}: {count}' for kind, count in sorted(kinds.items()))
    evidence = ''.join(
        f' By their size, labels of {count} other images with an orientation are drawn '
        f'{"upright" if frame == "upright" else "on the stored pixels"}.'
        for frame, count in told.items()
    )
    message = (
        f'{len(undecided)} of {total} images have an EXIF orientation that does not change their '
        f'size ({listed}), such as {undecided[0].path}. They are turned '
        'upright; whether their labels are drawn upright or on the stored pixels tells '
        f"oneformer browse: set orientation='stored' or orientation='upright' {WHERE}."
    )
    first = undecided[0]
    return Finding('EXIF orientation', message + evidence, first.path, first.id, WARNING)


def _depths(facts: Sequence[ImageFacts], total: int) -> Finding | None:
    """The finding about images with more than 8 bits that the default rule reads."""
    deep = [fact for fact in facts if fact.bits is not None]
    if not deep:
        return None
    low, high = (pick(value) for pick, value in zip((min, max), zip(*(f.values for f in deep))))
    counts = Counter(fact.bits for fact in deep)
    white = (1 << max(counts)) - 1
    listed = ', '.join(
        f'0 to {(1 << bits) - 1} ({bits} bits) of {count}' for bits, count in sorted(counts.items())
    )
    differ = ' images, which makes dark ones brighter than others' if len(counts) > 1 else ' images'
    message = (
        f'{len(deep)} of {total} images have more than 8 bits, with values from {low} to {high}, '
        f'such as {deep[0].path}. Of each the range of the fewest of {STEP_WORDS} bits that hold '
        f'it becomes 0 to 255: {listed}{differ}. {depth_advice(white)}'
    )
    return Finding('more than 8 bits', message, deep[0].path, deep[0].id, WARNING)


def _others(facts: Sequence[ImageFacts], total: int) -> list[Finding]:
    """Findings about transparency, and about files with several images."""
    kinds = (
        (
            'transparent pixels',
            [fact for fact in facts if fact.transparent],
            'have transparent pixels, which are read with the colours that the file holds below: '
            'paint a background if these mean nothing',
        ),
        (
            'files of several images',
            [fact for fact in facts if fact.pages > 1],
            'are files of several images, of which the first is read: save the others as files of '
            'their own',
        ),
    )
    return [
        Finding(
            kind,
            f'{len(found)} of {total} images, such as {found[0].path}, {text}',
            found[0].path,
            found[0].id,
            WARNING,
        )
        for kind, found, text in kinds
        if found
    ]


def differing_rules(rules: Mapping[str, ImageRules]) -> dict[str, Finding]:
    """Findings about datasets whose images are read by other rules than those of training."""
    trained = [r for name, r in rules.items() if name.startswith('train')]
    effects = [(r.turns, r.depth) for r in trained]
    return {
        name: Finding(
            'images are read otherwise',
            f'{name} reads images by {found.chosen() or "the defaults"}, but training by '
            f'{trained[0].chosen() or "the defaults"}: the model is tested, and predicts, on '
            f'other images than it learns from. Say the same orientation and value_range {WHERE}',
            name,
            severity=WARNING,
        )
        for name, found in rules.items()
        if trained and (found.turns, found.depth) not in effects
    }


def join_facts(found: Sequence[Finding | ImageFacts], total: int) -> list[Finding]:
    """The findings, followed by one for each kind of facts."""
    facts = [fact for fact in found if isinstance(fact, ImageFacts)]
    findings = [finding for finding in found if isinstance(finding, Finding)]
    joined = [_frames(facts, total), _depths(facts, total), *_others(facts, total)]
    return findings + [finding for finding in joined if finding is not None]
