"""timm, which is installed with the extra ``timm`` and imported when a backbone needs it."""

from importlib import import_module
from types import ModuleType


def import_timm(wanted_by: str) -> ModuleType:
    """The package ``timm``.

    Args:
        wanted_by: Type of the backbone, for the message.

    Raises:
        ModuleNotFoundError: If timm is not installed, or cannot be imported.
    """
    try:
        return import_module('timm')
    except ImportError as error:
        raise ModuleNotFoundError(
            f'model.backbone.type={wanted_by!r} needs timm, which cannot be imported ({error}): '
            'pip install "oneformer[timm]"'
        ) from error
