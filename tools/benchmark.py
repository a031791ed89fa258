"""Time ours beside peers on this machine; what both sides make is compared before it is timed."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'projects')]

from benchmarks import (  # noqa: E402
    attention,
    backbones,
    before,
    data,
    deploy,
    growth,
    infer,
    jobs,
    metrics,
    parity,
    post,
    same,
    scale,
    start,
    text,
    timing,
    train,
    vit,
    windows,
)
from oneformer.host.safe_io import write_json  # noqa: E402

SUB_COMMANDS = dict(
    attention=attention,
    infer=infer,
    jobs=jobs,
    train=train,
    post=post,
    text=text,
    data=data,
    metrics=metrics,
    parity=parity,
    scale=scale,
    backbones=backbones,
    before=before,
    deploy=deploy,
    growth=growth,
    same=same,
    start=start,
    vit=vit,
    windows=windows,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, module in SUB_COMMANDS.items():
        command = commands.add_parser(
            name,
            description=module.__doc__,
            help=module.__doc__.splitlines()[0],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument(
            '--threads', type=timing.positive_int, default=2, help='of OpenCV and torch'
        )
        command.add_argument(
            '--json',
            type=Path,
            help='also write the results to this file, beside those of other commands',
        )
    return parser.parse_args()


def main() -> None:
    """Run one benchmark; a difference between results ends it before anything is timed."""
    args = parse_args()
    timing.fix_threads(args.threads)
    machine = timing.describe_machine(args.threads)
    print(machine)
    fault = None
    try:
        results = SUB_COMMANDS[args.command].run(args)
    except timing.OutOfBounds as error:
        results, fault = error.results, error
    print(timing.format_results(results))
    if args.json is not None:
        before = json.loads(args.json.read_text()) if args.json.exists() else {}
        write_json(args.json, dict(before, **timing.flat_results(results), machine=machine))
    if fault is not None:
        raise fault


if __name__ == '__main__':
    main()
