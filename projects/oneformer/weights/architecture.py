"""The model that a state dict belongs to, read from the shapes of its tensors under our names."""

from collections.abc import Callable, Iterable, Mapping

from ..host.errors import CheckpointError
from . import encoder_only
from .encoder_only import MASK_PROBABILITIES
from .shapes import Shapes, count
from .vit_architecture import plain_vit_config, timm_config

_RESNETS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
_CONVNEXTS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 27, 3), 192): 'large',
    ((3, 3, 27, 3), 256): 'xlarge',
}
# of the published DiNAT-L by kernel; with kernel 11 the models for 1280 px have others
_DINAT_DEPTHS = (3, 4, 18, 5)
_DILATIONS = {
    7: [[1, 18, 1], [1, 5, 1, 9], [*[1, 2, 1, 3, 1, 4] * 3], [1, 2, 1, 2, 1]],
    11: [[1, 20, 1], [1, 5, 1, 10], [*[1, 2, 1, 3, 1, 4, 1, 5] * 2, 1, 5], [1, 2, 1, 2, 1]],
}
CLASS_HEAD = ('panoptic_head.cls_embed.weight', 'panoptic_head.cls_embed.bias')
_TEXT_BRANCH = ('text_mapper.', 'contrastive_loss.')
_HEAD = 'panoptic_head.'
_ENCODER = 'panoptic_head.pixel_decoder.encoder.layers.'
_QUERY_LAYERS = 'panoptic_head.task_queries.query_transformer.layers.'
_DECODER_LAYERS = 'panoptic_head.transformer_decoder.layers.'
_TEXT_LAYERS = 'text_mapper.text_encoder.layers.'


def num_classes_of(shapes: Shapes) -> int:
    """K, of the class head, which has one row more for "no object".

    Raises:
        KeyError: If there is none.
    """
    return shapes[CLASS_HEAD[1]][0] - 1


def in_text_branch(key: str) -> bool:
    """Whether one of our tensors is for training only."""
    return key.startswith(_TEXT_BRANCH)


def has_text_branch(keys: Iterable[str]) -> bool:
    """Whether a state dict of ours has texts; the temperature alone is of no use."""
    return any(key.startswith('text_mapper.') for key in keys)


def resnet_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a ResNet."""
    depths = tuple(count(shapes, f'backbone.layer{stage}.') for stage in range(1, 5))
    if depths not in _RESNETS:
        raise CheckpointError(
            f'a ResNet with {depths} blocks in its stages is none of {sorted(_RESNETS.values())}'
        )
    return dict(type='OneFormerResNet', depth=_RESNETS[depths], style='pytorch')


def swin_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a Swin transformer, the window and the heads from the bias tables."""
    stages = range(count(shapes, 'backbone.stages.'))
    tables = [
        shapes[f'backbone.stages.{i}.blocks.0.attn.w_msa.relative_position_bias_table']
        for i in stages
    ]
    return dict(
        type='OneFormerSwinTransformer',
        embed_dims=shapes['backbone.patch_embed.norm.weight'][0],
        depths=tuple(count(shapes, f'backbone.stages.{i}.blocks.') for i in stages),
        num_heads=tuple(table[1] for table in tables),
        window_size=(int(tables[0][0] ** 0.5) + 1) // 2,
        out_indices=(0, 1, 2, 3),
    )


def convnext_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a ConvNeXt."""
    stages = range(count(shapes, 'backbone.stages.'))
    depths = tuple(count(shapes, f'backbone.stages.{i}.') for i in stages)
    channels = [shapes[f'backbone.stages.{i}.0.norm.weight'][0] for i in stages]
    arch = _CONVNEXTS.get((depths, channels[0]), dict(depths=list(depths), channels=channels))
    return dict(
        type='mmpretrain.ConvNeXt',
        arch=arch,
        out_indices=[0, 1, 2, 3],
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
    )


def undilated(shapes: Shapes) -> list[list[int]]:
    """Dilations of 1 for each block of a DiNAT."""
    levels = range(count(shapes, 'backbone.levels.'))
    return [[1] * count(shapes, f'backbone.levels.{i}.blocks.') for i in levels]


def dinat_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a DiNAT, whose dilations have to be said unless it is a published one."""
    levels = range(count(shapes, 'backbone.levels.'))
    depths = tuple(count(shapes, f'backbone.levels.{i}.blocks.') for i in levels)
    biases = [shapes[f'backbone.levels.{i}.blocks.0.attn.rpb'] for i in levels]
    kernel_size = (biases[0][1] + 1) // 2
    dilations = options.get('dilations')
    if dilations is None and depths == _DINAT_DEPTHS:
        dilations = _DILATIONS.get(kernel_size)
    if dilations is None:
        raise CheckpointError(
            f'the dilations of a DiNAT with kernel {kernel_size} and {depths} blocks are not known '
            'and cannot be read from its weights: give the config that it was trained with'
        )
    hidden_channels, channels = shapes['backbone.levels.0.blocks.0.mlp.fc1.weight']
    return dict(
        type='DiNAT',
        embed_dims=channels,
        depths=list(depths),
        num_heads=[bias[0] for bias in biases],
        kernel_size=kernel_size,
        dilations=[list(level) for level in dilations],
        mlp_ratio=hidden_channels / channels,
        drop_path_rate=0.3,
    )


def assumptions(backbone: Mapping, options: Mapping) -> list[str]:
    """Lines about options of a backbone read from shapes that its checkpoint does not say."""
    if 'dilations' not in backbone or 'dilations' in options:
        return []
    kernel_size = backbone['kernel_size']
    others = ', but the one for 1280 px has others' if kernel_size == 11 else ''
    return [
        'the dilations are not in the weights: those of the published DiNAT-L with kernel '
        f'{kernel_size} are taken{others}; the config tells them'
    ]


# the key that tells a backbone, and the function that reads its config from the shapes and from
# what the checkpoint says beside them
BACKBONES: dict[str, Callable[[Shapes, Mapping], dict]] = {
    'backbone.layer1.0.conv1.weight': resnet_config,
    'backbone.stages.0.blocks.0.norm1.weight': swin_config,
    'backbone.stages.0.0.depthwise_conv.weight': convnext_config,
    'backbone.levels.0.blocks.0.norm1.weight': dinat_config,
    'backbone.cls_token': plain_vit_config,
}
# those that an option beside the weights tells: there may be no tensors, or names of any kind
_TOLD: dict[str, Callable[[Shapes, Mapping], dict]] = {
    'arch': plain_vit_config,
    'model_name': timm_config,
}


def backbone_config(shapes: Shapes, options: Mapping | None = None) -> dict:
    """Config of the backbone, see ``model_config``."""
    options = options or {}
    if encoder_only.is_encoder_only(shapes):
        return encoder_only.backbone_config(shapes, options)
    for name, read in _TOLD.items():
        if name in options:
            return read(shapes, options)
    for mark, read in BACKBONES.items():
        if mark in shapes:
            return read(shapes, options)
    raise CheckpointError(
        'the backbone is not recognised: it is another one, or lacks its first block; give the '
        'config that it was trained with'
    )


def model_config(shapes: Shapes, options: Mapping | None = None) -> dict:
    """Config of a ``OneFormer`` with tensors of these names and shapes.

    The numbers come from single tensors, so every other one can be checked against the model.
    A missing last layer looks like a smaller model, see ``describe``.

    Args:
        shapes: Shape of each tensor, by name.
        options: What the checkpoint says of its backbone beside them: ``dilations`` of a DiNAT.

    Raises:
        KeyError: With our name of a tensor that is needed here and missing.
        CheckpointError: If the backbone is not recognised.
    """
    return dict(config_beside_backbone(shapes), backbone=backbone_config(shapes, options))


def config_beside_backbone(shapes: Shapes) -> dict:
    """Config of a ``OneFormer`` but for its backbone, see ``model_config``.

    Raises:
        KeyError: With our name of a tensor that is needed here and missing.
        CheckpointError: If the pixel decoder has no attention, whose heads all others have.
    """
    queries = shapes[f'{_HEAD}query_embed.weight'][0]
    num_classes = num_classes_of(shapes)
    model = dict(
        type='OneFormer',
        panoptic_head=_head_config(shapes),
        metainfo=dict(classes=tuple(map(str, range(num_classes))), thing_classes=()),
        test_cfg=dict(tasks=('panoptic',), object_mask_thr=0.8, iou_thr=0.8, max_per_image=queries),
    )
    if has_text_branch(shapes):
        num_context, width = shapes['text_mapper.context.weight']
        model['text_mapper'] = dict(
            type='TextMapper',
            num_context=num_context,
            embed_dims=width,
            num_layers=count(shapes, _TEXT_LAYERS),
        )
        model['contrastive_loss'] = dict(type='QueryTextContrastiveLoss')
    return model


def _head_config(shapes: Shapes) -> dict:
    """``panoptic_head`` of ``config_beside_backbone``."""
    if encoder_only.is_encoder_only(shapes):
        return encoder_only.head_config(shapes)
    query_embed = shapes[f'{_HEAD}query_embed.weight']
    queries, channels = query_embed[0], query_embed[1]
    levels = shapes[f'{_HEAD}level_embed.weight'][0]
    points = 4
    decoder = {key for key in shapes if key.startswith(f'{_HEAD}pixel_decoder.')}
    if decoder and not any('.encoder.' in key or '.output_convs.' in key for key in decoder):
        raise CheckpointError(
            'the number of attention heads cannot be read from weights with an '
            'IdentityPixelDecoder: give the config that they were trained with'
        )
    heads = shapes[f'{_ENCODER}0.self_attn.attention_weights.bias'][0] // (levels * points)
    encoder_layer = dict(
        self_attn_cfg=dict(
            embed_dims=channels,
            num_heads=heads,
            num_levels=levels,
            num_points=points,
            batch_first=True,
        ),
        ffn_cfg=dict(
            embed_dims=channels,
            feedforward_channels=shapes[f'{_ENCODER}0.ffn.layers.0.0.bias'][0],
            num_fcs=2,
        ),
    )
    inputs = [shapes[f'{_HEAD}pixel_decoder.lateral_convs.0.conv.weight'][1]] + [
        shapes[f'{_HEAD}pixel_decoder.input_convs.{i}.conv.weight'][1] for i in range(levels)[::-1]
    ]
    head = dict(
        type='OneFormerHead',
        in_channels=inputs,
        feat_channels=channels,
        num_queries=queries,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder',
            num_outs=levels,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(num_layers=count(shapes, _ENCODER), layer_cfg=encoder_layer),
            positional_encoding=dict(num_feats=channels // 2, normalize=True),
        ),
        task_queries=dict(
            num_layers=count(shapes, _QUERY_LAYERS),
            num_heads=heads,
            feedforward_channels=shapes[f'{_QUERY_LAYERS}0.ffn.layers.0.0.bias'][0],
        ),
        transformer_decoder=dict(
            num_layers=count(shapes, _DECODER_LAYERS),
            num_heads=heads,
            feedforward_channels=shapes[f'{_DECODER_LAYERS}0.ffn.layers.0.0.bias'][0],
        ),
    )
    if MASK_PROBABILITIES in shapes:  # the spans are for training alone
        spans = [(0.0, 1.0)] * shapes[MASK_PROBABILITIES][0]
        head['mask_annealing'] = dict(spans=spans)
    return head


def describe_backbone(backbone: Mapping) -> str:
    """Type and sizes of a backbone."""
    names = ('arch', 'model_name', 'depth', 'embed_dims', 'depths', 'window_size', 'kernel_size')
    sizes = [backbone.get(name) for name in names]
    return f'{backbone["type"]} ({", ".join(str(size) for size in sizes if size is not None)})'


def _encoder_layers(pixel_decoder: Mapping) -> int:
    return pixel_decoder['encoder']['num_layers'] if 'encoder' in pixel_decoder else 0


def describe(model: Mapping) -> str:
    """One line that tells the architecture."""
    head = model['panoptic_head']
    branch = f'{"with" if model.get("text_mapper") else "without"} text branch'
    if head['type'] == 'OneFormerViTHead':
        backbone = model['backbone']
        told = encoder_only.describe_head(head, backbone)
        return f'{describe_backbone(backbone)}, {told}, {branch}'
    return (
        f'{describe_backbone(model["backbone"])}, {head["num_queries"]} queries, '
        f'{_encoder_layers(head["pixel_decoder"])} encoder layers, '
        f'{head["task_queries"]["num_layers"]} query layers, '
        f'{head["transformer_decoder"]["num_layers"]} decoder layers, '
        f'{branch}'
    )
