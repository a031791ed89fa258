"""Memory that a command keeps for itself when torch frees it."""

import functools
import platform
import subprocess
import sys

import oneformer_cli
import pytest

FAULTS = """
import resource, sys
import torch
from oneformer.host.freed_memory import keep_freed_memory

kept = sys.argv[1] == 'keep' and keep_freed_memory()
def work():
    blocks = [torch.ones(5 << 20) for _ in range(5)]  # five times 20 MiB

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    work()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ARGUMENTS = dict(
    train=['oneformer_r50_ade20k'],
    test=['oneformer_r50_ade20k', 'weights.pth'],
    predict=['image.jpg', '--model', 'config.py'],
    demo=[],
)


class CalledError(Exception):
    """Ends a command that got as far as this."""


@functools.cache
def kept_and_faults(choice: str, **variables: str) -> tuple[bool, int]:
    """Whether memory is kept, and pages that the system cleared for four rounds of 100 MiB."""
    done = subprocess.run(
        [sys.executable, '-c', FAULTS, choice],
        env=dict(PATH='', OMP_NUM_THREADS='1', **variables),
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept == 'True', int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_pages_are_cleared_once():
    _, without = kept_and_faults('')
    kept, faults = kept_and_faults('keep')
    assert kept
    assert faults < without / 4  # the heap may grow once more


@pytest.mark.parametrize(
    'name, value',
    [
        ('MALLOC_TRIM_THRESHOLD_', '131072'),
        ('GLIBC_TUNABLES', 'glibc.malloc.trim_threshold=131072'),
    ],
)
def test_what_the_environment_says_stays(name, value):
    _, without = kept_and_faults('')
    kept, faults = kept_and_faults('keep', **{name: value})
    assert not kept
    assert faults > without / 4


@pytest.mark.parametrize('command', ARGUMENTS)
def test_commands_keep_it(monkeypatch, command):
    def called():
        raise CalledError

    main = oneformer_cli.command(command)
    monkeypatch.setattr(sys.modules[main.__module__], 'keep_freed_memory', called)
    with pytest.raises(CalledError):
        main(ARGUMENTS[command])
