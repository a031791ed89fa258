"""OneFormer for OpenMMLab: one transformer for panoptic, instance and semantic segmentation.

Importing the package registers everything in mmdet's registries, so a config needs one line:
``custom_imports = dict(imports=['oneformer'], allow_failed_imports=False)``.
"""

# isort: off
# first: it makes mmdet importable everywhere
from .host import postponed_imports, quiet_import

with quiet_import(), postponed_imports():
    from . import backbones, datasets, evaluation, models  # noqa: F401
    from . import encoder_only, training, visualization, weights, zoo_bases  # noqa: F401
    from .inference import mmdet_apis  # noqa: F401

__version__ = '0.1.0'
