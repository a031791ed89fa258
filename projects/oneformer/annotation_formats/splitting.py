"""Images divided into training and validation, so that each class is in both."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..datasets.text_files import decode_text
from ..images.image_files import read_file


def order_splits(names: Iterable[str]) -> list[str]:
    """Different names of parts, train and val first."""
    found = set(names)
    first = [name for name in ('train', 'val', 'test') if name in found]
    return first + sorted(found - set(first))


def parse_shares(texts: Sequence[str]) -> dict[str, float]:
    """Shares such as ``train=0.8 val=0.2``, which sum up to 1.

    Raises:
        ValueError: If they do not, or one is not NAME=SHARE.
    """
    shares = {}
    for text in texts:
        name, _, value = text.partition('=')
        try:
            share = float(value)
        except ValueError:
            share = -1
        if not name.isidentifier() or not 0 < share <= 1:
            raise ValueError(f'--split has {text!r}: write NAME=SHARE, such as train=0.8 val=0.2')
        if name in shares:
            raise ValueError(f'--split has {name!r} twice')
        shares[name] = share
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f'the shares of --split sum up to {sum(shares.values()):g} in place of 1')
    return shares


def split_by_share(
    classes_of: Mapping[str, Collection[str]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Put images into parts, the rarest class first, where it is missing most.

    Iterative stratification (Sechidis et al., ECML 2011): whichever class has the fewest images
    left is dealt out next, each image to the part that lacks most of the class. A class with
    images enough for all parts is in all of them.

    Args:
        classes_of: Names of the classes in each image, by the name of the image.
        shares: Share of each part, summing up to 1.
        seed: Seed of the order in which images are dealt out.

    Returns:
        The part of each image. It depends on names, classes, shares and seed alone.
    """
    names = sorted(classes_of)
    random.Random(seed).shuffle(names)
    room = {part: share * len(names) for part, share in shares.items()}
    total = Counter(name for classes in classes_of.values() for name in set(classes))
    lacking = {part: {c: share * n for c, n in total.items()} for part, share in shares.items()}
    having: dict[str, set[str]] = {label: set() for label in total}  # parts
    part_of: dict[str, str] = {}

    def put(image: str, part: str) -> None:
        part_of[image] = part
        room[part] -= 1
        for label in set(classes_of[image]):
            lacking[part][label] -= 1
            having[label].add(part)

    left = {label: [n for n in names if label in classes_of[n]] for label in total}
    while left:
        label = min(left, key=lambda name: (len(left[name]), name))
        images = left.pop(label)
        for done, image in enumerate(images):
            parts = set(shares) - having[label]  # the last images go where there is none
            if not parts or len(images) - done > len(parts):
                parts = set(shares)
            put(image, max(sorted(parts), key=lambda p: (lacking[p][label], room[p])))
        left = {name: [n for n in images if n not in part_of] for name, images in left.items()}
        left = {name: images for name, images in left.items() if images}
    for image in names:
        if image not in part_of:
            put(image, max(sorted(shares), key=room.__getitem__))
    return part_of


def split_by_lists(names: Sequence[str], lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Put images into the parts that list them.

    Args:
        names: Names of all images.
        lists: Listed names of each part: paths below the folder of images, with or without suffix,
            or file names alone where these are unique.

    Returns:
        The part of each listed image.

    Raises:
        ValueError: If a listed name fits no image or several, or an image is in two parts.
    """
    fitting: dict[str, set[str]] = {}
    for name in names:
        stem = name.rpartition('.')[0] or name
        for key in {name, stem, name.rpartition('/')[2], stem.rpartition('/')[2]}:
            fitting.setdefault(key, set()).add(name)
    part_of: dict[str, str] = {}
    for part, listed in lists.items():
        for text in listed:
            found = {text} if text in names else fitting.get(text, set())
            if len(found) != 1:
                problem = f'fits {len(found)} images: {sorted(found)[:3]}' if found else 'is not'
                raise ValueError(
                    f'the list of {part} has {text!r}, which {problem} among the images: write '
                    'paths below the folder of images, one a line'
                )
            (image,) = found
            if part_of.setdefault(image, part) != part:
                raise ValueError(f'{image} is listed for {part_of[image]} and for {part}')
    return part_of


def read_lists(texts: Sequence[str]) -> dict[str, list[str]]:
    """Names in the files of ``--split-lists NAME=FILE``.

    Raises:
        ValueError: If one is not NAME=FILE, or a file is not a list of names.
        OSError: If a file cannot be read.
    """
    lists = {}
    for text in texts:
        name, _, path = text.partition('=')
        if not name.isidentifier() or not path:
            raise ValueError(f'--split-lists has {text!r}: write NAME=FILE, such as val=val.txt')
        content = decode_text(read_file(path, 'list of images'))
        lists[name] = [line.strip().replace('\\', '/') for line in content.splitlines()]
        lists[name] = [line for line in lists[name] if line]
    return lists
