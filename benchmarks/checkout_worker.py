"""The code of one checkout at work, for ``before`` and ``same``.

A worker runs as a script of its own. It imports nothing of this folder after its start, for then
the folder gives its place on the path to the checkout. A line of its standard input is a JSON of a
name and arguments: ``start`` with those of its class, then names of methods. Its reply is a line: a
JSON with ``value``, or ``error``. Whatever else is printed goes to standard error.
"""

import hashlib
import json
import os
import random
import sys
import traceback
from pathlib import Path


class Checkout:
    """A checkout whose package is imported.

    Args:
        folder: Folder of the repository.
        threads: Threads of OpenCV and torch.

    Attributes:
        folder: The same as a path.
    """

    def __init__(self, folder: str, threads: int) -> None:
        self.folder = Path(folder)
        sys.path[0] = str(self.folder / 'projects')  # in place of this folder
        import cv2
        import torch
        from mmengine.registry import init_default_scope

        import oneformer

        if self.folder.resolve() not in Path(oneformer.__file__).resolve().parents:
            raise ValueError(f'{oneformer.__file__} is not of {folder}')
        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
        init_default_scope('mmdet')

    def read_config(self, name: str):
        """A config of this checkout by its file name."""
        from mmengine.config import Config

        return Config.fromfile(self.folder / 'configs' / name)


def seed(number: int) -> None:
    """Seed all generators."""
    import numpy as np
    import torch

    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def digest(*tensors) -> str:
    """A number for types, shapes and values of tensors."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(f'{tensor.dtype} {tuple(tensor.shape)}'.encode())
        content.update(tensor.detach().contiguous().numpy().tobytes())
    return content.hexdigest()


def serve(kind: type[Checkout]) -> None:
    """Work as standard input says, until it is closed."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), 'w', buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    worker = None
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            if name == 'start':
                worker, value = kind(*arguments), None
            else:
                value = getattr(worker, name)(*arguments)
            replies.write(json.dumps(dict(value=value)) + '\n')
        except Exception:
            replies.write(json.dumps(dict(error=traceback.format_exc())) + '\n')
