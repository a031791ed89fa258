"""Trainings of ablations, each variant with several seeds, in processes of their own.

A training writes one JSON when it is done, whole. What is there is not trained again, so that a
study that was interrupted goes on.
"""

import copy
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from ..host import processor
from ..host.safe_io import write_json
from ..quickstart.scenes import generate
from ..quickstart.training import train
from ..tasks import TASKS
from ..training.evaluate import HEADLINE, evaluate, evaluate_token_matrix
from .ablations import DATA, VARIANTS, ablation_config
from .tiles import cut_tiles

PROJECTS = Path(__file__).resolve().parents[2]
NUCLEI = Path('data/dsb2018_panoptic')
THREADS = 1  # of a training, whose last digits depend on it


class Run(NamedTuple):
    """One training.

    Attributes:
        data: One of ``DATA``.
        variant: One of ``VARIANTS``.
        seed: Its seed.
        max_iters: Iterations of the full model, None for those of the config.
    """

    data: str
    variant: str
    seed: int
    max_iters: int | None = None

    @property
    def name(self) -> str:
        """Name of its file, without the suffix."""
        return f'{self.data}_{self.variant}_seed{self.seed}'

    def config(self) -> Config:
        """Its config."""
        return ablation_config(self.data, self.variant, self.seed, self.max_iters)

    def digest(self) -> str:
        """A number for what its config says, without its seed and its folders."""
        cfg = self._replace(seed=0).config()
        for part in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            cfg[part].dataset.data_root = ''
        text = json.dumps(cfg.to_dict(), sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_images(cfg: Config) -> str:
    """A number for the annotation that a config trains and scores with."""
    found = hashlib.sha256()
    for part in ('train_dataloader', 'val_dataloader'):
        dataset = cfg[part].dataset
        content = json.loads((Path(dataset.data_root) / dataset.ann_file).read_text())
        content.pop('info', None)  # which tells the version of what drew them
        found.update(json.dumps(content, sort_keys=True).encode())
    return found.hexdigest()[:16]


def stored_run(run: Run, folder: Path) -> dict | None:
    """What a training wrote; None if it has not been run.

    Raises:
        SystemExit: If the file is of another config or of other images.
    """
    file = folder / f'{run.name}.json'
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    now = dict(digest=run.digest(), images=digest_of_images(run.config()))
    if any(content[key] != value for key, value in now.items()):
        raise SystemExit(
            f'error: {file} is of another config, number of iterations or set of images: move '
            'it out of the folder, or give another --results'
        )
    return content


def train_and_store(run: Run, folder: Path) -> None:
    """Train, score and write one JSON, where nan is null; no checkpoint is left.

    Args:
        run: The training.
        folder: Where the JSON goes.
    """
    torch.set_num_threads(THREADS)
    cfg, variant = run.config(), VARIANTS[run.variant]
    wall, cpu = time.monotonic(), time.process_time()
    checkpoint = train(copy.deepcopy(cfg), interval=50)
    if variant.scored == TASKS:
        tokens = evaluate_token_matrix(cfg, checkpoint)
        scores = {
            name: value
            for task in TASKS
            for name, value in tokens[task].items()
            if name.startswith(f'{task}/')
        }
    else:
        tokens, scores = None, evaluate(cfg, checkpoint, variant.scored)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    content = dict(
        data=run.data,
        variant=run.variant,
        seed=run.seed,
        iterations=cfg.train_cfg.max_iters,
        seconds=round(wall, 1),
        cpu_seconds=round(cpu, 1),
        **count_parameters(cfg),
        scores=scores,
        tokens=tokens,
        digest=run.digest(),
        images=digest_of_images(cfg),
        threads=THREADS,
        processor=describe_processor(),
        torch=torch.__version__,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f'{run.name}.json', content)
    for file in Path(cfg.work_dir).glob('*.pth'):
        file.unlink()


def describe_processor() -> str:
    """What decides the last digits of a sum, which training makes grow: kind and instructions."""
    digest = hashlib.sha256(' '.join(sorted(processor.flags())).encode()).hexdigest()[:8]
    return f'{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {digest}'


def count_parameters(cfg: Config) -> dict[str, int]:
    """Parameters of the model that predicts, and of the one that is trained."""
    model = MODELS.build(cfg.model)
    everything = sum(parameter.numel() for parameter in model.parameters())
    text_branch = [part for part in (model.text_mapper, model.contrastive_loss) if part is not None]
    of_text = sum(parameter.numel() for part in text_branch for parameter in part.parameters())
    return dict(parameters=everything - of_text, parameters_in_training=everything)


def prepare_data(data: str, images: int, val_images: int) -> None:
    """Generate the images, or cut tiles of photographs.

    Raises:
        SystemExit: If photographs are missing, or other images are where these go.
    """
    root = Path(ablation_config(data, 'full', 0).data_root)
    try:
        if data == 'lookalikes':
            generate(root, train=images, val=val_images, scenes='lookalikes')
        else:
            cut_tiles(NUCLEI, root, images, val_images)
    except FileExistsError as error:
        raise SystemExit(f'error: {error}') from None
    except FileNotFoundError as error:
        raise SystemExit(
            f'error: {error.filename} is missing: docs/cpu_results.md says where the images '
            f'of {NUCLEI} are from'
        ) from None


def run_all(
    runs: Sequence[Run], folder: Path, jobs: int, command: Sequence[str] | None = None
) -> None:
    """Run trainings that are not stored, some at a time, and tell how long it takes.

    Args:
        runs: The trainings.
        folder: Where the JSONs are.
        jobs: Trainings at a time, with one thread each.
        command: What a process runs before the words of a training; for tests.

    Raises:
        SystemExit: If trainings failed, after the others are done.
    """
    missing = [run for run in runs if stored_run(run, folder) is None]
    print(f'{len(runs)} trainings, of which {len(runs) - len(missing)} are done', flush=True)
    logs = folder / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    start, done, failed = time.monotonic(), 0, []
    command = command or [sys.executable, '-m', __name__]
    # the code of this process, whatever is installed
    path = os.pathsep.join(filter(None, [str(PROJECTS), os.environ.get('PYTHONPATH')]))
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS), PYTHONPATH=path)

    def work(run: Run) -> int:
        words = [run.data, run.variant, str(run.seed), str(run.max_iters or 0), str(folder)]
        with open(logs / f'{run.name}.txt', 'wb') as log:
            return subprocess.run(
                [*command, *words], stdout=log, stderr=subprocess.STDOUT, env=environment
            ).returncode

    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(work, run): run for run in missing}
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    run = waiting.pop(future)
                    done += 1
                    left = (time.monotonic() - start) / done * len(waiting) / 60
                    if future.result() or stored_run(run, folder) is None:
                        failed.append(run)
                        print(f'{run.name} failed: {logs / run.name}.txt', flush=True)
                        continue
                    print(f'{_line(run, folder)}  {len(waiting)} left, {left:.0f} min', flush=True)
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    if failed:
        names = ', '.join(run.name for run in failed)
        raise SystemExit(
            f'error: {len(failed)} trainings failed: {names}; their logs are in {logs}'
        )


def _line(run: Run, folder: Path) -> str:
    content = stored_run(run, folder) or {}
    scores = content.get('scores', {})
    words = (f'{key} {scores[key]:.1f}' for key in HEADLINE.values() if scores.get(key) is not None)
    return f'{run.name:40s}  {"  ".join(words)}'


def all_runs(
    data: str, names: Sequence[str], seeds: Sequence[int], max_iters: int | None
) -> list[Run]:
    """Trainings of variants with seeds, seed after seed, so that early results compare variants."""
    assert data in DATA
    return [Run(data, name, seed, max_iters) for seed in seeds for name in names]


def main(words: Sequence[str]) -> None:
    """The work of a process: data, variant, seed, iterations or 0, folder."""
    data, variant, seed, max_iters, folder = words
    train_and_store(Run(data, variant, int(seed), int(max_iters) or None), Path(folder))


if __name__ == '__main__':
    main(sys.argv[1:])
