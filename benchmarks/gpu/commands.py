"""The commands as users call them: doctor, images of the demo, training with its hooks."""

import subprocess
import sys
import tempfile
from pathlib import Path

from .report import Check

ROOT = Path(__file__).resolve().parents[2]
_CONFIG = 'configs/oneformer_efficientnet-lite0_quickstart.py'
_LINES = 6


def _call(check: Check, what: str, *words: object, limit: float) -> bool:
    begin = check.seconds
    seconds = limit if check.tiny else min(limit, max(check.left - 5, 5))
    try:
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        check.say(what=what, seconds=check.seconds - begin, passed=False, error='took too long')
        return False
    lines = [line[-200:] for line in (done.stdout + done.stderr).strip().splitlines()]
    tail = [line for line in lines if 'Warning' not in line][-_LINES:]
    passed = done.returncode == 0
    check.say(what=what, seconds=check.seconds - begin, tail=tail, passed=passed)
    return passed


def commands(check: Check) -> None:
    """On a GPU alone; on a CPU the tests call them."""
    if not check.on_gpu:
        check.say(skipped='needs a GPU')
        return
    _call(check, 'doctor', 'tools/doctor.py', limit=60)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / 'data'
        sizes = ('--train', 64, '--val', 16, '--workers', 8)
        if not _call(check, 'demo-data', 'tools/make_quickstart_data.py', data, *sizes, limit=60):
            return
        changes = (
            f'data_root={data}/',
            'model.backbone.pretrained=False',
            'train_cfg.max_iters=60',
            'train_cfg.val_interval=60',
            'default_hooks.checkpoint.interval=60',
            'default_hooks.logger.interval=20',
        )
        options = ('--amp', 'bf16', '--work-dir', Path(folder) / 'work', '--cfg-options')
        _call(check, 'train', 'tools/train.py', _CONFIG, *options, *changes, limit=120)
