"""A page that predicts in the browser: its files, and the builder of a static folder.

``assets/`` is the page. ``page.json`` beside it says who predicts: the browser, in a folder of
``build_page`` (``{"backend": "wasm", ...}``), or a server with the API of ``oneformer serve``
(``{"backend": "server", "api": ...}``).
"""

from .builder import ASSETS, build_page
from .onnxruntime_web import VERSION as ONNXRUNTIME_WEB_VERSION
from .static_server import serve_folder

__all__ = ['ASSETS', 'ONNXRUNTIME_WEB_VERSION', 'build_page', 'serve_folder']
