"""Read a JSON in COCO format, panoptic or instance."""

from collections.abc import Collection, Mapping

from ..images.image_files import read_file
from .file_names import Folder
from .findings import WARNING, Finding, OnFinding
from .mending import mend
from .text_files import parse_json


def read_coco(
    path: str,
    kind: str,
    report: OnFinding,
    folders: Mapping[str, Folder],
    optional: Collection[str] = (),
    what: str = 'annotation file',
) -> dict:
    """Read a JSON in COCO format, also in common variants of it, see ``mending``.

    Args:
        path: Path of the file.
        kind: ``'panoptic'`` or ``'instance'``.
        report: Callback for what was read in another way than it is written.
        folders: Folders ``img`` of the image files and ``seg`` of the PNGs; ``{}`` to leave names.
        optional: Lists that may be missing, which are None then.
        what: Kind of file, for messages.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a JSON, or lacks one of COCO's three lists.
    """

    def tell_mark(text: str) -> None:
        report(Finding('byte order mark', text, path, severity=WARNING))

    content = parse_json(read_file(path, what), path, tell_mark)
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} is not in COCO {kind} format: it holds a {type(content).__name__}, not a dict '
            'of images, annotations and categories'
        )
    content = {**dict.fromkeys(optional), **content}
    missing = {'images', 'annotations', 'categories'} - set(content)
    if missing:
        raise ValueError(f'{path} is not in COCO {kind} format: it lacks {sorted(missing)}')
    mend(content, kind, folders, path, report)
    return content
