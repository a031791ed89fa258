"""What of a config decides a model's predictions beside its weights: told, and compared."""

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log

from ..host.errors import CheckpointError
from ..images.rules import complete_steps
from ..object_limits import default_max_per_image
from .embedded_config import embedded_config
from .reading import Weights

_OF_LABELS = ('LoadAnnotations', 'LoadPanopticAnnotations', 'LoadSegmentMap', 'SampleTask')
_THRESHOLDS = ('object_mask_thr', 'iou_thr', 'max_per_image', 'window')
_NORMALISATION = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'pad_size_divisor')


def _plain(value):
    """Dicts of a config and tuples as dicts and lists, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def describe_steps(pipeline: Sequence[Mapping]) -> str:
    """What test transforms do with the image, ``Resize(scale=[1333, 800])``; not with labels."""
    steps = []
    for step in _plain(pipeline):
        name = str(step.get('type')).split('.')[-1]
        if name not in _OF_LABELS and not name.startswith('Pack'):
            options = sorted((key, value) for key, value in step.items() if key != 'type')
            steps.append(f'{name}({", ".join(f"{key}={value}" for key, value in options)})')
    return ', '.join(steps)


def describe_settings(model: Mapping, pipeline: Sequence[Mapping]) -> str:
    """Test transforms and ``model.test_cfg`` on one line."""
    test_cfg = sorted(_plain(model.get('test_cfg') or {}).items())
    return f'{describe_steps(pipeline)}; {", ".join(f"{name} {value}" for name, value in test_cfg)}'


def prediction_settings(model: Mapping, pipeline: Sequence[Mapping]) -> dict:
    """Size of the images, thresholds and normalisation, by the name of the option."""
    test_cfg = _plain(model.get('test_cfg') or {})
    if test_cfg.get('max_per_image') is None:
        queries = (model.get('panoptic_head') or {}).get('num_queries')
        test_cfg['max_per_image'] = default_max_per_image(queries or 0)
    preprocessor = _plain(model.get('data_preprocessor') or {})
    return {
        'test pipeline': describe_steps(pipeline),
        **{f'model.test_cfg.{name}': test_cfg.get(name) for name in _THRESHOLDS},
        **{
            f'model.data_preprocessor.{name}': preprocessor.get(name, False)
            for name in _NORMALISATION
        },
    }


def notes_on(weights: Weights) -> list[str]:
    """Lines about weights that are not simply those of the last step."""
    text = f'{weights.path} has weights averaged over the training (EMA), which are used'
    return [text] if weights.averaged else []


def differences(trained: Mapping, given: Mapping) -> list[str]:
    """Lines about ``prediction_settings`` of a training that those of a config say otherwise."""
    return [
        f'  {name}: {value} in the checkpoint, {given[name]} in the config'
        for name, value in trained.items()
        if value != given[name]
    ]


def warn_of_differences(
    weights: Weights, model: Mapping, pipeline: Sequence[Mapping] | None
) -> None:
    """Tell where a given config predicts otherwise than the config of the training would.

    Args:
        weights: A checkpoint that may hold the config of its training.
        model: Model of the given config.
        pipeline: The ``complete_steps`` of the test; None if their size is not the config's.
    """
    try:
        cfg = embedded_config(weights)
    except CheckpointError as error:
        print_log(f'not compared with the given config: {error}', logger='current')
        return
    if cfg is None:
        return
    dataset = cfg.test_dataloader.dataset
    own = [] if pipeline is None else complete_steps(dataset.pipeline, dataset)
    trained = prediction_settings(cfg.model, own)
    if lines := differences(trained, prediction_settings(model, pipeline or [])):
        title = (
            f'{weights.path} was trained with other settings than those of the config, which count:'
        )
        print_log('\n'.join([title, *lines]), logger='current', level=logging.WARNING)
