"""Maps as they are, behind a projection: no deformable attention, for any backbone."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import Runner
from torch.nn import functional as F
from toy_model import build, toy_config

from oneformer.host.errors import CheckpointError
from oneformer.kernels.attention_paths import has_deformable_attention, want_path
from oneformer.models import IdentityPixelDecoder, pixel_decoder
from oneformer.weights import read
from oneformer.weights.architecture import model_config
from oneformer.weights.shapes import shapes_of


def maps(channels, batch=2, side=16):
    return [torch.randn(batch, c, side // 2**i, side // 2**i) for i, c in enumerate(channels)]


def test_outputs_are_projections_and_nothing_else():
    torch.manual_seed(0)
    channels = (6, 8, 10, 12)
    decoder = IdentityPixelDecoder(channels, 32, 16)
    decoder.init_weights()
    feats = maps(channels)
    features, levels = decoder(feats)

    def project(conv, feat):
        flat = torch.einsum('bchw,oc->bohw', feat, conv.conv.weight[:, :, 0, 0])
        return F.group_norm(flat, 32, conv.gn.weight, conv.gn.bias)

    for level, feat, conv in zip(levels, feats[:0:-1], decoder.input_convs, strict=True):
        torch.testing.assert_close(level, project(conv, feat))
    fine = project(decoder.lateral_convs[0], feats[0])
    mask = decoder.mask_feature
    expected = torch.einsum('bchw,oc->bohw', fine, mask.weight[:, :, 0, 0])
    torch.testing.assert_close(features, expected + mask.bias[:, None, None])
    assert [tuple(level.shape) for level in levels] == [
        (2, 32, 2, 2), (2, 32, 4, 4), (2, 32, 8, 8),
    ]  # fmt: skip
    assert features.shape == (2, 16, 16, 16)


def test_it_computes_in_float32_under_autocast():
    decoder = IdentityPixelDecoder((4, 4, 4, 4), 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        features, levels = decoder([feat.bfloat16() for feat in maps((4, 4, 4, 4))])
    assert {features.dtype, *(level.dtype for level in levels)} == {torch.float32}


def test_names_are_those_of_the_other_decoder(config_dir, tiny_set):
    model = build(toy_config(config_dir, tiny_set).model)
    other = dict(model.panoptic_head.pixel_decoder.state_dict())
    ours = IdentityPixelDecoder((24, 40, 112, 320), 32, 32).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: other[name].shape for name in ours
    }


@pytest.fixture
def toy(config_dir, tiny_set):
    cfg = toy_config(config_dir, tiny_set)
    cfg.model.panoptic_head.pixel_decoder = dict(type='IdentityPixelDecoder')
    cfg.model.panoptic_head.transformer_decoder.num_layers = 3  # a level each
    return cfg


BACKBONES = {
    'EfficientNet-Lite0': (dict(type='EfficientNetLite0', pretrained=False), [24, 40, 112, 320]),
    'Swin': (
        dict(
            type='OneFormerSwinTransformer',
            embed_dims=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 1, 1),
            window_size=2,
        ),
        [8, 16, 32, 64],
    ),
    'ConvNeXt': (
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 8, 8]),
            out_indices=[0, 1, 2, 3],
            gap_before_final_norm=False,
        ),
        [4, 8, 8, 8],
    ),
    'ResNet': (
        dict(
            type='OneFormerResNet',
            depth=50,
            base_channels=4,
            stem_channels=4,
            norm_cfg=dict(type='BN'),
        ),
        [16, 32, 64, 128],
    ),
    'DiNAT': (
        dict(
            type='DiNAT',
            embed_dims=4,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 1, 1),
            kernel_size=3,
            dilations=((1,), (1,), (1,), (1,)),
            mlp_ratio=2.0,
            drop_path_rate=0.0,
        ),
        [4, 8, 16, 32],
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_a_model_with_any_backbone_trains_without_deformable_attention(name, toy, monkeypatch):
    toy.model.backbone, toy.model.panoptic_head.in_channels = BACKBONES[name]
    monkeypatch.setattr(pixel_decoder, 'DeformableAttention', None)
    model = build(toy.model)
    batch = model.data_preprocessor(next(iter(Runner.build_dataloader(toy.train_dataloader))), True)
    losses = model(**batch, mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    decoder = dict(model.panoptic_head.pixel_decoder.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.values())
    model.eval()
    with torch.no_grad():
        outputs = model(batch['inputs'], batch['data_samples'], mode='tensor')
    assert outputs['mask_preds'].shape[-2:] == (16, 16)


def test_a_path_of_deformable_attention_is_refused_where_there_is_none(toy):
    model = build(toy.model)
    assert not has_deformable_attention(model)
    assert want_path(model, 'auto') == 'auto'
    with pytest.raises(ValueError, match='the model has no deformable attention'):
        want_path(model, 'torch')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_channels=(8, 8, 8)), r'takes 4 maps.* has 3: \[8, 8, 8\]'),
        (
            dict(in_channels=(8,) * 4, encoder=dict(num_layers=6), act_cfg=None),
            'takes no act_cfg, encoder: write .*_delete_=True',
        ),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='IdentityPixelDecoder', **arguments))


def test_fewer_decoder_layers_than_maps_are_refused(toy):
    toy.model.panoptic_head.transformer_decoder.num_layers = 2
    with pytest.raises(ValueError, match='num_layers is 2: with IdentityPixelDecoder it takes at'):
        MODELS.build(toy.model)


def test_weights_alone_do_not_tell_the_heads_of_such_a_model(toy, tmp_path):
    model = build(toy.model)
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    with pytest.raises(CheckpointError, match='IdentityPixelDecoder: give the config'):
        model_config(shapes_of(read(path).tensors))
