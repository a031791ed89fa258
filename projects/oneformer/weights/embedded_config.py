"""The config of its training that a checkpoint holds, read without running it.

mmengine writes the config as a Python text into ``meta['cfg']``; reading it back would run it. Here
it is data (see ``plain_python``), of which model, test transforms and thresholds are taken, and
nothing that only training needs or that would load a file. Classes are those of this plugin, and
backbones, layers and transforms of the OpenMMLab packages that read no files when they are built.
"""

from collections.abc import Callable, Mapping

from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import Registry

from ..host.errors import CheckpointError
from .plain_python import NotPlainError, entries, plain_value, read_assignments
from .reading import Weights

_OF_TRAINING = ('criterion', 'text_mapper', 'contrastive_loss')
_IMAGE_RULES = {'orientation', 'value_range'}
_LOADING = ('init_cfg', 'pretrained')  # files and URLs of weights

# where the classes of a model may come from, with one of a package that is not loaded beforehand
_MODULES = (
    'oneformer.',
    'mmdet.models.backbones.',
    'mmdet.models.data_preprocessors.',
    'mmdet.models.layers.',
    'mmcv.cnn.',
    'mmengine.utils.dl_utils.parrots_wrapper.',  # SyncBN
    'torch.nn.',
)
_MODELS_ELSEWHERE = ('mmpretrain.ConvNeXt',)
_TRANSFORMS = {
    *('CenterCrop', 'FixScaleResize', 'FixShapeResize', 'Normalize', 'Pad', 'Resize'),
    *('LoadAnnotations', 'LoadImageFromFile', 'LoadPanopticAnnotations', 'PackDetInputs'),
}


def _is_model(name: str, cls: type) -> bool:
    return f'{cls.__module__}.'.startswith(_MODULES)


def _is_transform(name: str, cls: type) -> bool:
    return name in _TRANSFORMS or cls.__module__.startswith('oneformer.')


def _registered(name: str, registry: Registry) -> type | None:
    """A class that is in a registry or its parents already; nothing is imported."""
    while registry is not None and name not in registry.module_dict:
        registry = registry.parent
    return None if registry is None else registry.module_dict[name]


def _known_type(name, where: str, registry: Registry, allowed: Callable) -> str:
    """The name under which a class is registered that may be built.

    ``mmdet.models.ResNet``, as configs in Python's own syntax have it, is ``ResNet``.
    """
    if isinstance(name, str):
        if name in _MODELS_ELSEWHERE and registry is MODELS:
            return name
        package, last = name.split('.')[0], name.split('.')[-1]
        cls = _registered(last, registry)
        is_whole = '.' not in name or (cls and f'{cls.__module__}.'.startswith(f'{package}.'))
        if cls is not None and is_whole and allowed(last, cls):
            return last
    raise NotPlainError(
        f'{where}.type is {name!r}, which is not among the classes that are built from a '
        "checkpoint's word alone"
    )


def _checked(value, where: str, registry: Registry, allowed: Callable):
    """A copy whose dicts name known classes only."""
    if isinstance(value, list | tuple):
        parts = (_checked(v, f'{where}[{i}]', registry, allowed) for i, v in enumerate(value))
        return type(value)(parts)
    if not isinstance(value, dict):
        return value
    if value.get('_scope_', 'mmdet') != 'mmdet':
        raise NotPlainError(f'{where}._scope_ is {value["_scope_"]!r}, not mmdet')
    checked = {
        key: _checked(item, f'{where}.{key}', registry, allowed)
        for key, item in value.items()
        if key != '_scope_'
    }
    if 'type' in checked:
        checked['type'] = _known_type(checked['type'], where, registry, allowed)
    return checked


def _dataset(assigned: Mapping) -> dict:
    """Test transforms and rules for images of the dataset of the test, or else of validation."""
    for loader in ('test_dataloader', 'val_dataloader'):
        node, where = entries(assigned.get(loader)).get('dataset'), loader
        rules: dict[str, object] = {}
        while node is not None:
            where, found = f'{where}.dataset', entries(node)
            for name in _IMAGE_RULES & set(found):
                rules.setdefault(name, plain_value(found[name], f'{where}.{name}'))
            if 'pipeline' in found:
                steps = plain_value(found['pipeline'], f'{where}.pipeline')
                steps = _checked(steps, f'{where}.pipeline', TRANSFORMS, _is_transform)
                return dict(pipeline=steps, **rules)
            node = found.get('dataset')
    raise NotPlainError('it has no transforms in test_dataloader.dataset.pipeline')


def parse_config(text: str) -> Config:
    """Model and test transforms of a config's text.

    Returns:
        With ``model``, for inference, and of ``test_dataloader.dataset`` the ``pipeline`` and how
        images are read (``ImageRules``).

    Raises:
        NotPlainError: If the text is more than plain values, or names other classes.
    """
    assigned = read_assignments(text)
    if 'model' not in assigned:
        raise NotPlainError('it has no model')
    model = plain_value(assigned['model'], 'model', (*_OF_TRAINING, *_LOADING))
    if not isinstance(model, dict):
        raise NotPlainError('its model is not a dict')
    if 'data_preprocessor' in assigned:
        preprocessor = plain_value(assigned['data_preprocessor'], 'data_preprocessor')
        model.setdefault('data_preprocessor', preprocessor)
    metainfo = model.pop('metainfo', None)  # its "type", if any, names no class
    model = _checked(model, 'model', MODELS, _is_model)
    if metainfo is not None:
        model['metainfo'] = metainfo
    return Config(dict(model=model, test_dataloader=dict(dataset=_dataset(assigned))))


def embedded_config(weights: Weights) -> Config | None:
    """The config that a checkpoint holds, see ``parse_config``; None if it holds none.

    Raises:
        CheckpointError: If it holds one that cannot be used.
    """
    text = weights.config_text
    if text is None or text == '':
        return None
    try:
        if not isinstance(text, str):
            raise NotPlainError(f'it is a {type(text).__name__}, not a text')
        return parse_config(text)
    except NotPlainError as error:
        raise CheckpointError(
            f'the config of its training in {weights.path} (meta.cfg), which is read and never '
            f'run, cannot be used: {error}'
        ) from None
