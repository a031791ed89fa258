"""Start-up in fresh processes: importing the package, help, the list of models, and a prediction.

* import: ``import oneformer`` against importing Hugging Face's OneFormer and its image processor.
* help, list: ``oneformer --help`` and ``oneformer list``, which import no torch.
* predict: ``tools/predict.py`` of one drawn image of 320 x 240, three tasks, with the quick start's
  model of random weights; with ``--against`` also by another checkout, in turn, as its peer.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from . import peers
from .checkouts import ROOT, check_checkout
from .scenes import draw_image, draw_segments
from .timing import Figure, Row, Variant, alternate, positive_int

STARTS = dict(
    ours='import oneformer',
    peer='from transformers import OneFormerForUniversalSegmentation, OneFormerImageProcessor',
    help='import oneformer_cli as c; c.main(["--help"])',
    list='import oneformer_cli as c; c.main(["list"])',
)
CONFIG = 'configs/oneformer_efficientnet-lite0_quickstart.py'
# in the code of a checkout, since names of weights may differ
_SAVE_WEIGHTS = """
import oneformer, torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
init_default_scope('mmdet')
model = Config.fromfile({config!r}).model
model.backbone.pretrained = False
torch.save(dict(state_dict=MODELS.build(model).state_dict()), {weights!r})
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of rounds and the other checkout."""
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    parser.add_argument('--against', type=Path, help='folder of another checkout, to predict too')


def _python(*arguments: str) -> None:
    """Run Python.

    Raises:
        RuntimeError: With the end of what it printed, if it fails.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{" ".join(arguments)[:200]} failed:\n{done.stderr[-2000:]}')


def _run_code(code: str, checkout: Path) -> None:
    """Run code with the packages of a checkout in its path."""
    _python('-c', f'import sys; sys.path.insert(0, {str(checkout / "projects")!r}); {code}')


def _start(code: str) -> Variant:
    """One start of Python with our packages in its path."""
    return Variant(run=lambda _: _run_code(code, ROOT), prepare=lambda: None)


def _prediction(checkout: Path, folder: Path) -> Variant:
    """``tools/predict.py`` of a checkout."""
    weights = str(folder / f'{len(list(folder.iterdir()))}.pth')
    config = str(checkout / CONFIG)
    _run_code(_SAVE_WEIGHTS.format(config=config, weights=weights), checkout)
    arguments = [str(checkout / 'tools/predict.py'), str(folder / 'image.jpg'), '--device', 'cpu']
    arguments += ['--model', config, '--weights', weights, '--out-dir', str(folder / 'predictions')]
    return Variant(run=lambda _: _python(*arguments), prepare=lambda: None)


def run(args: argparse.Namespace) -> list[Row | Figure]:
    """Measure; the first round, which fills the disk's cache, is not counted."""
    peers.require_transformers()
    variants = {name: _start(code) for name, code in STARTS.items()}
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        image = draw_image(rng, draw_segments(rng, 240, 320, 8)[0])
        cv2.imwrite(str(folder / 'image.jpg'), image)
        variants['predict'] = _prediction(ROOT, folder)
        if args.against is not None:
            variants['before'] = _prediction(check_checkout(args.against), folder)
        seconds = alternate(variants, args.repeats, lambda results: None)
    rows: list[Row | Figure] = [Row('start/import/hf', seconds['ours'], seconds['peer'])]
    if args.against is not None:
        rows.append(Row('start/predict/before', seconds['predict'], seconds['before']))
    for name in ('help', 'list', 'predict'):
        rows.append(Figure(f'start/{name}', median(seconds[name]), 's'))
    return rows
