"""Lines of a config that change nothing: top-level keys that nothing reads.

mmengine takes any key. A key is a setting if a runner or a tool reads it, and a variable if the
config's file makes other values of it. A key that is neither is reported, with the setting that
was meant. A variable is read when its file is, so if another file or the command line changes it
later, that has no effect either, and is reported too.
"""

import ast
import inspect
import os.path as osp
from collections.abc import Iterator, Set
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner

# beside the arguments of the runners' constructors
_READ = {
    *('compile', 'runner_type', 'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters'),
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'init_model_weights_for_test_or_val'),
    *('gpu_ids', 'custom_imports', 'tta_model', 'tta_pipeline', 'opencv_num_threads'),
    'mp_start_method',
    *('tta', 'official_evaluator', 'format_evaluator', 'score_workers'),  # of this project
}
_MEANT = {
    **dict.fromkeys(('lr', 'base_lr', 'learning_rate'), 'optim_wrapper.optimizer.lr'),
    'weight_decay': 'optim_wrapper.optimizer.weight_decay',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper',
    **dict.fromkeys(('clip_grad', 'grad_clip'), 'optim_wrapper.clip_grad'),
    'accumulative_counts': 'optim_wrapper.accumulative_counts',
    **dict.fromkeys(('amp', 'fp16'), 'optim_wrapper.type (or --amp)'),
    **dict.fromkeys(('lr_config', 'lr_scheduler', 'scheduler'), 'param_scheduler'),
    **dict.fromkeys(('batch_size', 'samples_per_gpu'), 'train_dataloader.batch_size'),
    **dict.fromkeys(('num_workers', 'workers_per_gpu'), 'train_dataloader.num_workers'),
    'data_root': 'train_dataloader.dataset.data_root',
    'train_pipeline': 'train_dataloader.dataset.pipeline',
    'test_pipeline': 'test_dataloader.dataset.pipeline',
    'metainfo': 'model.metainfo and train_dataloader.dataset.metainfo',
    'classes': 'model.metainfo.classes and train_dataloader.dataset.metainfo.classes',
    'num_queries': 'model.panoptic_head.num_queries',
    'backbone': 'model.backbone',
    'pretrained': 'model.backbone.init_cfg (or load_from)',
    **dict.fromkeys(('checkpoint', 'weights'), 'load_from'),
    'resume_from': 'resume and load_from (or --resume FILE)',
    'seed': 'randomness.seed',
    'evaluation': 'val_evaluator and train_cfg.val_interval',
    'val_interval': 'train_cfg.val_interval',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'log_interval': 'default_hooks.logger.interval',
    'device': 'the environment variable CUDA_VISIBLE_DEVICES',
}
_LENGTH = 'train_cfg.max_iters'
_LENGTHS = {
    *('max_iter', 'max_iterations', 'iterations', 'iters', 'num_iters', 'total_iters'),
    *('max_epoch', 'max_epochs', 'epochs', 'num_epochs', 'total_epochs', 'max_steps', 'steps'),
    'runner',
}


@cache
def settings() -> frozenset[str]:
    """Top-level keys that mmengine, mmdet or the tools read, but for ``max_iters``."""
    names = {
        *inspect.signature(Runner.__init__).parameters,
        *inspect.signature(FlexibleRunner.__init__).parameters,
    }
    return frozenset((names | _READ) - {'self', 'cfg'})


def _source(path: str) -> tuple[set[str], set[str], list[str]]:
    """Names that a file assigns, those that it makes other values of, and files of ``_base_``."""
    if not path.endswith('.py'):
        return set(Config._file2dict(path)[0]), set(), []
    tree = ast.parse(Path(path).read_text(encoding='utf-8'))
    assigned = {
        target.id
        for node in tree.body
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    }
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for node in ast.walk(tree):  # _base_.name
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).startswith('_base_'):
            read.add(node.attr)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and '{{' in node.value:
            read |= {part.split('}}')[0].split('.')[-1].strip() for part in node.value.split('{{')}
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith('_base_'):
            read.add(str(getattr(node.slice, 'value', None)))
    bases = [Config._get_cfg_path(base, path)[0] for base in Config._get_base_files(path)]
    return assigned, read, bases


def _made_use_of(path: str) -> tuple[set[str], set[str]]:
    """Names that a config file and its bases assign, and the variables among them."""
    assigned, read, bases = _source(path)
    everything, variables = set(), set()
    for base in bases:
        names, used = _made_use_of(base)
        everything |= names
        variables |= used
    # what the file which assigns a name last, or one that builds on that, reads
    return everything | assigned, (variables - assigned) | read


def nested_values(value: object) -> Iterator[object]:
    """A value of a config, and all that it holds at any depth."""
    yield value
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from nested_values(part)


def _occurs(value: object, config: dict) -> bool:
    """Whether a setting has this value, or is a dict with all its items; False for numbers."""
    if isinstance(value, bool | int | float) or value is None:
        return False
    if isinstance(value, dict):
        items = [(k, v) for k, v in value.items() if k != '_delete_']
        return any(
            isinstance(v, dict) and all(k in v and v[k] == part for k, part in items)
            for v in nested_values(config)
        )
    if isinstance(value, str):
        texts = [v for v in nested_values(config) if isinstance(v, str)]
        return value in texts or ('/' in value and any(value in text for text in texts))  # a path
    return any(type(v) is type(value) and v == value for v in nested_values(config))


def _meant(key: str, cfg: dict) -> str:
    """The setting to use in place of a key, as the end of a sentence."""
    by_epoch = 'EpochBased' in str((cfg.get('train_cfg') or {}).get('type'))
    if key in _LENGTHS or key == 'max_iters':
        return f': set {"train_cfg.max_epochs" if by_epoch else _LENGTH}'
    if key in _MEANT:
        return f': set {_MEANT[key]}'
    known = [*settings(), 'max_iters', *_MEANT]
    near = get_close_matches(key, known, n=1, cutoff=0.7)
    return f': did you mean {_MEANT.get(near[0], near[0])}?' if near else ''


def _changed_later(cfg: Config, names: set[str]) -> set[str]:
    """Names whose value is not the one that the file gave them."""
    try:
        before = Config.fromfile(cfg.filename, import_custom_modules=False)
    except Exception:  # a file that has changed meanwhile
        return set()
    return {name for name in names if name in before and before[name] != cfg[name]}


def unread_settings(cfg: Config) -> list[str]:
    """Name the top-level keys of a config that nothing reads.

    Args:
        cfg: Config with the overrides of the command line in it.

    Returns:
        A sentence for each, with the setting that was probably meant.
    """
    train_cfg = cfg.get('train_cfg') or {}
    follows = not train_cfg or 'OneFormerTrainLoop' in str(train_cfg.get('type'))
    is_read = follows or cfg.get('max_iters') == train_cfg.get('max_iters')
    read = settings() | ({'max_iters'} if is_read else set())
    unknown = {key for key in cfg if key not in read and not key.startswith('_')}
    path = cfg.filename
    if not unknown or not path or not osp.isfile(path) or Config._is_lazy_import(path):
        return []
    with suppress(Exception):  # whatever a file may be, this only looks at it
        return _sentences(cfg, read, unknown)
    return []


def _sentences(cfg: Config, read: Set[str], unknown: set[str]) -> list[str]:
    path = cfg.filename
    assigned, variables = _made_use_of(path)
    of_bases = {name for base in _source(path)[2] for name in _made_use_of(base)[1]}
    changed = _changed_later(cfg, unknown & assigned)
    # a config that a run has written down has the values of variables, and no trace of their use
    if not variables & assigned and not Config._get_base_files(path):
        told = {key for key in assigned if _is_misspelt(key)}
        unknown = unknown - assigned | unknown & (changed | told)
    known = {key: cfg[key] for key in cfg if key in read}
    sentences = []
    for key in sorted(unknown - (variables - changed)):
        if _occurs(cfg[key], known):
            continue
        where = 'the config' if key in assigned and key not in changed else 'the command line'
        if key in changed & variables or key in assigned & of_bases:
            why = 'other settings were made of it before, and keep what they have'
        else:
            why = 'nothing reads it'
        value = f'={cfg[key]!r}' if isinstance(cfg[key], bool | int | float | str) else ''
        sentences.append(f'{key}{value} of {where} has no effect, since {why}{_meant(key, cfg)}')
    return sentences


def _is_misspelt(key: str) -> bool:
    known = [*settings(), 'max_iters']
    return key not in _MEANT and bool(get_close_matches(key, known, n=1, cutoff=0.85))
