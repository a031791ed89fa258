"""Trainings that are compared, and the table of their scores.

The results of each training are kept in a file as soon as it ends, so that an interrupted study
goes on with the next one.
"""

import copy
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook

from ..host.safe_io import write_bytes, write_json
from ..quickstart.training import evaluate, quiet_runner, train
from ..training.evaluate import HEADLINE, evaluate_token_matrix
from ..zoo import ZOO

REHEARSED = 20  # iterations whose pace is measured, after as many for warming up


@dataclass
class Scale:
    """How large a study is.

    Attributes:
        seeds: Trainings of each kind.
        images: Images to train on.
        val_images: Images to score on.
        max_iters: Iterations of each training, None for those of the configs.
        minutes: CPU minutes of each training, which then gets the iterations that fit in.
    """

    seeds: int
    images: int
    val_images: int
    max_iters: int | None = None
    minutes: float | None = None


class _Pace(Hook):
    """Measures the CPU seconds of an iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == runner.max_iters - REHEARSED:
            self.start = time.process_time()

    def after_train(self, runner) -> None:
        self.seconds = (time.process_time() - self.start) / REHEARSED


def study_config(study: str, variant: str) -> Path:
    """File of the config of a study's training."""
    return ZOO / f'studies/{study}_{variant}.py'


def load_config(file: Path, seed: int, max_iters: int | None) -> Config:
    """The config of a training with a seed."""
    cfg = Config.fromfile(file)
    cfg.work_dir = f'{cfg.work_dir}/seed{seed}'
    cfg.randomness = dict(seed=seed)
    if max_iters:
        cfg.train_cfg.max_iters = max_iters
    cfg.experiment_name = f'{file.stem}_seed{seed}'
    return cfg


def iterations_within(file: Path, minutes: float) -> int:
    """Iterations that take so many CPU minutes, by the pace of a short training."""
    cfg = load_config(file, 0, 2 * REHEARSED)
    cfg.experiment_name += '_pace'
    cfg.work_dir += '_pace'
    cfg.default_hooks.checkpoint.update(save_last=False)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    runner, pace = quiet_runner(cfg), _Pace()
    runner.register_hook(pace)
    runner.train()
    return max(int(minutes * 60 / pace.seconds), 1)


def train_and_score(file: Path, seed: int, max_iters: int | None, tokens: bool) -> dict:
    """Train with a seed and score the result on the validation images.

    Returns:
        Metrics, ``cpu_minutes`` of the training, and with ``tokens`` the metrics under each task
        token by that name.
    """
    cfg = load_config(file, seed, max_iters)
    start = time.process_time()
    checkpoint = train(copy.deepcopy(cfg), interval=50)
    minutes = (time.process_time() - start) / 60
    if not tokens:
        return {**evaluate(cfg, checkpoint)[1], 'cpu_minutes': minutes}
    matrix = evaluate_token_matrix(cfg, checkpoint)
    own = {
        name: value
        for task, metrics in matrix.items()
        for name, value in metrics.items()
        if name.startswith(f'{task}/')
    }
    return {**own, 'tokens': matrix, 'cpu_minutes': minutes}


def table(results: Mapping[str, dict], variants: Iterable[str]) -> str:
    """Mean and, over the seeds, standard deviation of each variant, as Markdown."""
    lines = ['| training | seeds | ' + ' | '.join(HEADLINE.values()) + ' |', '|' + ' --- |' * 5]
    for variant in variants:
        runs = [run for name, run in results.items() if name.startswith(f'{variant}/')]
        cells = []
        for key in HEADLINE.values():
            values = np.array([run[key] for run in runs])
            cells.append(f'{values.mean():.1f} ± {values.std():.1f}')
        lines.append(f'| {variant} | {len(runs)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def compare(
    study: str,
    variants: Iterable[str],
    scale: Scale,
    tokens: bool = False,
) -> dict[str, dict]:
    """Train each variant with each seed, and print and write the table.

    Args:
        study: Name of the study, of its configs and of its files of results.
        variants: Names of its trainings.
        scale: Its size.
        tokens: Whether every task is scored under every token.

    Returns:
        All results by training, see ``train_and_score``.

    Raises:
        SystemExit: If the file of results is of another study.
    """
    file = Path(f'work_dirs/{study}.json')
    configs = {variant: study_config(study, variant) for variant in variants}
    contents = {variant: Config.fromfile(config) for variant, config in configs.items()}
    length: dict[str, float] = (
        dict(minutes=scale.minutes)
        if scale.minutes is not None
        else dict(max_iters=scale.max_iters or next(iter(contents.values())).train_cfg.max_iters)
    )
    settings = dict(
        images=scale.images,
        val_images=scale.val_images,
        configs={variant: content.pretty_text for variant, content in contents.items()},
        **length,
    )
    stored = json.loads(file.read_text()) if file.exists() else dict(settings=settings, runs={})
    if stored['settings'] != settings:
        raise SystemExit(f'{file} is of other numbers of images or configs: move it away')
    iters = stored.setdefault('iterations', {})
    for seed in range(scale.seeds):
        for variant, config in configs.items():
            name = f'{variant}/seed{seed}'
            if name not in stored['runs']:
                if scale.minutes is not None and variant not in iters:
                    iters[variant] = iterations_within(config, scale.minutes)
                max_iters = iters.get(variant, scale.max_iters)
                print(f'training {name}', flush=True)
                stored['runs'][name] = train_and_score(config, seed, max_iters, tokens)
                write_json(file, stored)
            run = stored['runs'][name]
            print(name, {key: round(run[key], 1) for key in HEADLINE.values()}, flush=True)
    lines = table(stored['runs'], configs)
    write_bytes(file.with_suffix('.md'), f'{lines}\n'.encode())
    print(f'{lines}\nall metrics in {file}')
    return stored['runs']
