"""Feature extractors of timm's models, found by the strides of their maps."""

import copy
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from .timm_parts import import_timm
from .vit_architectures import ARCHITECTURES

STRIDES = (4, 8, 16, 32)
_EXAMPLES = 'convnextv2_base, swinv2_base_window8_256, efficientnet_b3 or resnet50d'
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    dict(strict_img_size=False),
    dict(dynamic_img_size=True),
    {},
)
_NOT_FOR_TIMM = {
    *('pretrained', 'pretrained_cfg', 'pretrained_cfg_overlay', 'pretrained_strict'),
    *('checkpoint_path', 'cache_dir', 'features_only', 'out_indices', 'feature_cls'),
    *('num_classes', 'in_chans', 'drop_path_rate', 'img_size'),
}
_SIDE = 256  # pixels of images that tell which parameters a map needs


def check_name(model_name: str) -> None:
    """Refuse names that timm does not have, and those that would make it fetch or read files.

    Raises:
        ValueError: With similar names.
        ModuleNotFoundError: If timm is not installed.
    """
    timm = import_timm('TimmBackbone')
    if ':' in model_name or '/' in model_name:
        raise ValueError(
            f'model.backbone.model_name={model_name!r} is a place: give the name of the model in '
            "timm, and the place by init_cfg=dict(type='PretrainedBackbone', checkpoint=PLACE)"
        )
    if not timm.is_model(model_name.partition('.')[0]):
        similar = get_close_matches(model_name.partition('.')[0], timm.list_models(), 5, 0.4)
        raise ValueError(
            f'model.backbone.model_name={model_name!r} is not among the models of timm '
            f'{timm.__version__}; similar are {", ".join(similar) or "none"}'
        )


def check_arguments(model_args: Mapping) -> None:
    """Refuse arguments by which timm fetches or reads files, or builds what is not a backbone.

    Raises:
        ValueError: With what to do instead.
    """
    if refused := sorted(_NOT_FOR_TIMM & set(model_args)):
        raise ValueError(
            f'model.backbone.model_args has {", ".join(refused)}, which TimmBackbone sets itself: '
            'leave them out; weights come from init_cfg'
        )


def _create(model_name: str, options: Mapping, **more) -> nn.Module:
    """timm's model, for images of any size if it can be built so."""
    import timm

    for any_size in _ANY_SIZE:
        try:
            return timm.create_model(
                model_name, pretrained=False, **{**any_size, **options}, **more
            )
        except TypeError as error:  # of an argument that it does not know
            unknown = error
            if not any(name in str(error) for name in any_size):
                break
    raise ValueError(
        f'model.backbone.model_name={model_name!r} is a model of timm without one of these '
        f'options: {", ".join(options) or "none were given"} ({unknown}); leave it out'
    ) from unknown


def whole_model(model_name: str, options: Mapping) -> nn.Module:
    """The model that weights are published for, without a classifier."""
    return _create(model_name, options, num_classes=0)


def _cannot(model_name: str, found: str) -> ValueError:
    for arch, name in ARCHITECTURES.items():
        if model_name.partition('.')[0] == name:
            fits = f"This one is type='PlainViT', arch={arch!r}, with a pyramid of those strides"
            break
    else:
        fits = (
            f"Others of timm have them, such as {_EXAMPLES}, and type='PlainViT' makes them from "
            "DINOv2's and DINOv3's plain vision transformers"
        )
    return ValueError(
        f'model.backbone.model_name={model_name!r} of timm {found}, and a OneFormer needs maps of '
        f'strides {", ".join(map(str, STRIDES))}. {fits}'
    )


def feature_net(model_name: str, options: Mapping) -> tuple[nn.Module, list[int]]:
    """timm's extractor of the four maps, and the channels of these.

    Raises:
        ValueError: If the model has no such maps, or not these options.
    """
    if model_name.partition('.')[0] in ARCHITECTURES.values():
        raise _cannot(model_name, 'is a plain vision transformer of one stride')
    try:
        net = _create(model_name, options, features_only=True)
        levels = net.feature_info.info
    except (AssertionError, AttributeError, KeyError, NotImplementedError, RuntimeError) as error:
        raise _cannot(model_name, f'gives no maps at all ({error})') from error
    strides = [level['reduction'] for level in levels]
    if missing := [stride for stride in STRIDES if stride not in strides]:
        found = ', '.join(str(stride) for stride in dict.fromkeys(strides))
        lacks = ', '.join(map(str, missing))
        raise _cannot(model_name, f'has maps of strides {found}, but none of {lacks}')
    # the last map of a stride has seen most
    indices = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
    if tuple(net.feature_info.out_indices) != indices:
        net = _create(model_name, options, features_only=True, out_indices=indices)
    return net, [levels[index]['num_chs'] for index in indices]


def statistics(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...], str | None]:
    """Mean and standard deviation of RGB that the model was trained with, and its licence."""
    known = net.pretrained_cfg
    mean, std = (tuple(round(255 * part, 3) for part in known[name]) for name in ('mean', 'std'))
    return mean, std, known.get('license')


def own_size(net: nn.Module, img_size: int | Sequence[int] | None) -> list[int]:
    """Height and width of images that the model takes for certain."""
    known = net.pretrained_cfg
    size = img_size or (known['input_size'][1:] if known.get('fixed_input_size') else _SIDE)
    return [size, size] if isinstance(size, int) else list(size)


@torch.inference_mode(False)
@torch.enable_grad()
def traced_parameters(net: nn.Module, size: Sequence[int]) -> list[set[str]]:
    """Names of the parameters that each map depends on; nothing is computed for it."""
    twin = copy.deepcopy(net).to('meta').eval().requires_grad_(True)
    maps: Sequence[Tensor] = twin(torch.zeros(1, 3, *size, device='meta'))
    names, parameters = zip(*twin.named_parameters())
    needed = []
    for x in maps:
        gradients = torch.autograd.grad(x.sum(), parameters, retain_graph=True, allow_unused=True)
        needed.append({name for name, g in zip(names, gradients) if g is not None})
    return needed
