"""``make demo``: generate images, train a small OneFormer, evaluate it, draw its predictions."""

import argparse
import contextlib
import logging
import os
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'projects'), str(ROOT / 'tools')]

import torch  # noqa: E402
from make_quickstart_data import generate  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from oneformer.host.safe_io import write_json  # noqa: E402
from oneformer.host.train_loop import settle_length  # noqa: E402
from oneformer.training.arguments import ToolParser  # noqa: E402
from oneformer.training.evaluate import HEADLINE, inference_config  # noqa: E402

CONFIGS = dict(
    toys=ROOT / 'configs/oneformer_efficientnet-lite0_quickstart.py',
    streets=ROOT / 'configs/oneformer_efficientnet-lite0_street.py',
)
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


def parse_args() -> argparse.Namespace:
    parser = ToolParser(description=__doc__)
    parser.add_argument(
        '--scenes',
        choices=list(CONFIGS),
        default='toys',
        help='what the photographs show; streets have small things (%(default)s)',
    )
    parser.add_argument('--max-iters', type=int, help='train for fewer iterations')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    start = time.monotonic()
    config = CONFIGS[args.scenes]
    cfg = Config.fromfile(config)
    work_dir = Path(cfg.work_dir)
    generate(cfg.train_dataloader.dataset.data_root, scenes=args.scenes)
    if args.max_iters:
        cfg.train_cfg.max_iters = args.max_iters
        settle_length(cfg, {'train_cfg.max_iters': args.max_iters})
    checkpoint = train(cfg)
    print('evaluating all three tasks in one pass', flush=True)
    runner, metrics = evaluate(Config.fromfile(config), checkpoint)
    write_json(work_dir / 'metrics.json', metrics)
    draw_predictions(runner, work_dir / 'pictures')
    headline = ', '.join(f'{key.split("/")[1]} {metrics[key]:.1f}' for key in HEADLINE.values())
    print(
        f'{headline} after {(time.monotonic() - start) / 60:.1f} min; '
        f'pictures in {work_dir / "pictures"}, all metrics in {work_dir / "metrics.json"}'
    )


if __name__ == '__main__':
    main()
