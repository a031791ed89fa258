"""Learning rates decay over the layers of any backbone, and each parameter has exactly one."""

import pytest
import torch
from mmdet.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.logging import MMLogger
from torch import nn

from oneformer.training.layer_decay import group_table, layers_by_name, layers_of

LR, WEIGHT_DECAY = 1e-3, 0.05


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)


class TinyViT(nn.Module):
    """A plain vision transformer under timm's names, with registers."""

    def __init__(self, depth, width=4):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.reg_token = nn.Parameter(torch.zeros(1, 4, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 9, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, 2, 2)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)


class Backbone(nn.Module):
    """Its pyramid stands before the network, and after it in its pass."""

    def __init__(self, depth):
        super().__init__()
        self.pyramid = nn.Conv2d(4, 4, 1)
        self.vit = TinyViT(depth)


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.panoptic_head = nn.Module()
        self.panoptic_head.cls_embed = nn.Linear(4, 3)
        self.panoptic_head.query_embed = nn.Embedding(5, 4)
        self.panoptic_head.task_token = nn.Parameter(torch.zeros(4))


def wrapper_of(model, optimizer=None, wrapper=None, **options):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get('OneFormerOptimWrapperConstructor')(
        dict(
            type='OptimWrapper',
            optimizer=optimizer or dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
            **(wrapper or {}),
        ),
        dict(options),
    )
    return constructor(model)


def rules_of(model, groups):
    """Scale of the learning rate, and weight decay, of each trained parameter by its name."""
    rules = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group['params']:
            assert names[id(parameter)] not in rules  # in one group
            rules[names[id(parameter)]] = (group['lr'] / LR, group['weight_decay'])
    assert rules.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    return rules


def test_registers_positions_and_tokens_are_the_lowest_layer_of_a_vit():
    model = Model(Backbone(2))
    wrapper = wrapper_of(model, layer_decay=0.5)
    rules = rules_of(model, wrapper.optimizer.param_groups)
    vit = 'backbone.vit.'
    expected = {
        **{f'{vit}{name}': (0.125, 0.0) for name in ('cls_token', 'reg_token', 'pos_embed')},
        f'{vit}patch_embed.proj.weight': (0.125, WEIGHT_DECAY),
        f'{vit}patch_embed.proj.bias': (0.125, WEIGHT_DECAY),
        f'{vit}norm.weight': (1.0, 0.0),
        f'{vit}norm.bias': (1.0, 0.0),
        'backbone.pyramid.weight': (1.0, WEIGHT_DECAY),
        'backbone.pyramid.bias': (1.0, WEIGHT_DECAY),
        'panoptic_head.cls_embed.weight': (1.0, WEIGHT_DECAY),
        'panoptic_head.cls_embed.bias': (1.0, WEIGHT_DECAY),
        'panoptic_head.query_embed.weight': (1.0, 0.0),
        'panoptic_head.task_token': (1.0, 0.0),
    }
    for block, scale in ((0, 0.25), (1, 0.5)):
        for name in ('weight', 'bias'):
            expected[f'{vit}blocks.{block}.norm1.{name}'] = (scale, 0.0)
            expected[f'{vit}blocks.{block}.qkv.{name}'] = (scale, WEIGHT_DECAY)
    assert rules == expected  # powers of 2


def test_the_lowest_of_twelve_blocks_is_where_others_have_it():
    model = Model(Backbone(12))
    rules = rules_of(model, wrapper_of(model, layer_decay=0.75).optimizer.param_groups)
    assert rules['backbone.vit.reg_token'][0] == pytest.approx(0.0238, abs=1e-4)  # MAE's, BEiT's
    assert rules['backbone.vit.blocks.11.qkv.weight'][0] == pytest.approx(0.75)


def test_rates_stay_without_a_schedule_and_frozen_parameters_are_left_out():
    model = Model(Backbone(2))
    model.backbone.vit.pos_embed.requires_grad_(False)
    model.backbone.vit.blocks[0].requires_grad_(False)
    wrapper = wrapper_of(model, layer_decay=0.5, wrapper=dict(accumulative_counts=2))
    before = rules_of(model, wrapper.optimizer.param_groups)
    assert before['backbone.vit.blocks.1.qkv.weight'][0] == pytest.approx(0.5)  # not renumbered
    frozen = model.backbone.vit.blocks[0].qkv.weight.clone()
    for _ in range(6):  # 3 steps
        wrapper.update_params(sum(p.square().sum() for p in model.parameters()))
    assert rules_of(model, wrapper.optimizer.param_groups) == before
    assert torch.equal(model.backbone.vit.blocks[0].qkv.weight, frozen)
    steps = {float(state['step']) for state in wrapper.optimizer.state.values()}
    assert steps == {3.0}


def test_a_step_moves_each_layer_by_its_rate():
    model = Model(Backbone(2))
    wrapper = wrapper_of(
        model, optimizer=dict(type='SGD', lr=LR, weight_decay=0.0), layer_decay=0.5
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper.update_params(sum(p.sum() for p in model.parameters()))
    for name, scale in (
        ('vit.reg_token', 0.125),
        ('vit.blocks.0.qkv.bias', 0.25),
        ('pyramid.bias', 1),
    ):
        moved = before[f'backbone.{name}'] - model.get_parameter(f'backbone.{name}')
        torch.testing.assert_close(moved, torch.full_like(moved, LR * scale), rtol=1e-3, atol=0)


# config, number of blocks, and the layer of some parameters
BACKBONES = {
    'Swin': (
        dict(
            type='OneFormerSwinTransformer',
            embed_dims=8,
            depths=(1, 2, 1, 1),
            num_heads=(1, 2, 2, 2),
            window_size=2,
        ),
        5,
        {
            'patch_embed.projection.weight': 0,
            'stages.0.blocks.0.norm1.weight': 1,
            'stages.0.downsample.reduction.weight': 1,
            'stages.1.blocks.0.attn.w_msa.relative_position_bias_table': 2,
            'stages.1.blocks.1.ffn.layers.0.0.weight': 3,
            'stages.3.blocks.0.attn.w_msa.qkv.bias': 5,
            'norm0.weight': 6,
            'norm3.bias': 6,
        },
    ),
    'ConvNeXt': (  # as mmpretrain and mmdet count it: 6 layers, since the third stage is short
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 4, 1], channels=[4, 8, 8, 8]),
            out_indices=[0, 1, 2, 3],
            gap_before_final_norm=False,
        ),
        6,
        {
            'downsample_layers.0.0.weight': 0,
            'stages.0.0.gamma': 1,
            'downsample_layers.1.1.weight': 2,
            'stages.1.0.norm.weight': 2,
            'stages.2.2.depthwise_conv.weight': 3,
            'stages.2.3.depthwise_conv.weight': 4,
            'stages.3.0.pointwise_conv1.weight': 6,
            'norm3.weight': 7,
        },
    ),
    'ResNet': (
        dict(
            type='OneFormerResNet',
            depth=50,
            base_channels=4,
            stem_channels=4,
            norm_cfg=dict(type='BN'),
        ),
        16,
        {
            'conv1.weight': 0,
            'bn1.weight': 0,
            'layer1.0.downsample.0.weight': 1,
            'layer1.2.conv3.weight': 3,
            'layer2.0.conv1.weight': 4,
            'layer4.2.bn3.bias': 16,
        },
    ),
    'EfficientNet-Lite0': (
        dict(type='EfficientNetLite0', pretrained=False),
        16,
        {
            'layers.0.conv.weight': 0,
            'layers.1.0.depthwise_conv.conv.weight': 1,
            'layers.2.0.linear_conv.conv.weight': 2,
            'layers.5.0.linear_conv.bn.weight': None,
        },
    ),
    'DiNAT': (
        dict(
            type='DiNAT',
            embed_dims=4,
            depths=(1, 2),
            num_heads=(1, 2),
            kernel_size=3,
            dilations=((1,), (1, 2)),
            mlp_ratio=2.0,
            drop_path_rate=0.0,
            out_indices=(0, 1),
        ),
        3,
        {
            'patch_embed.proj.0.weight': 0,
            'patch_embed.norm.weight': 0,
            'levels.0.blocks.0.attn.rpb': 1,
            'levels.0.downsample.reduction.weight': 1,
            'levels.1.blocks.1.mlp.fc1.weight': 3,
            'norm0.weight': 4,
            'norm1.weight': 4,
        },
    ),
}


VITS = {
    arch: (
        dict(type='PlainViT', arch=arch, embed_dims=64, depth=3, num_heads=1),
        3,
        {
            **dict.fromkeys(('cls_token', 'reg_token', 'patch_embed.proj.weight'), 0),
            table: 0,
            'blocks.0.attn.proj.weight': 1,
            'blocks.2.mlp.fc2.bias': 3,
            'norm.weight': 4,
            'pyramid.': 4,
        },
    )
    for arch, table in (('dinov2_s_reg4', 'pos_embed'), ('dinov3_s', 'cls_token'))
}


@pytest.mark.parametrize('arch', VITS)
def test_the_layers_of_dinos_transformers_are_known_and_timms_norms_not_decayed(arch):
    pytest.importorskip('timm', reason='installed by requirements/tests.txt')
    config, blocks, expected = VITS[arch]
    backbone = MODELS.build(config)
    layers, count = layers_of(backbone)
    assert count == blocks and layers.keys() == {name for name, _ in backbone.named_parameters()}
    for start, layer in expected.items():
        found = {layers[name] for name in layers if name.startswith(start)}
        assert found == {layer}, start
    model = Model(backbone)
    rules = rules_of(model, wrapper_of(model, layer_decay=0.5).optimizer.param_groups)
    for name, layer in layers.items():
        scale, decay = rules[f'backbone.{name}']
        assert scale == 0.5 ** (blocks + 1 - layer), name
        is_norm = 'norm' in name or name.endswith(('_token', 'pos_embed'))
        assert (decay == 0) == is_norm or name.startswith('pyramid.'), name


@pytest.mark.parametrize('name', BACKBONES)
def test_the_layers_of_each_backbone_are_known(name):
    config, blocks, expected = BACKBONES[name]
    backbone = MODELS.build(config)
    layers, count = layers_of(backbone)
    assert count == blocks
    assert layers.keys() == {name for name, _ in backbone.named_parameters()}
    assert set(layers.values()) <= set(range(blocks + 2))
    told = {key: layer for key, layer in expected.items() if layer is not None}
    assert {key: layers[key] for key in told} == told
    model = Model(backbone)
    rules = rules_of(model, wrapper_of(model, layer_decay=0.9).optimizer.param_groups)
    for key, layer in layers.items():
        if f'backbone.{key}' in rules:  # not frozen
            assert rules[f'backbone.{key}'][0] == pytest.approx(0.9 ** (blocks + 1 - layer)), key


def test_lists_inside_of_a_block_are_not_blocks():
    names = [
        'pos',
        *(f'layers.{i}.ffn.layers.{j}.0.weight' for i in (0, 1) for j in (0, 1)),
        'norm',
    ]
    assert layers_by_name(names) == (dict(zip(names, [0, 1, 1, 2, 2, 3])), 2)


def test_a_network_whose_later_parts_have_other_names_tells_no_layers():
    names = ['conv1.weight', 'layer1.0.conv1.weight', 'stage2.0.branches.weight', 'stage3.0.weight']
    assert layers_by_name(names) == ({}, 0)  # HRNet's


@pytest.mark.parametrize(
    ('name', 'blocks'),
    [('convnextv2_atto', 12), ('resnet18', 8)],
)
def test_the_layers_of_a_timm_backbone_are_known(name, blocks):
    pytest.importorskip('timm', reason='installed by requirements/tests.txt')
    backbone = MODELS.build(dict(type='TimmBackbone', model_name=name))
    layers, count = layers_of(backbone)
    assert count == blocks and set(layers.values()) == set(range(blocks + 1))
    assert layers.keys() == {key for key, _ in backbone.named_parameters()}


def test_a_pyramid_has_no_blocks_wherever_it_stands():
    names = ['pyramid.levels.0.0.weight', 'cls_token', 'blocks.0.qkv.weight', 'blocks.1.qkv.weight']
    assert layers_by_name(names) == (dict(zip(names, [3, 0, 1, 2])), 2)
    names = names[1:] + names[:1]
    assert layers_by_name(names) == (dict(zip(names, [0, 1, 2, 3])), 2)


def test_the_rate_of_the_backbone_multiplies_the_decay():
    model = Model(Backbone(1))
    options = dict(layer_decay=0.5, backbone_lr_mult=0.1)
    rules = rules_of(model, wrapper_of(model, **options).optimizer.param_groups)
    assert rules['backbone.pyramid.bias'][0] == pytest.approx(0.1)
    assert rules['backbone.vit.cls_token'][0] == pytest.approx(0.025)
    assert rules['panoptic_head.task_token'][0] == 1


def test_without_a_decay_groups_are_as_ever():
    model = Model(Backbone(2))
    groups = wrapper_of(model, backbone_lr_mult=0.1).optimizer.param_groups
    assert len(groups) == 4 and all('layer' not in group for group in groups)
    for name, (scale, _) in rules_of(model, groups).items():
        assert scale == pytest.approx(0.1 if name.startswith('backbone.') else 1)


def test_a_parameter_of_two_modules_is_in_one_group():
    model = Model(Backbone(1))
    model.panoptic_head.tied = nn.Linear(4, 4)
    model.panoptic_head.other = nn.Linear(4, 4)
    model.panoptic_head.other.weight = model.panoptic_head.tied.weight
    for options in (dict(layer_decay=0.5), dict(backbone_lr_mult=0.1)):
        rules_of(model, wrapper_of(model, **options).optimizer.param_groups)


def test_the_table_has_a_row_for_each_group(caplog):
    model = Model(Backbone(1))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    wrapper = wrapper_of(model, layer_decay=0.5)
    logger.removeHandler(caplog.handler)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    table = group_table(wrapper.optimizer.param_groups, names)
    assert table in caplog.text  # in the log file
    lines = [line.split() for line in table.splitlines()]
    assert len(lines) == 1 + len(wrapper.optimizer.param_groups)
    assert lines[1][:5] == ['0', '2.500e-04', '0', '3', '56']
    assert lines[1][5:] == ['backbone.vit.cls_token,', 'backbone.vit.reg_token']
    assert lines[-1][0] == 'head'
    assert sum(int(line[3]) for line in lines[1:]) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(layer_decay=0), 'layer_decay is 0: it takes a factor'),
        (dict(layer_decay=1.2), 'layer_decay is 1.2'),
        (dict(layer_decay='0.8'), "layer_decay is '0.8'"),
        (dict(norm_decay_mult=0.0, backbone_lr_mult=0.1), 'paramwise_cfg has norm_decay_mult'),
    ],
)
def test_options_that_are_not_read_or_not_valid_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        wrapper_of(Model(Backbone(1)), **options)


def test_a_backbone_without_layers_is_named():
    model = Model(nn.Sequential(nn.Conv2d(3, 4, 1)))
    with pytest.raises(
        ValueError, match=r'Sequential \(0.weight, 0.bias, ...\) do not tell layers'
    ):
        wrapper_of(model, layer_decay=0.8)
    groups = wrapper_of(model, layer_decay=1.0).optimizer.param_groups  # for TwoStagePolyLR
    assert {group['layer'] for group in groups} == {0, None}
