"""Files of checkpoints: written whole or not at all, and the one to continue from."""

import logging
import os
import re
import socket
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, Runner

from .safe_io import write_bytes, write_durably
from .unpickling import read_pickle

_NAME = re.compile(r'(iter|epoch)_\d+\w*\.pth')
_UNFINISHED = re.compile(r'\.(.+\.pth|last_checkpoint)\.\d+\.tmp')  # as ``replacing`` calls them


class CheckpointNotWritten(OSError):
    """A checkpoint could not be written."""


@register_backend('durable')
class DurableBackend(LocalBackend):
    """Local files that are written under another name, synced to the disk, and renamed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; CheckpointNotWritten if that fails, after which the old one is intact."""
        try:
            write_durably(filepath, obj)
        except OSError as error:
            raise CheckpointNotWritten(
                f'{filepath} could not be written ({error.strerror}). Checkpoints written before '
                'are intact: make room, then continue with --resume'
            ) from error


def durable_backend(path: str | os.PathLike) -> dict | None:
    """The backend for a file or folder on a local disk, None for one elsewhere."""
    is_local = isinstance(get_file_backend(path), LocalBackend)
    return dict(backend='durable') if is_local else None


def require_writable(folder: str | os.PathLike) -> None:
    """Create a folder, and write a file into it.

    Raises:
        SystemExit: If either fails; the message names the folder.
    """
    # processes in containers on several nodes may have the same number
    name = f'.writable.{socket.gethostname()}.{os.environ.get("RANK", 0)}.{os.getpid()}'
    probe = Path(folder) / name
    try:
        write_bytes(probe, b'\0')
        probe.unlink()
    except OSError as error:
        raise SystemExit(
            f'the work folder {folder} cannot be written to ({error.strerror}): give another by '
            '--work-dir'
        ) from error


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Remove files that killed processes left unfinished."""
    for path in Path(folder).iterdir():
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """Checkpoints of training in a folder: that in ``last_checkpoint``, then the newest first."""
    folder = Path(folder)
    pointer, last = folder / 'last_checkpoint', []
    if pointer.is_file():
        path = Path(pointer.read_text().strip())
        # a folder may have been moved or copied, and then its own files count
        last = [folder / path.name if (folder / path.name).is_file() else path]
        folder = last[0].parent
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [path for path in last if path.is_file()] + [path for path in found if path not in last]


def _read(path: Path) -> dict:
    """The content of a checkpoint, by the loader that will read it, unless that runs any pickle."""
    if CheckpointLoader._get_checkpoint_loader(str(path)).__module__.startswith('mmengine.'):
        return read_pickle(path)
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def problem_of(path: Path) -> str | None:
    """The fault of a checkpoint, or None if training can continue from it."""
    try:
        if not zipfile.is_zipfile(path):
            return f'{path} is broken: it has no end'
        with zipfile.ZipFile(path) as file:
            if broken := file.testzip():
                return f'{path} is broken: the checksum of {broken} is wrong'
        content = _read(path)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        return str(error)
    missing = {'meta', 'state_dict', 'optimizer', 'message_hub'} - set(content)
    return f'{path} lacks {sorted(missing)}, so training cannot go on from it' if missing else None


def newest_readable(paths: Sequence[Path]) -> Path:
    """The first checkpoint that training can continue from; those before it are reported.

    Raises:
        ValueError: If there is none.
    """
    problems: list[str] = []
    for path in paths:
        problem = problem_of(path)
        if problem is None:
            for line in problems:
                print_log(
                    f'{line}. Going on from the one before, {path}', 'current', logging.WARNING
                )
            return path
        problems.append(problem)
    raise ValueError(
        'no checkpoint can be read, so training cannot go on. Remove these files, or give another '
        'work folder, to start anew:\n' + '\n'.join(problems)
    )


def resume_newest(runner: Runner) -> None:
    """Let a runner that has not begun continue from the newest checkpoint of its work folder.

    Without any it starts as its config says, ``load_from`` included. The first process chooses.

    Raises:
        SystemExit: If there are checkpoints, and none can be read.
    """
    choice = [None]
    if is_main_process():
        try:
            paths = checkpoints(runner.work_dir)
            choice = [newest_readable(paths) if paths else None]
        except ValueError as error:
            choice = [SystemExit(str(error))]
    broadcast_object_list(choice)
    if isinstance(choice[0], SystemExit):
        raise choice[0]
    if choice[0] is None:
        print_log(f'nothing to resume in {runner.work_dir}: training starts anew', 'current')
        runner._resume = False
    else:
        runner._resume, runner._load_from = True, str(choice[0])
