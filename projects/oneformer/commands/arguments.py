"""Advice for options that a command does not have: its own, or the command that has it."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..zoo import find_config

CHECKPOINTS = ('.pth', '.pt', '.ckpt', '.bin', '.pkl', '.safetensors')

# names of one option in different programs, of this project or not; names without
# hyphens are of positional arguments
_SAME = (
    ('--model', '--config', '--config-file', '--cfg', '--model-config', 'config'),
    ('--weights', '--checkpoint', '--ckpt', '--checkpoint-file', '--model-path', 'checkpoint'),
    ('--out-dir', '--out', '--output', '--output-dir', '--save-dir', '--save-path', 'destination'),
    ('--out-dir', '--img-out-dir', '--pred-out-dir', '--show-dir'),
    ('--out-json', '--json', '--out-file'),
    ('--inputs', '--input', '--img', '--image', '--images', '--video', '--source', 'inputs'),
    ('--source', '--input', '--src', '--checkpoint', '--weights', 'source'),
    ('--score-thr', '--pred-score-thr', '--score-threshold', '--threshold', '--conf'),
    ('--confidence-threshold', '--conf-thres', '--score-thr'),
    ('--iou-thr', '--iou-threshold', '--overlap-threshold', '--overlap-thr'),
    ('--object-mask-thr', '--mask-thr', '--mask-threshold', '--object-mask-threshold'),
    ('--max-per-image', '--max-dets', '--max-instances', '--topk'),
    ('--tasks', '--task'),
    ('--classes', '--class', '--texts', '--labels'),
    ('--cfg-options', '--options', '--opts', '--set', '--override'),
    ('--resume', '--resume-from', '--auto-resume'),
    ('--out-dir', '--work-dir'),
    ('--work-dir', '--out-dir', '--output-dir', '--output'),
    ('--workers', '--num-workers', '--nproc', '--jobs'),
    ('--per-class', '--classwise'),
    ('--data-root', '--data-dir', '--root', '--data-path'),
    ('--splits', '--split'),
    ('--num', '--number', '--show-number', '--num-images'),
)

_START = (
    'to start from a checkpoint say --cfg-options load_from=CHECKPOINT, to go on from one --resume '
    'CHECKPOINT'
)
_ATTENTION = 'say --cfg-options model.panoptic_head.pixel_decoder.attention=PATH'
_THRESHOLD = 'the config has it, --cfg-options model.test_cfg.{}=VALUE'
_PRECISIONS = {
    **dict.fromkeys(('--fp16', '--half'), 'say --precision fp16'),
    **{f'--{name}': f'say --precision {name}' for name in ('bf16', 'fp32', 'tf32')},
    '--amp': 'say --precision bf16 or --precision fp16',
    '--dtype': 'here it is --precision',
}
# advice on options that a command replaces by another way, by its name
_INSTEAD = dict(
    predict={
        '--cfg-options': 'thresholds have options of their own (--help), all else is in the '
        'config: change it there and give it as --model',
        '--show': 'pictures are written to overlays/ in --out-dir',
        '--palette': 'colours are model.metainfo.palette of the config',
        '--launcher': 'it runs as one process',
        **_PRECISIONS,
    },
    train={
        **dict.fromkeys(('--weights', '--checkpoint', '--load-from', '--pretrained'), _START),
        **dict.fromkeys(
            ('--gpus', '--gpu-ids', '--num-gpus'),
            'several GPUs are used by tools/dist_train.sh CONFIG NUMBER',
        ),
        **dict.fromkeys(
            ('--max-iters', '--iters', '--epochs', '--max-epochs'),
            'the length is in the config, --cfg-options train_cfg.max_iters=NUMBER',
        ),
        '--attention': _ATTENTION,
        '--lr': 'say --cfg-options optim_wrapper.optimizer.lr=LR',
        '--batch-size': 'say --cfg-options train_dataloader.batch_size=NUMBER',
        '--seed': 'say --cfg-options randomness.seed=NUMBER',
        '--precision': 'say --amp bf16 or --amp fp16, and --tf32 for products that stay in float32',
        **dict.fromkeys(('--fp16', '--half'), 'say --amp fp16'),
        '--bf16': 'say --amp bf16',
        '--device': 'choose a GPU by the environment variable CUDA_VISIBLE_DEVICES',
    },
    test={
        '--show': 'pictures are drawn into --show-dir DIR',
        '--attention': _ATTENTION,
        **_PRECISIONS,
        '--eval': 'all metrics of the config are computed; --tasks chooses among them',
        '--iou-thr': _THRESHOLD.format('iou_thr'),
        '--object-mask-thr': _THRESHOLD.format('object_mask_thr'),
        '--max-per-image': _THRESHOLD.format('max_per_image'),
        '--batch-size': 'say --cfg-options test_dataloader.batch_size=NUMBER',
        '--device': 'choose a GPU by the environment variable CUDA_VISIBLE_DEVICES',
    },
)

# options that only one command has, or one in the usual meaning
OWNERS = dict(
    train=('--amp', '--auto-scale-lr', '--compile', '--dry-run', '--resume', '--tf32'),
    test=(
        *('--format-only', '--official', '--per-class', '--score-workers', '--show-dir'),
        *('--token-matrix', '--tta'),
    ),
    predict=(
        *('--attention', '--classes', '--frames', '--iou-thr', '--max-per-image'),
        *('--object-mask-thr', '--orientation', '--percentiles', '--score-thr', '--value-range'),
    ),
    convert=('--drop-text-branch', '--metainfo', '--overwrite', '--to'),
    export=('--evaluate', '--int8', '--opset', '--size'),
    check=('--split', '--workers'),
    prepare=('--data-root', '--splits'),
    list=('--backbone', '--dataset'),
)


def config_file(name: str) -> str:
    """Path of a config, or of one of the zoo by its name, as an argparse type.

    Raises:
        argparse.ArgumentTypeError: If there is neither; names a checkpoint in its place.
    """
    if name.endswith(CHECKPOINTS):
        raise argparse.ArgumentTypeError(f'{name} is a checkpoint: write the config first')
    try:
        return str(find_config(name))
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_trust_pickle(parser: argparse.ArgumentParser) -> None:
    """Add the permission to load weights that may run code."""
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='load weights that are a pickle of more than tensors (all .pkl): it may run any code',
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the number of processes, see ``ToolParser.require_positive``."""
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes (%(default)s)'
    )


class ToolParser(argparse.ArgumentParser):
    """Parser with advice on every option that it does not know."""

    @property
    def command(self) -> str:
        """Name of the command: of ``oneformer COMMAND``, or of the file ``COMMAND.py``."""
        words = self.prog.split()
        return words[1] if words[0] == 'oneformer' and words[1:] else Path(words[0]).stem

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse; unknown options are reported before missing ones, which they often replace."""
        args = sys.argv[1:] if args is None else list(args)
        chosen = self._chosen(args)
        if unknown := chosen._unknown(args):
            tell = '{} has no {}: {}'.format
            self.error('\n'.join(tell(self.prog, name, chosen.advice(name)) for name in unknown))
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            hint = f' ({self.advice("--checkpoint")})' if rest[0].endswith(CHECKPOINTS) else ''
            self.error(f'{self.prog} does not take {" ".join(rest)}{hint}')
        return parsed

    def require_positive(self, args: argparse.Namespace, name: str) -> None:
        """End with a usage error unless an option is at least 1."""
        if getattr(args, name) < 1:
            self.error(f'--{name} has to be at least 1')

    def _chosen(self, args: Sequence[str]) -> 'ToolParser':
        """The parser of the sub-command among the words, which has the options; or this one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                names = [word for word in args if not word.startswith('-')]
                if names and names[0] in action.choices:
                    return action.choices[names[0]]
        return self

    def _unknown(self, args: Sequence[str]) -> list[str]:
        """Options among the words that are neither known here nor the beginning of a known one."""
        before = args[: args.index('--')] if '--' in args else args
        words = [word.split('=')[0] for word in before if re.match(r'--?[A-Za-z]\S*$', word)]
        known = tuple(self._option_string_actions)
        unknown = [w for w in words if not any(k == w or k.startswith(w) for k in known)]
        return list(dict.fromkeys(unknown))

    def advice(self, name: str) -> str:
        """Advice on what to use in place of an option."""
        option = '--' + name.lstrip('-').replace('_', '-')
        advice = _INSTEAD.get(self.command, {})
        if option in advice:
            return advice[option]
        if option in self._option_string_actions:
            return f'write {option}'
        for names in _SAME:
            if option in names and (found := self._own(names)):
                return found
        owners = [owner for owner, options in OWNERS.items() if option in options]
        if owners:
            return f'it is an option of oneformer {owners[0]}'
        options = [known for known in self._option_string_actions if known.startswith('--')]
        similar = difflib.get_close_matches(option, options, n=1)
        return f'did you mean {similar[0]}?' if similar else '--help lists what it has'

    def _own(self, names: Sequence[str]) -> str | None:
        """This tool's name of an option that has these names elsewhere."""
        if own := next(filter(self._option_string_actions.get, names), None):
            return f'here it is {own}'
        places = [action.dest for action in self._actions if not action.option_strings]
        for name in names:
            if name in places:
                order = ' '.join(place.upper() for place in places)
                return f'write {name.upper()} without an option, as in {self.prog} {order}'
        return None
