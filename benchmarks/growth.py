"""Only ours: what grows with a dataset, a video, an image, its texts, and the number of classes.

* load, check, score: drawn images of 96 x 128 pixels with 20 annotations each: building the
  dataset, ``oneformer check``, and PQ, AP and mIoU of flawed predictions, which are made apart.
* frames: ``oneformer predict`` of a video with a small model, from file to file.
* windows: three tasks of a square image of so many pixels a side with a small model, by windows of
  1024, every query sure of its class. Exponents are by pixels.
* texts: text queries of one image with as many distinct texts, forward and back, by the text
  branch of Swin-T's model.
* classes: a training step of Swin-T on one image with 16 targets, so with 16 texts and a filler.
  999 classes are the most that a panoptic map holds.
* processes: a training step of a small model on four images in all, by so many processes under
  gloo, which share the threads, at least one each; memory is not measured.

Each point has a process of its own, the least of up to three where they are short. An exponent p
says that a quantity grows like x^p: "fitted" to all points (least squares of logarithms), "last"
between the two largest; memory is what a process holds above what it held at its start, models
included. Time or memory that grows faster than annotations, or memory that grows faster than
pixels, to the power of ``--most`` between the last two ends the command with an error, and so does
memory that grows with frames.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from terminaltables import AsciiTable
from torch.nn.parallel import DistributedDataParallel

from oneformer.datasets import LoadSegmentMap, PackSegmentInputs
from oneformer.inspection.checking import check_config
from oneformer.studies.plots import save_figure
from oneformer.tasks import Prompts

from . import by_module, memory, peers
from .scale import exponents, predict_large, sure_model
from .scenes import CLASSES, NUM_THINGS, draw_image, draw_segments, warp, write_set
from .stages import Stages
from .timing import CPU, Clock, Figure, OutOfBounds, fix_threads, positive_int

HEIGHT, WIDTH, SEGMENTS = 96, 128, 20
DRAWN = 20  # different images
WINDOW = dict(size=1024, overlap=256)
WORK = 'work'
STEPS = 3  # timed, of several processes, after one
IMAGES = 4  # of all processes
ROOM = 8 * 2**20  # bytes that memory may grow by from the fewest frames to the most


class Axis(NamedTuple):
    """What grows.

    Attributes:
        works: What is measured at each value.
        values: From the fewest to the most.
        quick: The same, to try it.
        again: Seconds up to which a point is measured again.
        bounded: Quantities that may not grow faster than the axis.
        power: Exponent of a value in what it stands for.
    """

    works: tuple[str, ...]
    values: tuple[int, ...]
    quick: tuple[int, ...]
    again: float
    bounded: tuple[str, ...] = ()
    power: int = 1


ANNOTATIONS = ('load', 'check', 'score')
AXES = (
    Axis(ANNOTATIONS, (4_000, 20_000, 100_000), (40, 80), 1, ('time', 'memory')),
    Axis(('frames',), (100, 300, 1000), (4, 8), 1),
    Axis(('windows',), (2048, 4096, 8192), (64, 96), 1, ('memory',), power=2),
    Axis(('texts',), (16, 134, 1000), (2, 4), 0),
    Axis(('classes',), (19, 150, 999), (19, 80), 1),
    Axis(('processes',), (1, 2, 4), (1, 2), 0),
)


WORKS = [work for axis in AXES for work in axis.works]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--only', nargs='+', choices=WORKS, default=WORKS, help='works (all)')
    parser.add_argument(
        '--without', nargs='+', choices=WORKS, default=[], help='works to leave out (none)'
    )
    parser.add_argument('--most', type=float, default=1.1, help='exponent allowed (%(default)s)')
    parser.add_argument('--size', type=positive_int, default=512, help='of the training steps')
    parser.add_argument('--plot', type=Path, help='also draw seconds and bytes')
    parser.add_argument('--quick', action='store_true', help='few and small points, small models')


# annotations


def write_annotations(folder: Path, count: int) -> None:
    """A set of as many annotations; images repeat after ``DRAWN``."""
    rng = np.random.default_rng(0)
    drawn = [draw_segments(rng, HEIGHT, WIDTH, SEGMENTS) for _ in range(DRAWN)]
    scenes = [drawn[k % DRAWN] for k in range(count // SEGMENTS)]
    images = [draw_image(rng, segment_map) for segment_map, _ in drawn]
    write_set(folder, scenes, [images[k % DRAWN] for k in range(len(scenes))])


def config_of(folder: Path) -> Config:
    """A config that trains on the set."""
    dataset = dict(
        type='PanopticDataset',
        metainfo='coco',
        data_root=str(folder),
        ann_file='panoptic.json',
        data_prefix=dict(img='img/', seg='seg/'),
        pipeline=[dict(type='LoadPhoto'), dict(type='LoadSegmentMap')],
        test_mode=True,
    )
    model = dict(panoptic_head=dict(num_queries=100), metainfo='coco')
    return Config(dict(model=model, train_dataloader=dict(batch_size=1, dataset=dataset)))


def load(folder: Path, clock: Stages) -> None:
    """Build the dataset."""
    with clock(WORK):
        DATASETS.build(config_of(folder).train_dataloader.dataset)


def check(folder: Path, clock: Stages) -> None:
    """Check its labels."""
    with clock(WORK):
        check_config(config_of(folder), ('train',))


def score(folder: Path, clock: Stages) -> None:
    """All metrics of predictions whose borders are moved."""
    dataset = DATASETS.build(config_of(folder).train_dataloader.dataset)
    load_map, pack = LoadSegmentMap(), PackSegmentInputs()
    metrics = [
        METRICS.build(dict(type=kind)) for kind in ('PanopticQuality', 'InstanceAP', 'SemanticIoU')
    ]
    for metric in metrics:
        metric.dataset_meta = dataset.metainfo
    rng, image = np.random.default_rng(0), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        info.update(img=image, ori_shape=(HEIGHT, WIDTH), img_shape=(HEIGHT, WIDTH))
        sample = pack(load_map(info))['data_samples'].to_dict()
        sample |= flawed(rng, sample)
        with clock(WORK):
            for metric in metrics:
                metric.process(None, [sample])
    with clock(WORK):
        for metric in metrics:
            metric.evaluate(len(dataset))


def flawed(rng: np.random.Generator, sample: dict) -> dict:
    """Fields of a prediction with moved borders."""
    segment_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
    moved = warp(rng, segment_map.astype(np.float32), 2).astype(np.int64)
    labels = np.array([len(CLASSES), *(s['label'] for s in sample['segments_info'])])
    numbers = np.arange(len(labels))
    codes = np.where(labels < NUM_THINGS, labels + INSTANCE_OFFSET * numbers, labels)
    things = np.flatnonzero(labels < NUM_THINGS)
    known = np.where(labels < len(CLASSES), labels, 0)
    return dict(
        pred_panoptic_seg=dict(sem_seg=torch.from_numpy(codes[moved])[None]),
        pred_sem_seg=dict(sem_seg=torch.from_numpy(known[moved])[None]),
        pred_instances=dict(
            labels=torch.from_numpy(labels[things]),
            scores=torch.linspace(1, 0.1, len(things)),
            masks=torch.from_numpy(moved == things[:, None, None]),
        ),
    )


# frames, windows, texts and classes


def predict_video(folder: Path, frames: int, clock: Stages) -> None:
    """Predict a video of so many frames, and write the drawn one."""
    from oneformer.inference import OneFormerInferencer

    changes = peers.our_changes(peers.SMALL)
    cfg = Config.fromfile(peers.shapes.CONFIGS / 'oneformer_swin-t_coco.py')
    cfg.merge_from_dict(dict(model=changes))
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'ResizeShortEdge':
            step.update(short_edges=[64], max_size=128)
    weights = folder / 'weights.pth'
    state_dict = peers.build_ours(peers.SMALL, False, CPU, dataset='coco').state_dict()
    torch.save(dict(state_dict=state_dict), weights)
    inferencer = OneFormerInferencer(cfg, str(weights), device='cpu')
    video = folder / f'{frames}.mp4'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'mp4v'), 25, (WIDTH, HEIGHT))
    rng = np.random.default_rng(0)
    image = draw_image(rng, draw_segments(rng, HEIGHT, WIDTH, SEGMENTS)[0])
    for number in range(frames):
        writer.write(np.roll(image, number, axis=1))
    writer.release()
    with clock(WORK):
        for _ in inferencer.stream(video, folder / 'out', tasks='panoptic', progress=False):
            pass


def predict_windows(side: int, clock: Stages) -> None:
    """Predict three tasks of a square image."""
    model = sure_model(peers.SMALL, CPU, WINDOW)
    with clock(WORK):
        predict_large(model, (side, side), peers.SMALL.queries)


def encode_texts(count: int, shape: peers.Shape, clock: Stages) -> None:
    """Text queries of so many distinct texts, and their gradients."""
    shape = shape._replace(queries=count + shape.context)
    mapper = peers.build_ours(shape, True, CPU).text_mapper
    texts = Prompts().targets(range(count), [f'class {k}' for k in range(count)])

    with clock(WORK):
        mapper([texts], [Prompts().filler_of('panoptic')]).sum().backward()


def training_step(num_classes: int, size: int, shape: peers.Shape, clock: Stages) -> None:
    """A step of a model with so many classes."""
    names = tuple(f'class {k}' for k in range(num_classes))
    metainfo = dict(classes=names, thing_classes=names[: num_classes // 2])
    model = peers.build_ours(shape, True, CPU, metainfo=metainfo).train()
    batch = peers.draw_batch(size, [16], CPU, names)
    samples = peers.our_samples(batch)

    with clock(WORK):
        sum(model(batch.images, samples, mode='loss').values()).backward()


def step_of_process(rank: int, processes: int, folder: Path, size: int, threads: int) -> None:
    """The part of one process; the first writes the seconds of a step."""
    fix_threads(max(threads // processes, 1))
    store = f'file://{folder}/{processes}'
    torch.distributed.init_process_group('gloo', store, rank=rank, world_size=processes)
    init_default_scope('mmdet')
    model = DistributedDataParallel(peers.build_ours(peers.SMALL, True, CPU).train())
    batch = peers.draw_batch(size, [4] * (IMAGES // processes), CPU)
    samples = peers.our_samples(batch)
    seconds = []
    for _ in range(1 + STEPS):
        clock = Clock(CPU)
        model.zero_grad(set_to_none=True)
        sum(model(batch.images, samples, mode='loss').values()).backward()
        seconds.append(clock.lap())
    if rank == 0:
        (folder / 'seconds').write_text(str(median(seconds[1:])))
    torch.distributed.destroy_process_group()


def by_processes(folder: Path, processes: int, size: int, threads: int) -> float:
    """Seconds of a step by so many processes."""
    torch.multiprocessing.spawn(step_of_process, (processes, folder, size, threads), processes)
    return float((folder / 'seconds').read_text())


# measuring


def measure(work: str, folder: Path, value: int, args: argparse.Namespace) -> tuple[float, int]:
    """Seconds, and bytes above those held before; the work of a process of its own."""
    fix_threads(args.threads)
    init_default_scope('mmdet')
    if work == 'processes':
        return by_processes(folder, value, args.size, args.threads), 0
    shape = peers.SMALL if args.quick else peers.SHAPE
    clock = Stages()
    works: dict[str, Callable[[], object]] = dict(
        load=lambda: load(folder, clock),
        check=lambda: check(folder, clock),
        score=lambda: score(folder, clock),
        frames=lambda: predict_video(folder, value, clock),
        windows=lambda: predict_windows(value, clock),
        texts=lambda: encode_texts(value, shape, clock),
        classes=lambda: training_step(value, args.size, shape, clock),
    )
    silent = contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO())
    with silent[0], silent[1]:
        peak = memory.peak_of(works[work], CPU)
    return clock.seconds[WORK], peak


def repeated(
    work: str, folder: Path, value: int, again: float, args: argparse.Namespace
) -> tuple[float, int]:
    """The least of up to three processes where they are short: what else runs here only adds."""
    found = [memory.in_own_process(measure, work, folder, value, args)]
    while len(found) < 3 and sum(seconds for seconds, _ in found) < again:
        found.append(memory.in_own_process(measure, work, folder, value, args))
    times, peaks = zip(*found)
    return min(times), min(peaks)


def points(axis: Axis, args: argparse.Namespace) -> dict[str, list[tuple[int, float, int]]]:
    """Value, seconds and bytes of each point, by work that is asked for."""
    works = [work for work in axis.works if work in args.only and work not in args.without]
    found: dict[str, list[tuple[int, float, int]]] = {work: [] for work in works}
    again = 0 if args.quick else axis.again
    for value in (axis.quick if args.quick else axis.values) if works else ():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if axis.works == ANNOTATIONS:
                write_annotations(folder, value)
            for work in works:
                found[work].append((value, *repeated(work, folder, value, again, args)))
                print(f'{work} {value}: {found[work][-1][1]:.2f} s', flush=True)
    return found


def run(args: argparse.Namespace) -> list[Figure]:
    """Measure all points, print them, and fit.

    Raises:
        OutOfBounds: See the module.
    """
    if args.plot is not None:
        by_module.require_matplotlib()
    table, figures, faults = [['work', 'number', 'seconds', 'MiB']], [], []
    drawn: dict[str, dict[str, tuple[Sequence[int], Sequence[float]]]] = dict(time={}, memory={})
    for axis in AXES:
        for work, found in points(axis, args).items():
            values, times, peaks = zip(*found)
            amounts = [value**axis.power for value in values]
            for value, seconds, peak in found:
                held = f'{peak / 2**20:.0f}' if any(peaks) else ''
                table.append([work, value, f'{seconds:.2f}', held])
            if work == 'frames' and peaks[-1] - peaks[0] > ROOM:
                faults.append('memory of frames')
            measured = dict(time=times, memory=peaks) if any(peaks) else dict(time=times)
            for quantity, ys in measured.items():
                drawn[quantity][work] = amounts, ys
                fitted, last = exponents(amounts, ys)
                text = f'is the fitted exponent, {last:.2f} the last'
                figures.append(Figure(f'growth/{quantity}/{work}', fitted, text))
                if quantity in axis.bounded and last > args.most:
                    faults.append(f'{quantity} of {work}')
    print(AsciiTable(table).table)
    if args.plot is not None:
        draw(args.plot, drawn)
    if faults:
        raise OutOfBounds(f'grows too fast: {", ".join(faults)}', figures)
    return figures


def draw(
    path: Path, drawn: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]]
) -> None:
    """Draw time and memory of each point over those of the first, on logarithmic scales.

    Args:
        path: Path of the picture.
        drawn: By quantity and work: of how many, and seconds or bytes.
    """
    from matplotlib.figure import Figure as Picture

    picture = Picture((11, 4.5), layout='constrained')
    for axis, (quantity, works) in zip(picture.subplots(1, 2), drawn.items()):
        for work, (amounts, ys) in works.items():
            x, y = np.array(amounts) / amounts[0], np.array(ys) / ys[0]
            axis.loglog(x, y, 'o-', markersize=4, label=work)
        ends = np.array(axis.get_xlim())
        axis.loglog(ends, ends, '--', color='0.7', label='as fast as the number')
        axis.set_xlabel('times the first number, of windows: of pixels')
        axis.set_ylabel(f'times its {quantity}')
        axis.legend(fontsize=8)
    save_figure(picture, path)
