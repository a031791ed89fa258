"""Start-up in fresh processes: importing the package, help and the list of models.

* import: ``import oneformer`` against importing Hugging Face's OneFormer and its image processor.
* help, list: ``oneformer --help`` and ``oneformer list``, which import no torch.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from . import peers
from .timing import Figure, Row, Variant, alternate, positive_int

PROJECTS = Path(__file__).resolve().parents[1] / 'projects'
STARTS = dict(
    ours='import oneformer',
    peer='from transformers import OneFormerForUniversalSegmentation, OneFormerImageProcessor',
    help='import oneformer_cli as c; c.main(["--help"])',
    list='import oneformer_cli as c; c.main(["list"])',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of rounds."""
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')


def _start(code: str) -> Variant:
    """One start of Python with our packages in its path."""
    command = [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(PROJECTS)!r}); {code}']
    return Variant(
        run=lambda _: subprocess.run(command, check=True, capture_output=True), prepare=lambda: None
    )


def run(args: argparse.Namespace) -> list[Row | Figure]:
    """Measure; the first round, which fills the disk's cache, is not counted."""
    peers.require_transformers()
    variants = {name: _start(code) for name, code in STARTS.items()}
    seconds = alternate(variants, args.repeats, lambda results: None)
    rows = [Row('start/import/hf', seconds['ours'], seconds['peer'])]
    for name in ('help', 'list'):
        value = median(seconds[name])
        rows.append(Figure(f'start/{name}', value, 's'))
    return rows
