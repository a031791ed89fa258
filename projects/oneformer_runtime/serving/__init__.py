"""An HTTP server around a model: an API, the page, limits, health and metrics.

>>> from oneformer_runtime import OnnxOneFormer
>>> from oneformer_runtime.serving import OnnxPredictor, Settings, serve
>>> serve(lambda: OnnxPredictor(OnnxOneFormer('exported')), Settings(port=8000))

``oneformer serve`` and ``python -m oneformer_runtime.serving`` do the same. FastAPI, uvicorn and
prometheus_client are needed, which are imported with the first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .predictors import Facts, OnnxPredictor, Options, Predictor
from .settings import Settings

if TYPE_CHECKING:
    from .server import serve

__all__ = ['Facts', 'OnnxPredictor', 'Options', 'Predictor', 'Settings', 'check_installed', 'serve']

_NEEDED = 'fastapi', 'uvicorn', 'prometheus_client'


def check_installed() -> None:
    """Raise ImportError, with the remedy, if the server's own requirements are not installed."""
    for name in _NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(
                f'serving needs {name} ({error}): pip install "oneformer[serve]", or without '
                'torch "oneformer-runtime[serve]"'
            ) from error


def __getattr__(name: str) -> Any:
    if name != 'serve':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    check_installed()
    return import_module('.server', __name__).serve
