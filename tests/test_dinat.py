"""DiNAT: its attention against the definition, its features against Hugging Face's."""

import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from dinat_peer import (
    TINY,
    over_slow_loops,
    slow_attention,
    slow_logits,
    slow_sum,
    tiny_peer_config,
)
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch import nn

from oneformer.backbones.natten_attention import natten_attention, natten_operators
from oneformer.backbones.neighborhood_attention import NeighborhoodAttention, pixel_order
from oneformer.tasks import Prompts
from oneformer.training.optimizer import is_decayed
from oneformer.weights import Weights, fit


@pytest.mark.parametrize(
    'height, width, kernel_size, dilation',
    [
        (12, 19, 3, 1),  # even and odd, several tiles
        (8, 16, 5, 1),  # whole tiles
        (21, 8, 3, 2),  # subsequences of two lengths
        (18, 20, 3, 5),
        (5, 5, 5, 1),  # as large as the window
        (3, 4, 5, 1),  # smaller than the window
        (2, 13, 3, 3),  # smaller along one axis
        (7, 4, 3, 4),
        (1, 1, 3, 2),
    ],
)
def test_attention_equals_the_definition(height, width, kernel_size, dilation):
    torch.manual_seed(0)
    module = NeighborhoodAttention(8, 2, kernel_size, dilation).double()
    nn.init.normal_(module.rpb)
    x = torch.randn(2, height, width, 8, dtype=torch.double, requires_grad=True)
    weight = torch.randn_like(x)
    trained = [x, *module.parameters()]
    fast, slow = module(x), slow_attention(module, x)
    torch.testing.assert_close(fast, slow)
    fast_gradients = torch.autograd.grad((fast * weight).sum(), trained)
    slow_gradients = torch.autograd.grad((slow * weight).sum(), trained)
    for fast_gradient, slow_gradient in zip(fast_gradients, slow_gradients):
        torch.testing.assert_close(fast_gradient, slow_gradient)
    with torch.no_grad():  # another kernel of torch
        torch.testing.assert_close(module(x), slow)


def test_attention_with_the_published_kernel():
    torch.manual_seed(0)
    module = NeighborhoodAttention(8, 2, 11, 2)
    nn.init.normal_(module.rpb)
    x = torch.randn(1, 20, 27, 8)
    with torch.inference_mode():
        torch.testing.assert_close(module(x), slow_attention(module, x), rtol=1e-4, atol=1e-5)


def test_training_after_inference_on_the_same_size():
    module = NeighborhoodAttention(8, 2, 3, 1)
    x = torch.randn(1, 10, 11, 8)
    with torch.inference_mode():
        module(x)
    module(x).sum().backward()
    assert module.qkv.weight.grad.abs().sum() > 0


def test_half_precision_stays_finite():
    module = NeighborhoodAttention(8, 2, 3, 2)
    x = torch.randn(1, 5, 17, 8, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        attended = module(x)
    attended.float().sum().backward()
    assert attended.dtype == torch.bfloat16
    assert attended.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize(
    'kernel_size, channels, message', [(4, 8, 'odd, got 4'), (3, 9, '9 channels .* 2 heads')]
)
def test_attention_says_what_does_not_fit(kernel_size, channels, message):
    with pytest.raises(ValueError, match=message):
        NeighborhoodAttention(channels, 2, kernel_size, 1)


def test_dilations_name_every_block():
    with pytest.raises(ValueError, match=r'depths are \[2, 1, 3, 1\].* has \[2, 1, 2, 1\]'):
        MODELS.build(dict(TINY, depths=[2, 1, 3, 1]))


@pytest.fixture
def peer():
    """Hugging Face's DiNAT of the shape of TINY."""
    from transformers import DinatBackbone

    with over_slow_loops():
        torch.manual_seed(0)
        backbone = DinatBackbone(tiny_peer_config()).eval()
        for parameter in backbone.parameters():
            nn.init.normal_(parameter, std=0.2)
        yield backbone


def test_features_equal_hugging_face(peer):
    ours = MODELS.build(TINY).eval()
    ours.load_state_dict(fit(Weights.of(peer.state_dict(), 'FILE'), ours, 'backbone').tensors)
    images = torch.randn(2, 3, 61, 75)
    with torch.no_grad():
        features, expected = ours(images), peer(images).feature_maps
    assert [f.shape[1:] for f in features] == [(16, 16, 19), (32, 8, 10), (64, 4, 5), (128, 2, 3)]
    for feature, expected_feature in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, expected_feature, rtol=1e-4, atol=1e-4)


def test_only_the_levels_asked_for_have_a_norm():
    torch.manual_seed(0)
    whole = MODELS.build(TINY).eval()
    part = MODELS.build(dict(TINY, out_indices=(1, 3))).eval()
    assert [name for name, _ in part.named_children() if 'norm' in name] == ['norm1', 'norm3']
    weights = {k: v for k, v in whole.state_dict().items() if not re.match(r'norm[02]\.', k)}
    part.load_state_dict(weights)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        everything = whole(images)
        for feature, i in zip(part(images), (1, 3), strict=True):
            torch.testing.assert_close(feature, everything[i])


def test_dinat_l_has_the_originals_names_and_shapes(root_dir, config_dir):
    config = Config.fromfile(config_dir / '_base_/models/oneformer_dinat-l.py').model.backbone
    with torch.device('meta'):
        backbone = MODELS.build(dict(config, init_cfg=None))
    lines = (root_dir / 'tests/data/original_dinat-l_ade20k.txt').read_text().splitlines()
    original = dict(line.split('\t') for line in lines if line.startswith('backbone.'))
    ours = {f'backbone.{k}': str(list(v.shape)) for k, v in backbone.state_dict().items()}
    assert ours == original
    rates = [block.drop_path.drop_prob for level in backbone.levels for block in level.blocks]
    assert rates == pytest.approx([0.3 * i / 29 for i in range(30)])


def test_initialisation_is_the_originals():
    torch.manual_seed(0)
    backbone = MODELS.build(dict(TINY, embed_dims=64))
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert not module.bias.any()
        if isinstance(module, NeighborhoodAttention):
            assert 0.01 < module.rpb.std().item() < 0.03


def test_relative_bias_is_decayed_as_in_the_original():
    module = NeighborhoodAttention(8, 2, 3, 1)
    assert is_decayed(module, 'backbone.levels.0.blocks.0.attn', 'rpb')


def test_a_training_step_inside_oneformer(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    cfg.backbone = TINY
    cfg.panoptic_head.in_channels = [16, 32, 64, 128]
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    model.init_weights()
    target_map = np.arange(64 * 64, dtype=np.int16).reshape(1, 64, 64) // 2048 + 1
    sample = DetDataSample(
        metainfo=dict(
            img_id=1,
            img_path='1.jpg',
            task='panoptic',
            texts=Prompts().targets([0, 4], [f'class {i}' for i in range(8)]),
            filler=Prompts().filler_of('panoptic'),
            batch_input_shape=(64, 64),
        ),
        gt_instances=InstanceData(labels=torch.tensor([0, 4])),
        gt_target_map=PixelData(sem_seg=torch.from_numpy(target_map)),
    )
    losses = model(torch.randn(2, 3, 64, 64), [sample, sample], mode='loss')
    sum(losses.values()).backward()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_order_of_pixels_is_found_once_for_a_size(monkeypatch):
    pixel_order.cache_clear()
    module = NeighborhoodAttention(8, 2, 3, 2)
    sorts, argsort = [], torch.Tensor.argsort
    monkeypatch.setattr(
        torch.Tensor, 'argsort', lambda self: sorts.append(len(self)) or argsort(self)
    )
    with torch.inference_mode():
        module(torch.randn(1, 9, 11, 8))
    x = torch.randn(2, 9, 11, 8, requires_grad=True)
    module(x).sum().backward()
    module(torch.randn(1, 11, 9, 8))
    assert sorts == [99, 99]


def fake_natten(monkeypatch, **functions):
    """A package that has these functions."""
    natten_operators.cache_clear()
    module = ModuleType('natten.functional')
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, 'natten', ModuleType('natten'))
    monkeypatch.setitem(sys.modules, 'natten.functional', module)


def assert_natten_is_ours(height, width, kernel_size, dilation, dtype=torch.float32):
    """Values and gradients."""
    torch.manual_seed(0)
    ours = NeighborhoodAttention(8, 2, kernel_size, dilation).to(dtype)
    nn.init.normal_(ours.rpb)
    theirs = NeighborhoodAttention(8, 2, kernel_size, dilation, natten_attention).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, height, width, 8, dtype=dtype, requires_grad=True)
    weight, found = torch.randn_like(x), []
    for module in (ours, theirs):
        y = module(x)
        gradients = torch.autograd.grad((y * weight).sum(), [x, *module.parameters()])
        found.append([y, *gradients])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


SIZES = pytest.mark.parametrize('size', [(12, 9, 3, 1), (11, 8, 3, 2), (3, 4, 5, 1), (2, 7, 3, 3)])


@SIZES
@pytest.mark.parametrize('generation', ['0.14', '0.17'])
def test_operators_like_nattens_give_our_attention(size, generation, monkeypatch):
    """Written pixel by pixel, in the layouts of two generations of NATTEN."""
    if generation == '0.17':
        fake_natten(
            monkeypatch,
            na2d_qk=lambda q, k, kernel_size, dilation=1, rpb=None: slow_logits(
                q, k, rpb, kernel_size, dilation
            ),
            na2d_av=slow_sum,
        )
    else:
        fake_natten(monkeypatch, natten2dqkrpb=slow_logits, natten2dav=slow_sum)
    try:
        assert_natten_is_ours(*size, dtype=torch.double)
    finally:
        natten_operators.cache_clear()


@SIZES
def test_natten_gives_our_attention(size):
    try:
        natten_operators()
    except (ModuleNotFoundError, ValueError) as error:
        pytest.skip(str(error))
    assert_natten_is_ours(*size)


def test_natten_is_refused_where_it_is_missing_or_has_no_biases(monkeypatch):
    monkeypatch.setitem(sys.modules, 'natten', None)
    monkeypatch.delitem(sys.modules, 'natten.functional', raising=False)
    natten_operators.cache_clear()
    with pytest.raises(ModuleNotFoundError, match='model.backbone.natten: NATTEN cannot be import'):
        MODELS.build(dict(TINY, natten=True))
    fake_natten(monkeypatch, na2d=None)
    monkeypatch.setattr('oneformer.backbones.natten_attention.version', lambda name: '0.21.7')
    with pytest.raises(ValueError, match='NATTEN 0.21.7 has no relative position biases'):
        MODELS.build(dict(TINY, natten=True))
    natten_operators.cache_clear()
