"""Command line options that several formats have, and what they decide."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .drawing import Drawing, Piece
from .reading import some


def add_boxes(parser: ArgumentParser, default: str | None = None) -> None:
    """Add ``--boxes``: what to do with objects that have only a box."""
    without = (
        'without it they are an error, since a box does not tell which pixels are the object'
        if default is None
        else default
    )
    parser.add_argument(
        '--boxes',
        choices=('keep', 'skip'),
        default=default,
        help='objects that are boxes: "keep" fills them, "skip" leaves them out and counts them '
        f'({without})',
    )


def add_images(parser: ArgumentParser, usual: str) -> None:
    """Add ``--images``: where image files are, if not in the usual place."""
    parser.add_argument(
        '--images', metavar='FOLDER', help=f'folder of the image files ({usual} if not given)'
    )


def add_without_labels(parser: ArgumentParser, default: str, what: str) -> None:
    """Add ``--without-labels``: what to do with images without labels."""
    parser.add_argument(
        '--without-labels',
        choices=('keep', 'skip'),
        default=default,
        help=f'{what}: "keep" takes them as images in which nothing is, "skip" as not annotated, '
        'and leaves them out (%(default)s)',
    )


def image_folder(options: Mapping[str, Any], *usual: Path) -> Path:
    """The folder that ``--images`` names, else the first usual one that exists.

    Raises:
        ValueError: If the folder that was named does not exist.
    """
    given = options.get('images')
    if given is None:
        return next((path for path in usual if path.is_dir()), usual[-1])
    if not Path(given).is_dir():
        raise ValueError(f'--images {given} is not a folder')
    return Path(given)


def draw_box(
    drawing: Drawing, choice: str | None, category: str, piece: Piece, where: str, **options
) -> None:
    """Add a box as ``--boxes`` says.

    Raises:
        ValueError: If the user has not chosen.
    """
    if choice == 'keep':
        drawing.add(category, [piece], where, **options)
    elif choice == 'skip':
        drawing.lose('boxes', f'{where} is a box of {category!r}, and is left out')
    else:
        raise ValueError(
            f'{drawing.file}: {where} is a box of {category!r}, which does not tell the pixels of '
            'the object: draw its outline, or give --boxes keep to take the whole box as the '
            'object, or --boxes skip to leave boxes out'
        )


def without_labels_note(names: Sequence[str], choice: str, what: str) -> list[str]:
    """The note on images without labels; none if there are none."""
    if not names:
        return []
    done = {
        'keep': 'taken as images in which nothing is; --without-labels skip leaves them out',
        'skip': 'left out as not annotated; --without-labels keep takes them as images in which '
        'nothing is',
    }[choice]
    return [f'{len(names)} images {what}, such as {some(names[:3])}: they are {done}']
