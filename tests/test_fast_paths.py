"""Every fast path computes what its plain reference does, forward and backward."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmcv.ops import point_sample
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmdet.models.layers import SinePositionalEncoding
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from plain_paths import use_plain_paths
from torch import nn

from oneformer.backbones.dinat import MLP
from oneformer.kernels import chunks, position_attention, recomputing
from oneformer.kernels.attention_levels import Levels
from oneformer.kernels.dropout import dropout, relu_dropout
from oneformer.kernels.group_norm import make_exact
from oneformer.kernels.point_gathering import gather_points, sample_pixels
from oneformer.kernels.position_attention import PositionMemory, attend_positions
from oneformer.kernels.positional_encoding import positional_encoding, project_position
from oneformer.models.targets import SampledTargets
from oneformer.models.transformer import FeedForward


def leaves_and_gradients(function, inputs, upstream):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    output.backward(upstream)
    return output.detach(), [leaf.grad for leaf in leaves]


@pytest.mark.parametrize(
    'shapes', [[(2, 3), (4, 6), (8, 12)], [(1, 1), (1, 7), (5, 1)], [(7, 5)]], ids=str
)
@pytest.mark.parametrize('spread', [0.5, 5.0, 100.0])
def test_gathered_points_equal_grid_sampling(shapes, spread):
    torch.manual_seed(0)
    B, M, P, C, L = 2, 3, 4, 8, len(shapes)
    levels = Levels.of(shapes, torch.device('cpu'))
    N = len(levels.centres)
    inputs = [
        torch.randn(B, N, M, C),
        torch.randn(B, N, M, L, P, 2) * spread,
        torch.randn(B, N, M, L * P),
    ]
    upstream = torch.randn(B, N, M, C)

    def plain(value, offsets, scores):
        locations = levels.centres[:, None, None, None] + offsets / levels.sizes.flip(1)[:, None]
        weights = scores.softmax(-1).unflatten(-1, (L, P))
        sampled = multi_scale_deformable_attn_pytorch(value, levels.sizes, locations, weights)
        return sampled.unflatten(-1, (M, C))

    def fast(value, offsets, scores):
        return gather_points(value, shapes, levels.centres, offsets, scores)

    expected, references = leaves_and_gradients(plain, inputs, upstream)
    output, gradients = leaves_and_gradients(fast, inputs, upstream)
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)
    for gradient, reference in zip(gradients, references):
        assert reference.norm() > 0 or spread == 100  # where all points lie outside
        assert (gradient - reference).norm() <= 1e-3 * reference.norm()


def test_gathered_points_that_are_not_numbers_give_no_number():
    offsets = torch.zeros(1, 4, 1, 1, 1, 2)
    offsets[0, 2] = torch.nan
    levels = Levels.of([(2, 2)], torch.device('cpu'))
    value = torch.ones(1, 4, 1, 2)
    output = gather_points(value, levels.shapes, levels.centres, offsets, torch.zeros(1, 4, 1, 1))
    assert output.isnan().any(-1).flatten().tolist() == [False, False, True, False]


@pytest.mark.parametrize('size', [(1, 1), (3, 8), (16, 5)])
def test_sampled_pixels_equal_point_sampling(size):
    torch.manual_seed(0)
    corners = torch.cartesian_prod(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    points = torch.cat([torch.rand(200, 2), corners])
    features = torch.randn(1, 6, *size)
    expected = point_sample(features, points[None])[0].mT
    for layout in (torch.contiguous_format, torch.channels_last):
        sampled = sample_pixels(features.contiguous(memory_format=layout), points)
        torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=0)


def test_sampled_targets_equal_point_sampling_of_their_masks():
    torch.manual_seed(0)
    target_map = torch.randint(-1, 5, (7, 9), dtype=torch.int16)
    points = torch.rand(3, 40, 2)
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    points[:, :3] = corners
    sampled = SampledTargets(target_map, points)
    masks = torch.stack([target_map == k for k in range(1, 5)])[:, None].float()
    expected = torch.stack([point_sample(masks, p.expand(4, -1, -1))[:, 0] for p in points])
    torch.testing.assert_close(sampled.all_masks(4), expected, atol=1e-5, rtol=0)
    own = SampledTargets(target_map, points[:, None].expand(-1, 4, -1, -1)).own_masks()
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=0)
    unknown = (target_map < 0)[None, None].float().expand(3, -1, -1, -1)
    share = point_sample(unknown, points)[:, 0]
    assert torch.equal(sampled.valid(), (share == 0).float())


@pytest.mark.parametrize('size', [(1, 1), (3, 8), (16, 5)])
def test_positional_encoding_is_mmdets_and_its_projection_a_linear_layer(size):
    expected = SinePositionalEncoding(8, normalize=True)(None, input=torch.zeros(1, 1, *size))
    code = positional_encoding(*size, 16, torch.device('cpu'))
    torch.testing.assert_close(code, expected[0].flatten(1).mT, atol=1e-6, rtol=0)
    weight, bias = torch.randn(6, 16), torch.randn(6)
    projected = project_position(*size, weight, bias)
    torch.testing.assert_close(projected, F.linear(code, weight, bias), atol=1e-5, rtol=0)


def attend_values(query, key, rows, columns):
    value = (rows[:, :, None] + columns[:, None]).flatten(1, 2).expand_as(key)
    return F.scaled_dot_product_attention(query, key, value)


def test_attention_to_positions_equals_attention_to_their_values():
    torch.manual_seed(0)
    B, M, Q, h, w, C = 2, 3, 5, 4, 7, 8
    inputs = [
        torch.randn(*shape) for shape in ((B, M, Q, C), (B, M, h * w, C), (M, h, C), (M, w, C))
    ]
    upstream = torch.randn(B, M, Q, C)

    def fast(query, *memory):
        return attend_positions(query, PositionMemory(*memory))

    expected, references = leaves_and_gradients(attend_values, inputs, upstream)
    output, gradients = leaves_and_gradients(fast, inputs, upstream)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
    for gradient, reference in zip(gradients, references):
        assert (gradient - reference).norm() <= 1e-3 * reference.norm()


@pytest.mark.parametrize('rows', (1, 3, 7))
def test_attention_to_positions_of_some_queries_at_a_time_is_the_same(rows, monkeypatch):
    monkeypatch.setattr(position_attention, 'LEAST_ROWS', rows)
    monkeypatch.setattr(position_attention, 'WEIGHTS', 1)
    taken, compute = [], position_attention._Head.compute

    def recorded(*args):
        weights, kept = compute(*args)
        taken.append(len(weights))
        return weights, kept

    monkeypatch.setattr(position_attention._Head, 'compute', recorded)
    torch.manual_seed(0)
    query, *memory = (
        torch.randn(*shape) for shape in ((2, 3, 7, 8), (2, 3, 28, 8), (3, 4, 8), (3, 7, 8))
    )
    found = attend_positions(query, PositionMemory(*memory))
    torch.testing.assert_close(found, attend_values(query, *memory), atol=1e-5, rtol=0)
    assert max(taken) == rows and sum(taken) == 2 * 3 * 7
    # a gradient, and dropout, take all of a head
    taken.clear()
    attend_positions(query, PositionMemory(*memory), 0.5)
    attend_positions(query.requires_grad_(), PositionMemory(*memory))
    assert taken == [7] * 12


def test_attention_to_positions_drops_the_same_forward_and_backward():
    torch.manual_seed(0)
    inputs = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((1, 2, 3, 4), (1, 2, 6, 4), (2, 2, 4), (2, 3, 4))
    ]

    def dropped(query, *memory):
        torch.manual_seed(1)
        return attend_positions(query, PositionMemory(*memory), dropout=0.4)

    assert not torch.allclose(
        dropped(*inputs), attend_positions(inputs[0], PositionMemory(*inputs[1:]))
    )
    assert torch.autograd.gradcheck(dropped, inputs)


def test_dropped_attention_is_right_on_average():
    torch.manual_seed(0)
    query, *memory = (
        torch.randn(*shape) for shape in ((1, 1, 4, 4), (1, 1, 6, 4), (1, 2, 4), (1, 3, 4))
    )
    memory = PositionMemory(*memory)
    draws = torch.stack([attend_positions(query, memory, 0.25) for _ in range(4000)])
    error = draws.mean(0) - attend_positions(query, memory)
    assert error.abs().max() < 5 * draws.std(0).max() / 4000**0.5


def test_dropout_keeps_the_share_and_the_mean_it_should():
    torch.manual_seed(0)
    x = torch.full((1000, 999), 2.0, requires_grad=True)  # no multiple of four numbers
    y = dropout(x, 0.1, training=True)
    kept = y > 0
    assert torch.equal(y[kept], torch.full_like(y[kept], 2 / (1 - 6554 / 65536)))
    assert abs((~kept).double().mean() - 0.1) < 5 * (0.09 / x.numel()) ** 0.5
    # every position of a 64-bit number is dropped alike
    for start in range(4):
        share = (~kept).flatten()[start::4].double().mean()
        assert abs(share - 0.1) < 5 * (0.09 * 4 / x.numel()) ** 0.5
    y.sum().backward()
    assert torch.equal(x.grad, y.detach() / 2)
    assert dropout(x, 0.1, training=False) is x


def test_relu_and_dropout_in_one_have_the_gradient_of_both():
    torch.manual_seed(0)
    x = torch.randn(64, 100, requires_grad=True)
    y = relu_dropout(x * 1, 0.3, training=True)
    scale = 1 / (1 - round(0.3 * 65536) / 65536)
    passed = y.detach() > 0
    assert not (passed & (x < 0)).any()
    assert abs(passed.sum() / (x > 0).sum() - 0.7) < 0.05
    torch.testing.assert_close(y, torch.where(passed, x * scale, 0))
    y.sum().backward()
    torch.testing.assert_close(x.grad, passed * scale)


@pytest.mark.parametrize(
    'spread', [1, 0.01]
)  # of values around 3: torch's own has 10 % of an error
@pytest.mark.parametrize('shape', [(2, 64, 64, 96), (1, 32, 5, 3), (1, 32, 1, 1)])
def test_group_norm_is_exact_on_maps_with_channels_last(shape, spread):
    torch.manual_seed(0)
    plain = nn.GroupNorm(8, shape[1])
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    block = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(plain))
    make_exact(block)
    x = (torch.randn(shape) * spread + 3).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        ours = block[1][0](x)
        exact = copy.deepcopy(plain).double()(x.double().contiguous())
    assert ours.is_contiguous(memory_format=torch.channels_last)
    # float32 holds values of 3 to 2e-7, which is 2e-5 of what they differ by (torch: 1e-2 and more)
    assert (ours - exact).abs().max() <= 5e-5 * exact.abs().max()
    assert torch.equal(block[1][0](x), plain(x))  # with gradients it is torch's own


def test_recomputed_activations_give_the_same_gradients(config_dir):
    config = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    config = dict(config.panoptic_head.pixel_decoder, feat_channels=64, out_channels=64)
    config['encoder']['layer_cfg']['self_attn_cfg']['dropout'] = 0.1
    feats = [torch.randn(2, c, s, s) for c, s in ((24, 16), (40, 8), (112, 4), (320, 2))]
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        decoder = MODELS.build(
            dict(config, in_channels=[24, 40, 112, 320], with_cp=with_cp)
        ).train()
        torch.manual_seed(1)  # the same dropout, also the second time
        mask_features, maps = decoder(feats)
        (mask_features.square().sum() + sum(level.sum() for level in maps)).backward()
        gradients.append({name: p.grad for name, p in decoder.named_parameters()})
    assert sum(gradient.norm() > 0 for gradient in gradients[0].values()) > 40
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def keyed_points(iteration):
    """The same points for the same image, purpose and iteration."""

    def sample_points(num_sets, num_points, device, key):
        purpose, img_id = key
        purpose = ['match', 'candidates', 'random'].index(purpose)
        seed = (iteration[0] * 100 + int(img_id)) * 3 + purpose
        return torch.rand(num_sets, num_points, 2, generator=torch.Generator().manual_seed(seed))

    return sample_points


def test_a_feed_forward_network_in_parts_is_mmcvs(monkeypatch):
    monkeypatch.setattr(chunks, 'ROWS', 3)
    monkeypatch.setattr(chunks, 'TRAINING_ROWS', 4)
    torch.manual_seed(0)
    plain, fast = (kind(8, 16, ffn_drop=0.0) for kind in (FFN, FeedForward))
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 8)
    results = []
    for network in (plain, fast):
        given = x.clone().requires_grad_()
        output = network(given)
        output.square().sum().backward()
        with torch.no_grad():
            alone = network.eval()(x)
        results.append([output, alone, given.grad, *(p.grad for p in network.parameters())])
    for expected, ours in zip(*results):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize('iterations', [3, pytest.param(200, marks=pytest.mark.long)])
def test_fast_and_plain_paths_have_the_same_loss_curve(
    iterations, double, config_dir, tiny_set, monkeypatch
):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(tiny_set)))
    np.random.seed(0)
    batches = [
        pseudo_collate([dataset[(4 * i + k) % len(dataset)] for k in range(4)])
        for i in range(min(iterations, 20))
    ]
    curves = []
    for plain in (False, True):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).train().double()
        model.init_weights()
        for layer in model.panoptic_head.pixel_decoder.encoder.layers:
            # they start at pixel centres, where bilinear sampling has a kink and rounding decides
            torch.nn.init.normal_(layer.self_attn.sampling_offsets.bias)
        iteration = [0]
        model.criterion.sample_points = keyed_points(iteration)
        if plain:
            use_plain_paths(model, monkeypatch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.05)
        curve = []
        for iteration[0] in range(iterations):
            data = model.data_preprocessor(copy.deepcopy(batches[iteration[0] % 20]), True)
            losses = model(data['inputs'].double(), data['data_samples'], mode='loss')
            total = sum(losses.values())
            optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(total.item())
        curves.append(curve)
    assert iterations == 3 or curves[0][-1] < 0.7 * curves[0][0]
    np.testing.assert_allclose(*curves, rtol=1e-3)


@pytest.mark.parametrize('name', ('Swin', 'Swin with dropout', 'DiNAT'))
def test_an_activation_is_computed_again_and_the_linear_layer_is_not(name, monkeypatch):
    monkeypatch.setattr(chunks, 'TRAINING_ROWS', 40)  # two parts
    torch.manual_seed(0)
    if name == 'DiNAT':
        network = MLP(8, 32)
        activation, narrow = network.act, network.fc2
    else:
        size = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4)
        drop = 0.3 if 'dropout' in name else 0.0
        swin = MODELS.build(dict(type='OneFormerSwinTransformer', drop_rate=drop, **size))
        network = swin.stages[0].blocks[0].ffn.layers
        activation, narrow = network[0][1], network[1]
    network.train()
    calls = []
    for layer in (activation, narrow):
        layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    x = torch.randn(1, 70, 8, requires_grad=True)
    upstream, results = torch.randn(x.shape), []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(
                recomputing, 'checkpoint', lambda layers, hidden, **_: layers(hidden)
            )
        torch.manual_seed(1)
        y = network(x)
        leaves = [x, *network.parameters()]
        results.append([y, *torch.autograd.grad((y * upstream).sum(), leaves)])
        seen, calls = [calls.count(layer) for layer in (activation, narrow)], []
        assert seen == ([2, 2] if plain else [4, 2])
    assert all(map(torch.equal, *results))


def test_an_activation_in_place_is_not_computed_again():
    size = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4)
    torch.manual_seed(0)
    networks = []
    for inplace in (True, False):
        act = dict(type='ReLU', inplace=inplace)
        swin = MODELS.build(dict(type='OneFormerSwinTransformer', act_cfg=act, **size))
        networks.append(swin.stages[0].blocks[0].ffn.layers)
    networks[1].load_state_dict(networks[0].state_dict())
    x = torch.randn(1, 70, 8)
    gradients = [
        torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
        for network in networks
    ]
    assert all(map(torch.equal, *gradients))
