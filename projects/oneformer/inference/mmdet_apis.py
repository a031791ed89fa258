"""Support of mmdet's own inference for configs that load images by ``LoadPhoto``.

``DetInferencer`` and ``inference_detector`` put a loader of theirs in the place of the config's, by
its name, and pass it the options of the replaced one. Other loaders are treated as before.

Both give the model its config (``model.cfg = config``) before they build the test pipeline. A
OneFormer that gets one calls ``support``; importing this module replaces nothing.
"""

import functools
import inspect
import logging
import os
from collections.abc import Mapping, Sequence

import mmdet.apis.det_inferencer
import mmdet.apis.inference
import numpy as np
from mmcv.transforms import Compose
from mmdet.apis import DetInferencer
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmdet.registry import TRANSFORMS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from PIL import Image

from ..datasets import LoadPhoto
from ..images.notes import image_notes
from ..images.rules import complete_steps, settle_rules
from ..models.oneformer import OneFormer
from ..panoptic_codes import id_picture
from .given_images import GIVEN, check_array, load_given

_OPTIONS = tuple(inspect.signature(LoadPhoto).parameters)


@TRANSFORMS.register_module()
class LoadFileOrArray(LoadPhoto):
    """``LoadPhoto`` for inputs of an inferencer.

    Takes a path, an array or a PIL image (see ``load_given``), or a dict with ``img_path`` or
    ``img``. Options are those of ``LoadPhoto``.
    """

    def transform(self, results: str | os.PathLike | np.ndarray | Image.Image | dict) -> dict:
        """Add the image, see ``LoadPhoto``; ValueError for an array that is not an image."""
        if isinstance(results, GIVEN):
            results = dict(img=results)
        elif not isinstance(results, dict):
            results = dict(img_path=os.fspath(results))
        if 'img' not in results:
            return super().transform(results)
        if isinstance(results['img'], np.ndarray):
            check_array(results['img'], self.rules)
        loaded = load_given(results['img'], 'in memory', self.rules)
        self.say(image_notes(loaded, 'in memory', self.rules))
        size = loaded.pixels.shape[:2]
        results.update(img=loaded.pixels, img_shape=size, ori_shape=size)
        return results


class LoadArray(LoadImageFromNDArray):
    """mmdet's loader of arrays, which follows the rules of ``LoadPhoto`` if it has its options."""

    def __init__(self, **kwargs) -> None:
        own = {name: kwargs.pop(name) for name in _OPTIONS if name in kwargs}
        super().__init__(**kwargs)
        self.ours = LoadFileOrArray(**own) if own else None

    def transform(self, results: dict) -> dict:
        """Load the array in ``img``."""
        return super().transform(results) if self.ours is None else self.ours(results)


def _warn_of_void(inferencer: DetInferencer) -> None:
    model = inferencer.model
    if 'panoptic' in model.test_cfg['tasks'] and not model.is_thing[0]:
        print_log(
            'DetInferencer writes 0 into panoptic PNGs both for void and for '
            f'{model.metainfo["classes"][0]!r}, the first class, which is stuff: '
            'oneformer.inference.OneFormerInferencer tells them apart',
            logger='current',
            level=logging.WARNING,
        )


def _begins_with_load_photo(steps: Sequence[Mapping]) -> bool:
    return str(steps[0]['type']).split('.')[-1] == 'LoadPhoto'


_init_pipeline = DetInferencer._init_pipeline


def init_pipeline(self: DetInferencer, cfg: Mapping) -> Compose:
    """``DetInferencer._init_pipeline``, which also knows ``LoadPhoto``."""
    dataset = cfg['test_dataloader']['dataset']
    if not _begins_with_load_photo(dataset['pipeline']):
        return _init_pipeline(self, cfg)
    if hasattr(self.model, 'is_thing'):
        _warn_of_void(self)
    first, *others = complete_steps(dataset['pipeline'], dataset)
    return Compose([dict(first, type='mmdet.LoadFileOrArray'), *others])


def test_pipeline(cfg: Config) -> list[ConfigDict]:
    """Test transforms for ``inference_detector``, a copy that it may change without ``cfg``.

    ``LoadPhoto`` gets all its options, so that ``LoadArray`` knows which loader it replaces.
    """
    steps = get_test_pipeline_cfg(cfg)
    if not _begins_with_load_photo(steps):
        return steps
    steps = complete_steps(steps, cfg.test_dataloader.dataset)
    return [ConfigDict({**dict.fromkeys(_OPTIONS), **steps[0]}), *steps[1:]]


@functools.cache
def support() -> None:
    """Let mmdet's functions for inference know ``LoadPhoto``, in this whole process.

    Replaced are ``DetInferencer._init_pipeline``, the ``get_test_pipeline_cfg`` of
    ``mmdet.apis.inference`` and the loader that is registered as ``LoadImageFromNDArray``. Each
    does what it did unless the test pipeline begins with ``LoadPhoto``. Without panopticapi
    ``DetInferencer`` also gets the two names that it uses of it.
    """
    TRANSFORMS.register_module(name='LoadImageFromNDArray', module=LoadArray, force=True)
    DetInferencer._init_pipeline = init_pipeline
    mmdet.apis.inference.get_test_pipeline_cfg = test_pipeline
    if mmdet.apis.det_inferencer.id2rgb is None:
        mmdet.apis.det_inferencer.id2rgb, mmdet.apis.det_inferencer.VOID = id_picture, 0


def _config_of(model: OneFormer) -> Mapping:
    """The config that mmdet's functions for inference gave the model."""
    return model._cfg


def _give_config(model: OneFormer, cfg: Mapping) -> None:
    """Settle the rules of images, of which mmdet copies parts alone, and support what comes."""
    support()
    if dataset := (cfg.get('test_dataloader') or {}).get('dataset'):
        settle_rules(get_test_pipeline_cfg(cfg), dataset)
    model._cfg = cfg


# models know nothing of pipelines and files
OneFormer.cfg = property(_config_of, _give_config)
