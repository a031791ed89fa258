"""With what settings a model predicts: those of a config, of its training, or guessed."""

import copy
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from ..host.errors import CheckpointError
from ..images.rules import complete_steps
from ..metainfo import KNOWN_DATASETS
from ..tasks import TASKS, check_task
from ..weights.architecture import assumptions, model_config
from ..weights.embedded_config import embedded_config
from ..weights.encoder_only import (
    image_size_of,
    is_encoder_only,
    is_one_task_only,
    trained_tasks,
)
from ..weights.reading import Weights
from ..weights.settings import describe_settings
from ..weights.shapes import shapes_of
from ..zoo import find_config

_LOADERS = ('LoadPhoto', 'LoadImageFromFile')

# of weights without a config: short edge and limit of the long edge of the dataset's configs,
# and the threshold of a panoptic segment
TEST_SETTINGS = dict(
    ade20k=(640, 2560, 0.5),
    cityscapes=(1024, 2048, 0.8),
    coco=(800, 1333, 0.8),
    mapillary=(2048, 2048, 0.8),
)


@dataclass
class Settings:
    """What decides predictions beside the weights.

    Attributes:
        model: Config of the model, for training or not.
        pipeline: Configs of the test transforms, the first of which loads the image.
        tasks: Task words that are predicted unless others are asked for.
    """

    model: ConfigDict
    pipeline: list[dict]
    tasks: tuple[str, ...]


def read_settings(model: str | os.PathLike | Config, described: str | None = None) -> Settings:
    """Settings of a config.

    Args:
        model: Config, its path, or its name in the zoo.
        described: What it is, for messages.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If it is broken, or lacks one of the two.
    """
    if isinstance(model, (str, os.PathLike)):
        path = find_config(model)
        try:
            cfg = Config.fromfile(path)
        except OSError:
            raise
        except Exception as error:  # a config is code
            raise ValueError(
                f'config {path} cannot be read ({type(error).__name__}: {error})'
            ) from error
    elif isinstance(model, Config):
        path, cfg = model.filename, model
    else:
        raise ValueError(
            f'the model is a {type(model).__name__}: give a Config, its path, or its name in the '
            'zoo'
        )
    described = described or (f'config {path}' if path else 'the config')
    model_cfg = cfg.get('model')
    if not isinstance(model_cfg, dict):
        raise ValueError(
            f'{described} has no model: give the config that the weights were trained with'
        )
    if 'metainfo' not in model_cfg:
        raise ValueError(
            f'{described} has a {model_cfg.get("type")} without metainfo, which is not a OneFormer'
        )
    try:
        pipeline = get_test_pipeline_cfg(cfg)
        first = pipeline[0]['type']
    except (AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(
            f'{described} has no transforms in test_dataloader.dataset.pipeline: give the config '
            'that the weights were trained with'
        ) from error
    if str(first).split('.')[-1] not in _LOADERS:
        raise ValueError(
            f'the test pipeline of {described} begins with {first}, not with one of '
            f'{", ".join(_LOADERS)}, in whose place images are handed over'
        )
    model_cfg = copy.deepcopy(model_cfg)
    if 'data_preprocessor' in cfg:  # where mmengine's runner takes it from, too
        model_cfg.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    steps = complete_steps(pipeline, cfg.test_dataloader.dataset)
    return Settings(model_cfg, steps, _tasks_of(model_cfg, described))


def _tasks_of(model_cfg: Mapping, described: str) -> tuple[str, ...]:
    """``model.test_cfg.tasks``."""
    tasks = (model_cfg.get('test_cfg') or {}).get('tasks', TASKS)
    if not isinstance(tasks, list | tuple):
        raise ValueError(f'model.test_cfg.tasks of {described} is {tasks!r}, not a list of tasks')
    return tuple(map(check_task, tasks))


def guess_settings(weights: Weights, metainfo: Mapping) -> Settings:
    """Settings of weights without a config.

    The architecture is in the shapes. The normalisation is the published models', and the size of
    the images and the threshold are those of the dataset with these classes, else COCO's, which
    is logged.

    Raises:
        CheckpointError: If the architecture cannot be read.
    """
    if is_encoder_only(weights.tensors):
        return guess_eomt_settings(weights, metainfo)
    classes = metainfo['classes']
    same = (name for name, meta in KNOWN_DATASETS.items() if tuple(meta['classes']) == classes)
    dataset = next(same, 'coco')
    short_edge, max_size, threshold = TEST_SETTINGS[dataset]
    model = _model_of_shapes(weights)
    model['test_cfg']['object_mask_thr'] = threshold
    pipeline: list[dict] = [
        dict(type='LoadPhoto'),
        dict(type='ResizeShortEdge', short_edges=[short_edge], max_size=max_size),
        dict(type='PackSegmentInputs'),
    ]
    print_log(
        f'no config is given, and {weights.path} holds none: images are resized to a short edge of '
        f'{short_edge} (long edge at most {max_size}) and object_mask_thr is {threshold}, as in '
        f'the configs of {dataset}; give the config if the model was trained otherwise',
        logger='current',
    )
    return Settings(ConfigDict(model), pipeline, TASKS)


def _model_of_shapes(weights: Weights) -> dict:
    """Config of a model of the architecture of weights, normalised as the published models."""
    try:
        model = model_config(shapes_of(weights.tensors), weights.backbone_options)
    except (KeyError, IndexError, ArithmeticError, ValueError) as error:
        raise CheckpointError(
            f'the architecture of {weights.path} cannot be read from its shapes ({error}): give '
            'the config that it was trained with'
        ) from error
    for line in assumptions(model['backbone'], weights.backbone_options):
        print_log(f'no config: {line}', logger='current', level=logging.WARNING)
    model['data_preprocessor'] = dict(
        type='OneFormerDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    )
    return model


def guess_eomt_settings(weights: Weights, metainfo: Mapping) -> Settings:
    """Settings of encoder-only weights without a config, as EoMT predicts; they are logged.

    Panoptic and instance models see the whole image in a square of their size, and semantic ones
    square windows along its long edge. Of a model without a task token the tasks are those that it
    was trained for.

    Raises:
        CheckpointError: If the architecture cannot be read.
    """
    model = _model_of_shapes(weights)
    size = image_size_of(weights.path, weights.config, metainfo, shapes_of(weights.tensors))
    tasks = TASKS
    if is_one_task_only(weights.tensors):
        tasks = trained_tasks(weights.path, metainfo)
    if tasks == ('semantic',):
        longest, divisor = 16 * size, 32
        model['test_cfg']['window'] = dict(size=size, overlap=32)
    else:
        longest, divisor = size, size
    model['test_cfg']['tasks'] = tasks
    # the authors pad before they normalise
    model['data_preprocessor'].update(pad_size_divisor=divisor, pads_black=True)
    pipeline: list[dict] = [
        dict(type='LoadPhoto'),
        dict(type='ResizeShortEdge', short_edges=[size], max_size=longest),
        dict(type='PackSegmentInputs'),
    ]
    seen = 'windows of' if tasks == ('semantic',) else 'a square of'
    print_log(
        f'no config is given, and {weights.path} holds none: images are seen in {seen} {size} '
        'pixels, and object_mask_thr is 0.8, as EoMT predicts; give the config if the model was '
        'trained otherwise',
        logger='current',
    )
    return Settings(ConfigDict(model), pipeline, tasks)


def settings_of_training(weights: Weights) -> Settings | None:
    """Settings of the config that a checkpoint holds, which are logged; None if it holds none.

    Raises:
        CheckpointError: If it holds one that cannot be used; it asks for another.
    """
    try:
        cfg = embedded_config(weights)
        if cfg is None:
            return None
        settings = read_settings(cfg, f'the config of its training in {weights.path}')
    except ValueError as error:
        raise CheckpointError(f'{error}. Give a config (--model)') from None
    print_log(
        f'no config is given: the settings are those of the training, which {weights.path} holds: '
        f'{describe_settings(settings.model, settings.pipeline)}',
        logger='current',
    )
    return settings
