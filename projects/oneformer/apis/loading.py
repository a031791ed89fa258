"""Build a trained model from a config and its weights, or from the weights alone, strictly."""

import copy
import difflib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..checkpoints.content import Checkpoint, classes_of, require_ours
from ..checkpoints.files import read_checkpoint
from ..conversion.architecture import (
    assumptions,
    contradictions,
    in_text_branch,
    model_config,
    num_classes_of,
    shapes_of,
)
from ..conversion.fitting import misfits
from ..conversion.layout import rebuilt_by_us
from ..image_rules import settle_rules
from ..metainfo import BENCHMARKS, resolve_metainfo

ZOO = Path(__file__).resolve().parents[3] / 'configs'

_LOADERS = ('LoadPhoto', 'LoadImageFromFile')

# of weights without a config: short edge and limit of the long edge of the benchmark's configs,
# and the threshold of a panoptic segment
TEST_SETTINGS = dict(
    ade20k=(640, 2560, 0.5),
    cityscapes=(1024, 2048, 0.8),
    coco=(800, 1333, 0.8),
    mapillary=(2048, 2048, 0.8),
)


@dataclass
class TrainedModel:
    """A model, and what its answers mean.

    Attributes:
        model: With its weights, for inference.
        pipeline: Configs of the test transforms, the first of which loads the photo.
        dataset_meta: With ``classes``, ``thing_classes``, and maybe ``palette`` and
            ``category_ids``.
    """

    model: nn.Module
    pipeline: list[dict]
    dataset_meta: dict


def find_config(name: str | os.PathLike) -> Path:
    """A config file by its path, or by its name in the zoo (``oneformer_swin-l_ade20k``).

    Raises:
        FileNotFoundError: If there is neither; names the most similar configs of the zoo.
    """
    path = Path(name)
    if path.is_file():
        return path
    zoo = {p.stem: p for p in ZOO.rglob('oneformer_*.py') if '_base_' not in p.parts}
    if str(name) in zoo:
        return zoo[str(name)]
    similar = difflib.get_close_matches(path.stem, zoo, n=3) or sorted(zoo)[:3]
    raise FileNotFoundError(
        f'{name} is neither a config file nor the name of one in {ZOO}, such as '
        f'{", ".join(similar) or "none, since that folder has no configs"}'
    )


def check_device(device: str | torch.device) -> torch.device:
    """Try a device; ValueError if torch cannot compute on it here."""
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except Exception as error:  # backends raise whatever they like
        reason = str(error).split('\n')[0]
        raise ValueError(f'device {device} cannot be used here ({reason})') from error
    if chosen.type == 'meta':
        raise ValueError('device meta computes nothing: choose cpu or cuda')
    return chosen


def read_model_config(
    model: str | os.PathLike | Config,
) -> tuple[ConfigDict, list[dict]]:
    """Configs of the model and of the test transforms.

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
    described = f'config {path}' if path else 'the config'
    model_cfg = cfg.get('model')
    if not isinstance(model_cfg, dict):
        raise ValueError(
            f'{described} has no model: give the config that the weights were trained with'
        )
    if 'metainfo' not in model_cfg:
        raise ValueError(
            f'{described} has a {model_cfg.get("type")} without metainfo, which is no OneFormer'
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
            f'{", ".join(_LOADERS)}, in whose place photos are handed over'
        )
    pipeline = copy.deepcopy(pipeline)
    settle_rules(pipeline, cfg.test_dataloader.dataset)
    return copy.deepcopy(model_cfg), pipeline


def read_weights(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint of this plugin, without running what it contains.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is broken, not trusted, or of another library.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'weights {path} do not exist')
    if path.is_dir() and not (path / 'config.json').is_file():
        raise ValueError(f'weights {path} are a folder: give the file of a checkpoint')
    checkpoint = read_checkpoint(path)
    require_ours(checkpoint.tensors, path)
    return checkpoint


def count_classes(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> int:
    """K, of the class head of a checkpoint."""
    try:
        return num_classes_of(shapes_of(tensors))
    except KeyError as error:
        raise ValueError(
            f'{path} has no {error.args[0]}: it is incomplete, or of another version'
        ) from None


def choose_metainfo(checkpoint: Checkpoint, configured, weights: str | os.PathLike) -> dict:
    """Classes of the checkpoint, see ``classes_of``.

    Args:
        checkpoint: With the class head.
        configured: ``model.metainfo`` of the config, None without a config.
        weights: Path of the checkpoint, for messages.

    Raises:
        ValueError: If config and class head have different numbers of classes, and if nothing names
            the classes.
    """
    num_classes = count_classes(checkpoint.tensors, weights)
    if configured is not None:
        configured = resolve_metainfo(configured)
        if len(configured['classes']) != num_classes:
            raise ValueError(
                f'{weights} has {num_classes} classes, but the config '
                f'{len(configured["classes"])}: give the config that it was trained with, or train '
                'it on the classes of this one first'
            )
    try:
        metainfo = classes_of(checkpoint, num_classes, configured)
    except ValueError as error:
        raise ValueError(f'{weights}: {error}; or give the config of its training') from error
    if 'thing_classes' not in metainfo:
        raise ValueError(
            f'{weights} does not name its things (meta.dataset_meta): give the config that it was '
            'trained with'
        )
    return {'palette': (configured or {}).get('palette'), **metainfo}


def guess_settings(
    checkpoint: Checkpoint, metainfo: Mapping, weights: str | os.PathLike
) -> tuple[dict, list[dict]]:
    """Configs of the model and of the test transforms of weights without a config.

    The architecture is in the shapes. The normalisation is the published models', and the size of
    the photos and the threshold are those of the benchmark with these classes, else COCO's, which
    is logged.

    Raises:
        ValueError: If the architecture cannot be read.
    """
    named = [
        name for name, meta in BENCHMARKS.items() if tuple(meta['classes']) == metainfo['classes']
    ]
    benchmark = named[0] if named else 'coco'
    short_edge, max_size, threshold = TEST_SETTINGS[benchmark]
    try:
        model = model_config(shapes_of(checkpoint.tensors), checkpoint.backbone_options)
    except (KeyError, IndexError, ArithmeticError, ValueError) as error:
        raise ValueError(
            f'the architecture of {weights} cannot be read from its shapes ({error}): give the '
            'config that it was trained with'
        ) from error
    for line in assumptions(model['backbone'], checkpoint.backbone_options):
        print_log(f'no config: {line}', logger='current', level=logging.WARNING)
    model['data_preprocessor'] = dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    )
    model['test_cfg']['object_mask_thr'] = threshold
    pipeline = [
        dict(type='LoadPhoto'),
        dict(type='ResizeShortEdge', short_edges=[short_edge], max_size=max_size),
        dict(type='PackPanopticInputs'),
    ]
    print_log(
        f'no config: photos are resized to a short edge of {short_edge} (long edge at most '
        f'{max_size}) and object_mask_thr is {threshold}, as in the configs of {benchmark}; give '
        'the config if the model was trained otherwise',
        logger='current',
    )
    return model, pipeline


def load_strictly(
    model: nn.Module, tensors: Mapping[str, Tensor], weights: str | os.PathLike
) -> None:
    """Load every tensor of a state dict but those of the text branch, and those that are rebuilt.

    Raises:
        ValueError: With the lists of missing, unknown and misshapen tensors.
    """
    state = model.state_dict()
    if problems := misfits(shapes_of(tensors), shapes_of(state)):
        title = f'{weights} does not fit the model: give the config that it was trained with'
        raise ValueError('\n'.join([title, *problems]))
    given = {
        key: tensor
        for key, tensor in tensors.items()
        if not in_text_branch(key) and not rebuilt_by_us(key)
    }
    model.load_state_dict({**state, **given})


def load_trained(
    model: str | os.PathLike | Config | None, weights: str | os.PathLike, device: str | torch.device
) -> TrainedModel:
    """Build a model for inference.

    Args:
        model: Config, its path, its name in the zoo, or None to read the architecture from the
            weights.
        weights: Checkpoint of this plugin; its text branch is not needed.
        device: Where to.

    Raises:
        FileNotFoundError: If the config or the weights do not exist.
        ValueError: If the device cannot be used, the config is none of a OneFormer, or the weights
            cannot be read safely or do not fit.
    """
    device = check_device(device)
    if model is not None:
        model_cfg, pipeline = read_model_config(model)
    checkpoint = read_weights(weights)
    if model is None:
        metainfo = choose_metainfo(checkpoint, None, weights)
        model_cfg, pipeline = guess_settings(checkpoint, metainfo, weights)
    else:
        if wrong := contradictions(model_cfg.backbone, checkpoint.backbone_options):
            raise ValueError('\n'.join([f'{weights} is of another model than the config:', *wrong]))
        metainfo = choose_metainfo(checkpoint, model_cfg.metainfo, weights)
    model_cfg = ConfigDict(
        model_cfg, metainfo=metainfo, criterion=None, text_mapper=None, contrastive_loss=None
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        trained = MODELS.build(model_cfg)
    load_strictly(trained, checkpoint.tensors, weights)
    return TrainedModel(trained.to(device).eval(), pipeline, metainfo)
