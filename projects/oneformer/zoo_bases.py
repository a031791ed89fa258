"""``_base_ = 'oneformer::NAME'`` in a config: a config of the package, wherever that is installed.

mmengine knows such bases of the packages in a list of its own, wants a folder before the name, and
looks up the types of the base in a registry scope of the package; ours are in mmdet's.
"""

from pathlib import Path

from mmengine.config import Config

from .zoo import find_config

_PREFIX = 'oneformer::'
_get_cfg_path = Config._get_cfg_path


def get_cfg_path(cfg_path: str, filename: str | Path) -> tuple[str, str | None]:
    """``Config._get_cfg_path``, which also knows the configs of this package."""
    if cfg_path.startswith(_PREFIX):
        return str(find_config(cfg_path.removeprefix(_PREFIX))), None
    return _get_cfg_path(cfg_path, filename)


Config._get_cfg_path = staticmethod(get_cfg_path)
