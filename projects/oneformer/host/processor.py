"""What the instructions of this machine's processor multiply."""

from functools import lru_cache
from pathlib import Path

import torch

# flags of Linux for products of a number format, of x86 and ARM
_FLAGS = dict(
    bf16={'avx512_bf16', 'amx_bf16', 'bf16'},
    fp16={'avx512_fp16', 'amx_fp16'},
)
_QUESTIONS = dict(
    bf16=('_is_avx512_bf16_supported', '_is_amx_tile_supported'),
    fp16=('_is_amx_fp16_supported',),
)


@lru_cache
def flags(file: Path = Path('/proc/cpuinfo')) -> frozenset[str]:
    """Features of the processor by Linux' names; none where there is no such list."""
    lines = file.read_text(errors='replace').splitlines() if file.is_file() else []
    listed = (line.partition(':') for line in lines)
    return frozenset(
        flag
        for key, _, value in listed
        if key.strip() in ('flags', 'Features')
        for flag in value.split()
    )


def multiplies(precision: str) -> bool:
    """Whether the processor has products of a number format, ``'bf16'`` or ``'fp16'``.

    Others compute them by float32's and conversions, which is slower than float32.
    """
    if known := flags():
        return not known.isdisjoint(_FLAGS[precision])
    questions = (getattr(torch.cpu, name, None) for name in _QUESTIONS[precision])
    return any(question() for question in questions if question is not None)
