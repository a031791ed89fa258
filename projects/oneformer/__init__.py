"""OneFormer for OpenMMLab: one transformer for panoptic, instance and semantic segmentation.

Importing the package registers everything in mmdet's registries, so a config needs one line:
``custom_imports = dict(imports=['oneformer'], allow_failed_imports=False)``.
"""

# isort: off
from . import compat  # noqa: F401  first: it makes mmdet importable everywhere
from .quiet_import import quiet_import

with quiet_import():
    from . import datasets, engine, evaluation, models, visualization  # noqa: F401
    from . import mmdet_apis  # noqa: F401

__version__ = '0.1.0'
