"""Pair the images and the label images of two folders by their names."""

import os
import os.path as osp
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .findings import Finding, OnFinding

# endings of images where the config names none, whatever their case
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
LABEL_SUFFIX = '.png'
_SHOWN = 5  # endings in a message

Suffixes = str | Sequence[str] | None


def check_suffixes(suffixes: Suffixes, name: str) -> tuple[str, ...] | None:
    """Endings of file names as a tuple, the longest first; None for those that are known.

    Raises:
        ValueError: If it is neither a text nor several texts.
    """
    if suffixes is None:
        return None
    found = (suffixes,) if isinstance(suffixes, str) else suffixes
    if not isinstance(found, Sequence) or not found or not all(isinstance(s, str) for s in found):
        raise ValueError(
            f"{name} is {suffixes!r}: it has to be a text such as '.jpg', several such as "
            "('.jpg', '.png'), or None for all images whatever the case of their ending"
        )
    return tuple(sorted(found, key=len, reverse=True))


@dataclass(frozen=True)
class Folder:
    """A folder of images, and the rule by which its files are chosen.

    Attributes:
        path: Path of the folder.
        key: Key of the folder in ``data_prefix``: ``'img'`` or ``'seg'``.
        suffixes: Endings of the names, the longest first; None for those of images.
        without: Endings of files that belong to the other folder, if both folders are the same.
        inside: A folder below it that is the other one.
    """

    path: str
    key: str
    suffixes: tuple[str, ...] | None
    without: tuple[str, ...] = ()
    inside: str | None = None

    @property
    def option(self) -> str:
        """Name of the argument that says the suffixes."""
        return dict(img='img_suffix', seg='seg_map_suffix')[self.key]

    def suffix_of(self, name: str) -> str | None:
        """The ending of a file name, if it is one of those that are chosen."""
        if self.without and name.endswith(self.without):
            return None
        if self.suffixes is None:
            ending = osp.splitext(name)[1]
            return ending if ending.lower() in SUFFIXES else None
        return next((s for s in self.suffixes if s and name.endswith(s)), None)

    def walk(self) -> Iterator[str]:
        """Paths below the folder, but for hidden files and those of the other folder in it."""
        for parent, folders, files in os.walk(self.path, followlinks=True):
            if self.inside is not None:
                folders[:] = [f for f in folders if _full(osp.join(parent, f)) != self.inside]
            for name in files:
                if not name.startswith('.'):
                    yield osp.relpath(osp.join(parent, name), self.path)

    def files(self) -> dict[str, list[str]]:
        """Names without suffix, and the paths below the folder of the files of each, sorted.

        Raises:
            ValueError: If the folder does not exist.
        """
        if not osp.isdir(self.path):
            raise ValueError(
                f'{self.path} is not a folder: check data_root and data_prefix.{self.key} of the '
                'dataset'
            )
        found = {}
        for name in self.walk():
            suffix = self.suffix_of(name)
            if suffix is not None:
                found.setdefault(name[: -len(suffix)], []).append(name)
        return {stem: sorted(names) for stem, names in found.items()}

    def meant(self, stem: str) -> str:
        """Path that a file of a name would have, for a message."""
        suffixes = self.suffixes or (LABEL_SUFFIX if self.key == 'seg' else SUFFIXES[0],)
        return osp.join(self.path, stem + suffixes[-1])

    def contents(self) -> str:
        """Number of files in the folder by the ending of their names, in words."""
        counts = Counter(osp.splitext(name)[1] or 'without ending' for name in self.walk())
        shown = ', '.join(f'{ending} {n}' for ending, n in counts.most_common(_SHOWN))
        more = ', ...' if len(counts) > _SHOWN else ''
        return f'{self.path} has {counts.total()} files' + (f': {shown}{more}' if shown else '')


def describe_folder(path: str) -> str:
    """Number of files in a folder by the ending of their names, in words."""
    if not osp.isdir(path):
        return f'{path} is not a folder'
    return Folder(path, 'img', None).contents()


def _longer(theirs: tuple[str, ...], mine: tuple[str, ...] | None) -> tuple[str, ...]:
    """The suffixes of another folder by which names would end with one of this folder, too."""
    return tuple(s for s in theirs if mine is None or any(s != m and s.endswith(m) for m in mine))


def _full(path: str) -> str:
    return osp.realpath(path or '.')


def make_folders(
    paths: Mapping[str, str], img_suffix: Suffixes, seg_map_suffix: Suffixes
) -> tuple[Folder, Folder]:
    """The folders of images and of label images, which may be the same, or one in the other.

    Args:
        paths: Paths of the folders, by the keys ``img`` and ``seg``.
        img_suffix: Ending or endings of the images' names; None for all endings of images.
        seg_map_suffix: Ending or endings of the label images' names; None for PNGs, whatever the
            case of their ending, or if there are none for all endings of images.
    """
    images = check_suffixes(img_suffix, 'img_suffix')
    labels = check_suffixes(seg_map_suffix, 'seg_map_suffix')
    full = {key: _full(paths[key]) for key in ('img', 'seg')}
    shared = full['img'] == full['seg']
    inner = {
        key: full[other] if full[other].startswith(full[key].rstrip(os.sep) + os.sep) else None
        for key, other in (('img', 'seg'), ('seg', 'img'))
    }
    if shared and labels is None:
        labels = (LABEL_SUFFIX,)
    no_images = _longer(labels, images) if shared else ()
    no_labels = _longer(images, labels) if shared and images else ()
    return (
        Folder(paths['img'], 'img', images, no_images, inner['img']),
        Folder(paths['seg'], 'seg', labels, no_labels, inner['seg']),
    )


def _guess(alone: Sequence[str], other: Folder, matched: bool) -> str:
    """Likely reason why names have no partner in a folder, in words."""
    endings, names = Counter(), list(other.walk())
    for stem in alone[:20]:
        rest = (name[len(stem) :] for name in names if name.startswith(stem))
        endings.update({ending for ending in rest if ending and not ending[0].isalnum()})
    text = f' {other.contents()}.'
    if endings:
        found = [ending for ending, _ in endings.most_common(3)]
        if matched:  # what fits some names has to stay
            found = [*reversed(other.suffixes or (LABEL_SUFFIX,)), *found]
        option = repr(found[0] if len(found) == 1 else tuple(found))
        text += f' Set {other.option}={option} in the dataset'
        text += ', or leave it out to read all images' if other.key == 'img' else ''
    return text


def _report_alone(
    mine: Folder, other: Folder, found: Mapping, partners: Mapping, report: OnFinding
):
    """Report the names that only one of two folders has."""
    alone = sorted(set(found) - set(partners))
    if not alone:
        return
    kind = dict(img='image without labels', seg='labels without image')[mine.key]
    guess = _guess(alone, other, len(alone) < len(found))
    for stem in alone:
        file = osp.join(mine.path, found[stem][0])
        message = (
            f'{len(alone)} of {len(found)} files in {mine.path} have no partner in '
            f'{other.path}, one is {stem}: {file} needs {other.meant(stem)}. Add it, or check '
            f'img_suffix and seg_map_suffix of the dataset.{guess}'
        )
        report(Finding(kind, message, file, stem))


def only_file(folder: Folder, stem: str, names: Sequence[str], report: OnFinding) -> str:
    """Path of the only file of a name; the others are reported."""
    if len(names) > 1:
        what = dict(img='images of one label', seg='label images of one image')[folder.key]
        message = (
            f'{folder.path} has {len(names)} {what}, {stem}: {", ".join(names)}. Remove all '
            f'but one, or name the ending that is meant by {folder.option}'
        )
        report(Finding('ambiguous files', message, osp.join(folder.path, names[1]), stem))
    return osp.join(folder.path, names[0])


def pair_all(images: Folder, labels: Folder, report: OnFinding) -> list[tuple[str, str]]:
    """All pairs of two folders, in the order of their names.

    Names without a partner, and those that several files share, are reported.

    Returns:
        Paths of image and label image for each pair.

    Raises:
        ValueError: If a folder does not exist, or there are no images.
    """
    folders = images, labels
    found = {folder.key: folder.files() for folder in folders}
    if not found['img']:
        wanted = ' or '.join(f'*{suffix}' for suffix in reversed(images.suffixes or SUFFIXES))
        raise ValueError(
            f'{images.path} has no file {wanted}: check data_root, data_prefix.img and img_suffix '
            f'of the dataset. {images.contents()}'
        )
    _report_alone(images, labels, found['img'], found['seg'], report)
    _report_alone(labels, images, found['seg'], found['img'], report)
    return [
        tuple(only_file(folder, stem, found[folder.key][stem], report) for folder in folders)
        for stem in sorted(found['img'].keys() & found['seg'].keys())
    ]
