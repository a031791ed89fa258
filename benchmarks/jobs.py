"""Whole jobs, as people wait for them, and where their time goes.

* evaluate/hf: drawn images with COCO's classes, three tasks, PQ, AP and mIoU: ``oneformer test``
  with Swin-T against a loop over Hugging Face's model (same weights), its image processor, its
  post-processing, and the same metrics of ours.
* evaluate/mask2former: ResNet-50, panoptic and instance task: ours against mmdet's Mask2Former with
  the pipeline and the metrics of its config.
* predict/hf: Swin-T, three tasks of a folder of images to files: the inferencer against that loop
  with files of the same kinds (three overlays, panoptic PNG and JSON, instance JSON of scores above
  0.3, label PNG).
* epoch: of the quick start, ours alone: images a second, from the first step to the end of the
  last, with its checkpoint. It has its own images, and is run once.

Models are random, but sure of classes and masks, as trained ones are. First, logits are compared,
against Hugging Face's also the panoptic maps that both sides make of the same, and that these have
segments; ``post`` compares post-processing of all tasks. From Hugging Face's instance maps the
random masks drop out, as they overlap, which saves it time in scoring and writing. Afterwards, each
side must have all scores, or as many files of each kind.
Images are read in the process that predicts, on all sides. Only ours keeps memory that torch frees,
as the commands ``test`` and ``predict`` do. network_share is the network's part of our time; in
mmdet's, the head also resizes masks, which is post-processing elsewhere.
"""

import argparse
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from . import by_module, memory, peers, stages
from .job_sides import COMPARE, COMPARE_RESULTS, SIDES, Job, epoch
from .scenes import draw_image, draw_segments, write_instances, write_set
from .timing import Figure, Note, Row, fix_threads, positive_int

JOBS = {
    'evaluate/hf': ('evaluate/ours_swin-t', 'evaluate/hf'),
    'evaluate/mask2former': ('evaluate/ours_r50', 'evaluate/mask2former'),
    'predict/hf': ('predict/ours', 'predict/hf'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--images', type=positive_int, default=100, help='(%(default)s)')
    parser.add_argument('--size', type=positive_int, default=512, help='short edge (%(default)s)')
    parser.add_argument('--repeats', type=positive_int, default=1, help='rounds (%(default)s)')
    parser.add_argument(
        '--only', nargs='+', choices=(*JOBS, 'epoch'), default=(*JOBS, 'epoch'), help='jobs (all)'
    )
    parser.add_argument('--plot', type=Path, help='also draw where the time goes')
    parser.add_argument('--quick', action='store_true', help='small models, to try it')


def write_images(folder: Path, images: int, size: int) -> None:
    """Draw a set of images, 4 : 3, with panoptic and instance labels."""
    rng = np.random.default_rng(0)
    scenes = [draw_segments(rng, size, size * 4 // 3, 20) for _ in range(images)]
    write_set(folder, scenes, [draw_image(rng, segment_map) for segment_map, _ in scenes])
    write_instances(folder / 'panoptic.json', folder / 'seg', folder / 'instances.json')


@contextmanager
def quietly() -> Iterator[None]:
    """Leave out logs and tables of a run."""
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


class Done(NamedTuple):
    """Seconds of a side by stage, and what it returned."""

    seconds: dict[str, float]
    results: dict


def do(side: str, job: Job, threads: int) -> Done:
    """The work of a process of its own."""
    fix_threads(threads)
    clock = stages.Stages()
    with quietly():
        results = SIDES[side](job, clock)
    return Done(clock.seconds, results)


def compare(comparison: Callable[[Job], None], job: Job, threads: int) -> None:
    """Raise ResultsDiffer unless both sides compute the same; the work of an own process."""
    fix_threads(threads)
    comparison(job)


def take_turns(sides: Sequence[str], repeats: int, work: Callable) -> dict[str, list[Done]]:
    """What the sides did, one for each round; each round starts with another side."""
    results: dict[str, list[Done]] = {side: [] for side in sides}
    for number in range(repeats):
        for side in (*sides[number % 2 :], *sides[: number % 2]):
            results[side].append(work(side))
    return results


def share(seconds: Mapping[str, float]) -> float:
    """The network's part of a job."""
    return seconds['network'] / sum(seconds.values())


def middle(rounds: Sequence[Done]) -> dict[str, float]:
    """Seconds by stage of the round whose time is the (lower) median."""
    return sorted((done.seconds for done in rounds), key=lambda of: sum(of.values()))[
        (len(rounds) - 1) // 2
    ]


def run(args: argparse.Namespace) -> list[Row | Figure | Note]:
    """Compare and measure."""
    peers.require_transformers()
    if args.plot is not None:
        by_module.require_matplotlib()
    rows: list[Row | Figure | Note] = []
    bars: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, args.images, args.size)
        job = Job(folder, args.size, peers.SMALL if args.quick else peers.SHAPE)

        def work(side: str) -> Done:
            return memory.in_own_process(do, side, job, args.threads)

        wanted = {pair: sides for pair, sides in JOBS.items() if pair in args.only}
        for comparison in dict.fromkeys(COMPARE[pair] for pair in wanted):
            memory.in_own_process(compare, comparison, job, args.threads)
        for pair, sides in wanted.items():
            found = take_turns(sides, args.repeats, work)
            text = COMPARE_RESULTS[pair](*(found[side][0].results for side in sides))
            totals = [[sum(done.seconds.values()) for done in found[side]] for side in sides]
            rows.append(Row(f'jobs/{pair}', *totals))
            part = median(share(done.seconds) for done in found[sides[0]])
            rows.append(Figure(f'jobs/{pair}/network_share', part, 'of our time'))
            rows.append(Note(f'jobs/{pair}, {text}'))
            bars |= {side: middle(found[side]) for side in sides}
        if 'epoch' in args.only:
            images, seconds = memory.in_own_process(epoch, folder, args.threads, args.quick)
            rate = images / sum(seconds.values())
            rows.append(Figure('jobs/epoch', rate, f'images of 160 pixels a second, of {images}'))
            bars['epoch'] = seconds
    if args.plot is not None:
        stages.draw(args.plot, bars)
    return rows
