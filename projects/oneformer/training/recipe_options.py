"""Settings at the top of ``configs/your_data``, given on the command line or by a later config.

A variable of a config is evaluated when its file is read, so the command line, or a config that has
the file as its base, comes too late for it. Here such values change the settings that the file
would have derived from them.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

KEYS = ('image_size', 'crop_size', 'batch_size', 'val_interval', 'num_queries')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _steps(part: object) -> Iterator[dict]:
    """Configs of the transforms of a dataset, or of all that it joins or wraps."""
    if isinstance(part, list | tuple):
        for one in part:
            yield from _steps(one)
    elif isinstance(part, Mapping):
        yield from part.get('pipeline') or ()
        yield from _steps(part.get('dataset'))
        yield from _steps(part.get('datasets'))


def _pipelines(cfg: Config) -> dict[str, list[dict]]:
    return {name: list(_steps((cfg.get(name) or {}).get('dataset'))) for name in _LOADERS}


def _resize(cfg: Config, size: int) -> None:
    """Change all short edges, and their limits, in proportion to that of the test."""
    pipelines = _pipelines(cfg)
    steps = [s for steps in pipelines.values() for s in steps if s['type'] == 'ResizeShortEdge']
    tests = [s for name in _LOADERS[1:] for s in pipelines[name] if s['type'] == 'ResizeShortEdge']
    if not tests:
        raise SystemExit(
            'image_size is given, and no test pipeline of the config has a ResizeShortEdge that it '
            'would change: set the sizes of its transforms'
        )
    before = tests[0]['short_edges'][0]
    for step in {id(step): step for step in steps}.values():  # the loaders may share one
        step['short_edges'] = [max(round(e * size / before), 1) for e in step['short_edges']]
        step['max_size'] = max(round(step['max_size'] * size / before), 1)


def _crop(cfg: Config, size: int) -> None:
    """Set the size of training's squares, and of the windows of prediction if there are any."""
    for step in _pipelines(cfg)['train_dataloader']:
        kind = step['type'].split('.')[-1]
        if kind == 'RandomCrop':
            step['crop_size'] = (size, size)
        elif kind in ('Pad', 'LargeScaleJitter') and step.get('size') is not None:
            step['size'] = (size, size) if kind == 'Pad' else size
    window = (cfg.model.get('test_cfg') or {}).get('window')
    if window:
        window.update(size=size, overlap=min(window.overlap, size // 64 * 32))


def overriding_settings(path: str | Path, cfg: Config) -> dict[str, object]:
    """Values of ``KEYS`` that a config sets over those of its base, or inherits from one that does.

    Args:
        path: File of the config.
        cfg: Its content, with its bases.
    """
    path = Path(path)
    if path.suffix != '.py':
        return {}
    bases = [Config._get_cfg_path(base, path)[0] for base in Config._get_base_files(path)]
    own = {
        target.id
        for node in ast.parse(path.read_text(encoding='utf-8')).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    settings = {}
    for base in bases:
        base_cfg = Config.fromfile(base)
        settings.update(overriding_settings(base, base_cfg))
        settings.update({key: None for key in KEYS if key in own and key in base_cfg})
    return {key: cfg[key] for key in settings}


def settle_recipe(cfg: Config, options: Mapping | None, own: Collection[str]) -> None:
    """Apply ``image_size`` and others of ``KEYS`` to all settings that follow from them.

    Args:
        cfg: Config with the options in it; changed in place.
        options: Options of the command line, by dotted name, and those of ``overriding_settings``.
        own: Keys that the config's file has; others of the command line stay as they are, and the
            log says that nothing reads them.

    Raises:
        SystemExit: If a value is not a whole number from 1, or nothing would follow it.
    """
    options = options or {}
    given = {key: options[key] for key in KEYS if key in options and key in own}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SystemExit(f'{key} is {value!r}: it takes a whole number from 1')
        cfg.pop(key)  # the settings that it changes hold the value from here on
    if 'image_size' in given:
        _resize(cfg, given['image_size'])
    if 'crop_size' in given:
        _crop(cfg, given['crop_size'])
    if 'batch_size' in given:
        cfg.train_dataloader.batch_size = given['batch_size']
    if 'val_interval' in given:
        cfg.train_cfg.val_interval = given['val_interval']
        if (cfg.get('default_hooks') or {}).get('checkpoint'):
            cfg.default_hooks.checkpoint.interval = given['val_interval']
    if 'num_queries' in given:
        cfg.model.panoptic_head.num_queries = given['num_queries']
