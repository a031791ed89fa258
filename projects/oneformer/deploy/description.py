"""The ``model.json`` of a model of torch: what its exporter writes beside the graph.

The exporter calls ``describe_model`` on what ``inference.loading.load_trained`` returns, and
then ``oneformer_runtime.model_json.write_description``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from oneformer_runtime.description import ImageSettings, ModelDescription, Thresholds

from ..images.rules import rules_of_step

_OF_LABELS = ('LoadAnnotations', 'LoadPanopticAnnotations', 'LoadSegmentMap')


def describe_model(
    model: nn.Module,
    pipeline: Sequence[Mapping],
    dataset_meta: Mapping,
    *,
    name: str = '',
    licence: str = '',
    size: tuple[int, int] | None = None,
    versions: Mapping[str, str] | None = None,
    agreement: Mapping[str, Any] | None = None,
) -> ModelDescription:
    """Describe a model.

    Args:
        model: A ``OneFormer``.
        pipeline: Configs of its test transforms, the first of which loads the image.
        dataset_meta: ``classes``, ``thing_classes``, and maybe ``palette`` and ``category_ids``.
        name: Name of the model.
        licence: Licence of the weights.
        size: (height, width) of a graph of fixed size, None for any size.
        versions: Versions of what wrote the graph, by name.
        agreement: Comparison of the graph with torch.

    Raises:
        ValueError: For settings that the runtime does not have: other test transforms than a resize
            to a short edge, and windows.
    """
    test_cfg = model.test_cfg
    if test_cfg.get('window') is not None:
        raise ValueError(
            'model.test_cfg.window: an exported model sees an image as a whole: set it to None, '
            'and the size of the test pipeline so that the memory suffices'
        )
    short_edge, max_size = _resize_rule(pipeline)
    rules = rules_of_step(pipeline[0])
    palette, ids = dataset_meta.get('palette'), dataset_meta.get('category_ids')
    return ModelDescription(
        classes=tuple(dataset_meta['classes']),
        thing_classes=tuple(dataset_meta['thing_classes']),
        image=ImageSettings(
            short_edge,
            max_size,
            int(model.data_preprocessor.pad_size_divisor),
            _padding(model.data_preprocessor),
            size,
            rules.orientation,
            rules.value_range,
        ),
        thresholds=Thresholds(
            float(test_cfg['object_mask_thr']),
            float(test_cfg['iou_thr']),
            int(test_cfg['max_per_image']),
        ),
        palette=None if palette is None else tuple(tuple(map(int, color)) for color in palette),
        category_ids=None if ids is None else tuple(ids),
        default_tasks=tuple(test_cfg['tasks']),
        token=test_cfg.get('token'),
        name=name,
        licence=licence,
        versions=dict(versions or {}),
        agreement=dict(agreement or {}),
    )


def _resize_rule(pipeline: Sequence[Mapping]) -> tuple[int, int]:
    """Short edge and limit of the long edge of a test pipeline."""
    resizes = []
    for step in pipeline[1:]:
        kind = str(step['type']).split('.')[-1]
        if kind == 'ResizeShortEdge':
            resizes.append(step)
        elif kind not in _OF_LABELS and not kind.startswith('Pack'):
            raise ValueError(
                f'the test pipeline has {kind}, which an exported model cannot do: it resizes by '
                'one ResizeShortEdge, and nothing else'
            )
    if len(resizes) != 1 or len(resizes[0]['short_edges']) != 1:
        raise ValueError(
            f'the test pipeline has {len(resizes)} ResizeShortEdge: an exported model needs one, '
            'of one short edge'
        )
    (resize,) = resizes
    return int(resize['short_edges'][0]), int(resize['max_size'])


def _padding(preprocessor: Any) -> tuple[float, float, float]:
    """RGB of the padding, which is made behind the normalisation, before it."""
    color = [float(preprocessor.pad_value)] * 3
    if preprocessor._enable_normalize:
        mean, std = (x.flatten().tolist() for x in (preprocessor.mean, preprocessor.std))
        color = [m + value * s for m, value, s in zip(mean, color, std)]
    exchanges = getattr(preprocessor, 'exchanges_channels', preprocessor._channel_conversion)
    red, green, blue = color if exchanges else color[::-1]
    return red, green, blue
