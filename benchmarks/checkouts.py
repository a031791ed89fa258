"""Two checkouts, each in a process of its own that works only while it is asked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Process:
    """A worker, see ``checkout_worker``.

    Args:
        script: File name of the worker.
        log: File that gets what it prints.
    """

    def __init__(self, script: str, log: Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open('w'),
            text=True,
        )

    def ask(self, *request):
        """Let it do something, and wait; RuntimeError with what it said if it failed."""
        self.send(*request)
        return self.receive()

    def send(self, *request) -> None:
        """Let it do something."""
        with suppress(BrokenPipeError):  # then there is no line to read, either
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()

    def receive(self):
        """Wait for what it was sent; RuntimeError as of ``ask``."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f'a checkout ended:\n{self.log.read_text()[-2000:]}')
        reply = json.loads(line)
        if 'error' in reply:
            raise RuntimeError(f'a checkout failed:\n{reply["error"]}')
        return reply['value']

    def close(self) -> None:
        """Let it end."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def check_checkout(folder: Path) -> Path:
    """The folder of another checkout; SystemExit if it is none."""
    if not (folder / 'projects/oneformer').is_dir():
        sys.exit(f'error: {folder} is not a checkout: it has no folder projects/oneformer')
    return folder.resolve()


@contextmanager
def processes(
    script: str, against: Path, threads: int, folder: Path
) -> Iterator[dict[str, Process]]:
    """A worker of this checkout, ``ours``, and one of another, ``peer``, both ready.

    Args:
        script: File name of the worker.
        against: Folder of the other checkout.
        threads: Threads of each.
        folder: Folder for their logs.

    Raises:
        SystemExit: If ``against`` is not a checkout.
    """
    checkouts = dict(ours=ROOT, peer=check_checkout(against))
    workers = {name: Process(script, folder / f'{name}.log') for name in checkouts}
    try:
        for name, worker in workers.items():
            worker.send('start', str(checkouts[name]), threads)
        for worker in workers.values():
            worker.receive()
        yield workers
    finally:
        for worker in workers.values():
            worker.close()
