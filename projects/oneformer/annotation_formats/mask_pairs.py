"""Images and the masks that belong to them, by the names of folders and files."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .annotated import SourceImage
from .collecting import Collected
from .reading import IMAGE_SUFFIXES, ImageFolder, ambiguous_image, some, without_suffix
from .split_names import split_of, split_of_folders

IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'jpegimages', 'photos', 'pictures', 'rgb')
IMAGE_FOLDERS += ('leftimg8bit', '701_stillsraw_full')
MASK_FOLDERS = ('masks', 'mask', 'labels', 'label', 'annotations', 'annotation', 'annot', 'gt')
MASK_FOLDERS += ('label_maps', 'labelmaps', 'segmentation', 'segmentations', 'segmentationclass')
MASK_FOLDERS += ('panoptic', 'targets', 'ground_truth', 'labeledapproved_full')
_ENDINGS = ('annot', '_annot', 'masks', '_masks', '_mask', 'labels', '_labels', '_label', '_gt')


@dataclass(frozen=True)
class MaskPair:
    """An image and its mask.

    Attributes:
        image: The image file.
        mask: The mask file.
        split: Part of the dataset, by the names of folders; None if they do not say.
    """

    image: Path
    mask: Path
    split: str | None

    def source_image(self, folder: Path, *others: Path) -> SourceImage:
        """The image, named below a folder, with the mask and other files as its annotation."""
        name = self.image.relative_to(folder).as_posix()
        return SourceImage(name, self.image, self.split, (self.mask, *others))


def _inner(folder: Path) -> dict[str, Path]:
    """Folders in a folder, by their names in small letters."""
    return {
        path.name.lower(): path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith('.')
    }


def _named(inside: dict[str, Path]) -> tuple[Path, Path] | None:
    """The folders of images and of masks among some, by the usual names."""
    images, masks = (
        next((inside[name] for name in names if name in inside), None)
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    )
    return (images, masks) if images and masks else None


def find_folders(source: Path) -> list[tuple[Path, Path, str | None]]:
    """Folders of images, of masks, and the part that they are for; empty if none is found.

    Found are ``images`` beside ``masks`` or ``labels`` and the like, in the source or in a folder
    for each part, and ``train`` beside ``trainannot`` or ``train_masks``, as CamVid has them.
    """
    inside = _inner(source)
    if found := _named(inside):
        return [(*found, None)]
    parts = [(*found, split_of(name)) for name, path in inside.items()
             if (found := _named(_inner(path)))]  # fmt: skip
    if parts:
        return parts
    return [
        (path, inside[name + ending], split_of(name))
        for name, path in inside.items()
        for ending in _ENDINGS
        if name + ending in inside
    ]


def find_ending(stems: Sequence[str], masks: Sequence[str]) -> str:
    """Ending of most masks' names after those of images, such as ``_L``; '' if there is none."""
    known = set(stems)
    if any(mask in known for mask in masks):
        return ''
    endings: Counter[str] = Counter()
    for mask in masks:
        cuts = (mask[:end] for end in range(len(mask) - 1, 0, -1))
        stem = next((cut for cut in cuts if cut in known), None)
        if stem is not None:
            endings[mask[len(stem) :]] += 1
    return endings.most_common(1)[0][0] if endings else ''


def pair_folders(
    images: Path, masks: Path, split: str | None, ending: str | None, found: Collected
) -> list[MaskPair]:
    """Images and masks of the same path below two folders.

    Args:
        images: Folder of images.
        masks: Folder of masks, which may lie in that of images.
        split: Part that both are for; None to go by folders below them.
        ending: Ending of the masks' names after those of images; None to find it out.
        found: Collector of masks without image, ambiguous names, and a note of images without mask.
    """
    shared = images.resolve() == masks.resolve()
    folder = ImageFolder(images, skip=() if shared else {masks.name})
    names = ImageFolder(masks, skip=() if shared else {images.name}).names
    if ending is None:
        ending = find_ending(
            list(map(without_suffix, folder.names)), list(map(without_suffix, names))
        )
    pairs, alone, used = [], [], {}
    for name in names:
        stem = without_suffix(name)
        if shared and (not ending or not stem.endswith(ending)):
            continue  # an image
        candidates = folder.of_stem(stem.removesuffix(ending))
        if not candidates:
            alone.append(name)
        elif len(candidates) > 1:
            text = ambiguous_image(f'{masks / name}', candidates, images)
            found.error('ambiguous names', text, masks)
        elif candidates[0] in used:
            found.error(
                'two masks of an image',
                f'{images / candidates[0]} has two masks, {used[candidates[0]]} and {name} in '
                f'{masks}: remove one',
                masks,
            )
        else:
            used[candidates[0]] = name
            own = split or split_of_folders(candidates[0])
            pairs.append(MaskPair(images / candidates[0], masks / name, own))
    _report_alone(images, masks, alone, len(names), found)
    _note_unlabelled(images, folder.names, used, shared and ending, found)
    return pairs


def _report_alone(
    images: Path, masks: Path, alone: Sequence[str], total: int, found: Collected
) -> None:
    if alone:
        found.error(
            'masks without image',
            f'{len(alone)} of {total} masks in {masks} have no image in {images}: '
            f'{some(alone)}: add it, remove the mask, or name the ending of masks by --mask-suffix',
            masks,
        )


def _note_unlabelled(
    images: Path, names: Sequence[str], used: dict, ending: str | bool, found: Collected
) -> None:
    left = [name for name in names if name not in used]
    if ending:
        left = [name for name in left if not without_suffix(name).endswith(ending)]
    if left:
        found.note(
            f'{len(left)} of {len(names)} images in {images} have no mask and are left out: '
            f'{some(left)}'
        )


def find_pairs(
    source: Path, images: Path | None, masks: Path | None, ending: str | None, found: Collected
) -> list[MaskPair]:
    """All images with their masks, by the folders that the user named or by usual names.

    Args:
        source: Folder of the dataset.
        images: Folder of the images, below the source or a path of its own; None to look for it.
        masks: Folder of the masks, given in the same way.
        ending: Ending of the masks' names after those of images; None to find it out.
        found: Collector of the problems.
    """
    if not source.is_dir():
        found.error('no folder', f'{source} is not a folder: give that of images and masks')
        return []
    if (images is None) != (masks is None):
        found.error('folders', 'give both --images and --masks, or none of them')
        return []
    if images is not None:
        folders = [(placed(source, images), placed(source, masks), None)]
    else:
        folders = find_folders(source)
    if not folders:
        there = some(_inner(source)) or 'none'
        found.error(
            'no folders',
            f'{source} has no folders of images and masks with the usual names, such as images and '
            f'masks (its folders: {there}): say --images FOLDER --masks FOLDER',
        )
    pairs = []
    for image_folder, mask_folder, split in folders:
        try:
            pairs += pair_folders(image_folder, mask_folder, split, ending, found)
        except ValueError as error:
            found.error('no folder', str(error))
    if folders and not pairs and not found.problems():
        endings = ' '.join(IMAGE_SUFFIXES)
        found.error('no masks', f'{folders[0][1]} has no mask ({endings}): check the folder')
    return pairs


def placed(source: Path, folder: Path) -> Path:
    """A folder that the user named: below the source if there is one, else as it is written."""
    return source / folder if (source / folder).is_dir() else folder


def common_folder(paths: Sequence[Path]) -> Path:
    """The innermost folder that all files lie in."""
    return Path(os.path.commonpath([path.parent for path in paths]))
