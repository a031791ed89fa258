"""Training and evaluation of the quick start, with a screen for people."""

import contextlib
import logging
import os
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..training.evaluate import inference_config

NUM_PICTURES = 6


class ProgressLine(Hook):
    """Prints one short line now and then; the full log goes to the work folder."""

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval

    def before_train(self, runner) -> None:
        self.start = time.monotonic()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        done = runner.iter + 1
        if done % self.interval and done != runner.max_iters:
            return
        values = {
            name: outputs[name].item()
            for name in ('loss', 'loss_cls', 'loss_mask', 'loss_dice', 'loss_contrastive')
            if name in outputs  # nothing of a step that was skipped
        }
        pace = (time.monotonic() - self.start) / done
        losses = '  '.join(f'{name} {value:.2f}' for name, value in values.items())
        print(
            f'{done:5d}/{runner.max_iters}  {losses}  '
            f'{pace:.2f} s/iter, {pace * (runner.max_iters - done) / 60:.1f} min left',
            flush=True,
        )


def quiet_runner(cfg: Config) -> Runner:
    """Build a runner that logs to its file, and to the terminal only warnings."""
    # mmengine's handler keeps the stream it finds, and prints the whole config at once
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        runner = Runner.from_cfg(cfg)
    for handler in list(runner.logger.handlers):
        if type(handler) is logging.StreamHandler:
            runner.logger.removeHandler(handler)
    warnings_and_errors = logging.StreamHandler()
    warnings_and_errors.setLevel(logging.WARNING)
    runner.logger.addHandler(warnings_and_errors)
    return runner


def train(cfg: Config, interval: int = 20) -> str:
    """Train without validation, since evaluation follows once, without the text branch.

    Args:
        cfg: Config of training; changed in place.
        interval: Iterations between the lines that are printed.

    Returns:
        Path of the last checkpoint.
    """
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    runner = quiet_runner(cfg)
    runner.register_hook(ProgressLine(interval))
    print(f'training {cfg.train_cfg.max_iters} iterations, log in {runner.log_dir}', flush=True)
    runner.train()
    return (Path(runner.work_dir) / 'last_checkpoint').read_text().strip()


def evaluate(cfg: Config, checkpoint: str) -> tuple[Runner, dict[str, float]]:
    """Score a checkpoint on the validation images.

    Args:
        cfg: Config of training, as it was before.
        checkpoint: Path that ``train`` returned.

    Returns:
        The runner of the evaluation, and the metrics.
    """
    test_cfg = inference_config(cfg)
    # mmengine keeps the state of a run under this name
    test_cfg.experiment_name = f'{cfg.get("experiment_name", "quickstart")}_evaluation'
    runner = quiet_runner(test_cfg)
    runner.load_checkpoint(checkpoint, strict=True)
    return runner, runner.test()


def draw_predictions(runner: Runner, folder: Path) -> None:
    """Draw image, ground truth and the three predictions of the first validation images."""
    dataset, model = runner.test_dataloader.dataset, runner.model.eval()
    runner.visualizer.dataset_meta = dataset.metainfo
    for index in range(min(NUM_PICTURES, len(dataset))):
        sample = dataset[index]
        with torch.no_grad():
            (prediction,) = model.test_step(
                dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
            )
        image = dataset.pipeline.transforms[0](dataset.get_data_info(index))['img'][..., ::-1]
        runner.visualizer.add_datasample(
            'predictions', image, prediction, out_file=str(folder / f'{index:02d}.png')
        )
