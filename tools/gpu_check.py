"""Check on a GPU what only a GPU can tell, in at most 8 minutes; prints lines of JSON as it goes.

docs/gpu.md explains the lines. The last one is the verdict; the exit code is 1 if anything failed.
``--device cpu --tiny`` tries the check itself where there is no GPU.
"""

import argparse
import gc
import sys
import warnings
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects')]

import oneformer  # noqa: E402, F401  before mmdet
from benchmarks.gpu import (  # noqa: E402
    commands,
    correct,
    inference,
    machine,
    parallel,
    steps,
    waits,
)
from benchmarks.gpu.report import Check, Section  # noqa: E402

# what matters most comes first; a section is skipped if less time is left than it takes
SECTIONS = [
    Section('machine', machine.machine, 0),
    Section('losses', correct.losses, 30),
    Section('predictions', correct.predictions, 20),
    Section('finite', steps.finite, 40),
    Section('train', steps.speed, 60),
    Section('infer', inference.speed, 50),
    Section('waits', waits.waits, 30),
    Section('parallel', parallel.parallel, 12),
    Section('compile', steps.compiled, 45),
    Section('commands', commands.commands, 40),
]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', type=torch.device, default='cuda', help='cuda, or cpu to try')
    parser.add_argument('--tiny', action='store_true', help='the smallest models, one round each')
    parser.add_argument('--budget', type=float, default=470, help='seconds that it may take')
    parser.add_argument(
        '--only', nargs='+', choices=names, metavar='SECTION', help=f'of {", ".join(names)}'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the sections; 0 if all passed."""
    args = parse_args(argv)
    if args.device.type == 'cuda' and not torch.cuda.is_available():
        print(
            'torch sees no GPU here (torch.cuda.is_available() is False): run this where one is, '
            'or try the check itself by --device cpu --tiny',
            file=sys.stderr,
        )
        return 2
    warnings.filterwarnings('ignore')
    gc.freeze()  # imported objects need not be searched before each measurement
    sections = [section for section in SECTIONS if not args.only or section.name in args.only]
    check = Check(args.device, args.tiny, args.budget, write=partial(print, flush=True))
    return 0 if check.run(sections) else 1


if __name__ == '__main__':
    sys.exit(main())
