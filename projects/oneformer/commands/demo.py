"""Generate images, train a small OneFormer on them, evaluate it, draw its predictions."""

import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from oneformer_runtime.page.builder import build_page

from ..deploy.exporting import export_model, require_packages
from ..host.freed_memory import keep_freed_memory
from ..host.safe_io import write_json
from ..host.train_loop import settle_length
from ..inference.loading import load_trained
from ..quickstart.scenes import generate
from ..quickstart.training import draw_predictions, evaluate, train
from ..training.evaluate import HEADLINE
from ..zoo import find_config
from .arguments import ToolParser

CONFIGS = dict(
    toys='oneformer_efficientnet-lite0_quickstart',
    streets='oneformer_efficientnet-lite0_street',
)


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(prog=prog, description=__doc__)
    parser.add_argument(
        '--scenes',
        choices=list(CONFIGS),
        default='toys',
        help='what the images show; streets have small things (%(default)s)',
    )
    parser.add_argument('--max-iters', type=int, help='train for fewer iterations')
    parser.add_argument(
        '--page', metavar='DIR', help='make the model a page that predicts in the browser, too'
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    keep_freed_memory()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    if args.page:
        try:
            require_packages()
        except ModuleNotFoundError as error:
            sys.exit(f'error: --page: {error}')
    start = time.monotonic()
    config = find_config(CONFIGS[args.scenes])
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
    if args.page:
        try:
            _make_page(config, checkpoint, work_dir / 'exported', args.page)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            sys.exit(f'error: --page: {error}')


def _make_page(config: Path, checkpoint: str, exported: Path, out_dir: str) -> None:
    model, settings, meta = load_trained(config, checkpoint, 'cpu')
    export_model(model, settings.pipeline, meta, exported, name=config.stem, overwrite=True)
    print(f'{build_page(exported, out_dir)}: serve it, as: python -m http.server -d {out_dir}')
