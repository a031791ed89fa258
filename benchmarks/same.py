"""This checkout against another one: the same weights and images, and all that comes of them.

Each checkout works in a process of its own, with its own code and config. Both convert one
checkpoint in the original's layout, of random weights, and get the same drawn images. What is
compared has to be equal, bit for bit:

* losses and gradients: two steps of training with dropout, the second after a step of the
  optimizer. Gradients are found by their values, so parameters may have other names.
* tasks, windows, views: predictions of the three tasks, the same from windows of an image, and
  semantic maps of several scales and flips.
* files: all that ``tools/predict.py`` writes.

Then one task and three tasks of an image and a step of training are timed, in turn.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from . import peers
from .checkouts import Process, processes
from .scenes import draw_image, draw_segments, write_set
from .timing import CPU, Figure, ResultsDiffer, Row, Variant, alternate, positive_int

BACKBONES = ('swin-t', 'r50')
LAYOUT = 'shi-labs'  # the original's, as convert_checkpoint calls it
LEAST_SIZE = 128
TIMED = ('one_task', 'three_tasks', 'training_step')
_SHOWN = 5  # names in a message


def _size(text: str) -> int:
    """Type of the argument; windows need half of it."""
    if positive_int(text) < LEAST_SIZE:
        raise argparse.ArgumentTypeError(f'must be at least {LEAST_SIZE}, not {text}')
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--against', type=Path, required=True, help='folder of the other checkout, the peer'
    )
    parser.add_argument(
        '--size', type=_size, default=512, help=f'short edge of the images, from {LEAST_SIZE}'
    )
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=BACKBONES)
    parser.add_argument('--images', type=positive_int, default=2, help='how many (%(default)s)')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')


def write_images(folder: Path, size: int, images: int) -> None:
    """Write a set of drawn images with panoptic labels."""
    rng = np.random.default_rng(0)
    scenes = [draw_segments(rng, size, size * 3 // 2, 12) for _ in range(images)]
    folder.mkdir()
    write_set(folder, scenes, [draw_image(rng, segments) for segments, _ in scenes])


def open_models(workers: Mapping[str, Process], folder: Path, backbone: str, size: int) -> None:
    """Let both checkouts convert one checkpoint, and build their models."""
    model = peers.build_ours(peers.SHAPE, True, CPU, backbone)
    ours, weights = str(folder / 'weights_of_ours.pth'), str(folder / 'weights.pth')
    torch.save(dict(state_dict=model.state_dict()), ours)
    options = ('--to', LAYOUT, '--overwrite')
    workers['ours'].ask('run_tool', 'convert_checkpoint', ours, weights, *options)
    config, changes = f'oneformer_{backbone}_ade20k.py', peers.our_changes(peers.SHAPE, backbone)
    for name, worker in workers.items():
        converted = str(folder / f'{name}_{backbone}.pth')
        worker.ask('open', weights, converted, config, changes, f'{folder}/data/', size)


def check_equal(what: str, found: Mapping[str, Sequence], by_name: bool = True) -> Figure:
    """Raise ResultsDiffer unless both checkouts found the same.

    Args:
        what: What was found.
        found: Pairs of a name and a number for the content, of ``ours`` and of ``peer``.
        by_name: Whether names have to be equal, too.
    """

    def key(pair: Sequence[str]) -> tuple[str, ...]:
        return tuple(pair if by_name else pair[1:])

    alone = {}
    for side, other in (('ours', 'peer'), ('peer', 'ours')):
        rest, alone[side] = Counter(map(key, found[other])), []
        for pair in found[side]:
            rest[key(pair)] -= 1
            if rest[key(pair)] < 0:
                alone[side].append(pair[0])
    if any(alone.values()):
        names = [f'{len(of)} of {side}: {", ".join(of[:_SHOWN])}' for side, of in alone.items()]
        raise ResultsDiffer(f'{what} differ between the checkouts, {"; ".join(names)}')
    if not found['ours']:
        raise ResultsDiffer(f'{what}: neither checkout has any')
    return Figure(f'same/{what}', len(found['ours']), 'are equal, bit for bit')


def compare(workers: Mapping[str, Process], folder: Path, backbone: str, size: int) -> list[Figure]:
    """Ask both checkouts for everything."""
    figures = []

    def ask(what: str, *arguments) -> dict:
        return {name: worker.ask(what, *arguments) for name, worker in workers.items()}

    def check(what: str, found: dict, by_name: bool = True) -> None:
        figures.append(check_equal(f'{backbone}/{what}', found, by_name))

    trained = ask('train')
    check('losses', {name: losses for name, (losses, _) in trained.items()})
    check('gradients', {name: gradients for name, (_, gradients) in trained.items()}, False)
    check('tasks', ask('predict'))
    window = size * 3 // 4 // 64 * 64
    check('windows', ask('windows', window, window // 2 // 32 * 32))
    check('views', ask('views', [size // 2, size]))
    folders = {name: str(folder / f'{backbone}_{name}') for name in workers}
    check('files', {name: worker.ask('files', folders[name]) for name, worker in workers.items()})
    return figures


def measure(workers: Mapping[str, Process], backbone: str, repeats: int) -> list[Row]:
    """Time both checkouts in turn."""

    def variant(worker: Process, what: str) -> Variant:
        return Variant(run=lambda _: worker.ask(what), prepare=lambda: None)

    rows = []
    for what in TIMED:
        variants = {name: variant(worker, what) for name, worker in workers.items()}
        seconds = alternate(variants, repeats, lambda results: None)
        rows.append(Row(f'same/{backbone}/{what}', seconds['ours'], seconds['peer']))
    return rows


def run(args: argparse.Namespace) -> list[Row | Figure]:
    """Compare both checkouts, then time them."""
    results = []
    with (
        tempfile.TemporaryDirectory() as name,
        processes('model_worker.py', args.against, args.threads, Path(name)) as workers,
    ):
        write_images(Path(name) / 'data', args.size, args.images)
        for backbone in args.backbones:
            open_models(workers, Path(name), backbone, args.size)
            results += compare(workers, Path(name), backbone, args.size)
            results += measure(workers, backbone, args.repeats)
    return results
