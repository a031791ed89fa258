"""Names of the results of images: one rule for testing, prediction and pictures.

An image is named by its path below the folder that it was taken from, with ``/`` between folders.
Its results have this name without its suffix, so folders are mirrored, and only where two names
differ in nothing else they keep the suffix: ``cam0/a.jpg`` and ``cam0/a.png``.
"""

import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence


def name_below(path: str | os.PathLike, folder: str | os.PathLike | None) -> str:
    """The path of an image below a folder, with ``/``; the file name if it lies elsewhere."""
    path, start = os.fspath(path), osp.join(os.fspath(folder or ''), '')
    if folder and path.startswith(start):
        name = path[len(start) :]
        if '//' not in f'/{name}' and '/.' not in f'/{name}':
            return name  # nearly always; the rest is slower
    relative = osp.relpath(path, folder or os.curdir)
    if osp.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        relative = osp.basename(path)
    return relative.replace(os.sep, '/')


def result_stems(names: Sequence[str]) -> list[str]:
    """Names of the results of images, without the suffix of the results.

    Args:
        names: Paths of the images below their folder.

    Returns:
        Name of each without suffix, or with it where another name would become the same.
        Different names stay different.
    """
    stem_of = {name: osp.splitext(name)[0] for name in names}
    while True:
        counts = Counter(stem_of.values())
        shared = [name for name, stem in stem_of.items() if counts[stem] > 1 and stem != name]
        if not shared:
            return [stem_of[name] for name in names]
        stem_of.update({name: name for name in shared})
