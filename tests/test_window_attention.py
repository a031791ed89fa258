"""Swin's window attention equals mmdet's explicit product, forward and backward, on any path."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmdet.registry import MODELS
from torch import nn
from torch.utils.checkpoint import checkpoint

from oneformer.backbones import window_attention
from oneformer.backbones.window_attention import WindowAttention
from oneformer.kernels import biased_attention

# side of a window, shift, height and width of the map
SHAPES = pytest.mark.parametrize(
    ('size', 'shift', 'shape'),
    [
        (7, 0, (20, 17)),  # padded
        (7, 3, (20, 17)),
        (12, 6, (24, 36)),
        (4, 2, (8, 8)),
        (7, 3, (5, 6)),  # one window
        (7, 3, (7, 30)),  # one row of windows
        (7, 3, (30, 7)),  # one column
    ],
)
SWIN = dict(
    embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), window_size=4, drop_path_rate=0.0
)


def attentions(size=7, shift=3, channels=24, heads=3, **options):
    """mmdet's module, and ours of the same parts; the biases tell."""
    torch.manual_seed(0)
    theirs = ShiftWindowMSA(channels, heads, size, shift, **options)
    nn.init.normal_(theirs.w_msa.relative_position_bias_table)
    return theirs, WindowAttention(theirs)


def tokens(shape, channels=24, images=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, shape[0] * shape[1], channels, generator=generator)


@pytest.fixture
def count(monkeypatch):
    """Counts calls of torch's fused attention."""
    calls, attend = [], F.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(args)
        return attend(*args, **kwargs)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', counted)
    return calls


@pytest.fixture
def elsewhere(monkeypatch):
    """Our modules take the path of a GPU."""
    monkeypatch.setattr(WindowAttention, 'forward', WindowAttention.attend)


@SHAPES
def test_results_and_gradients_are_those_of_the_explicit_product(size, shift, shape):
    theirs, ours = attentions(size, shift)
    x = tokens(shape).requires_grad_()
    leaves = [x, *theirs.parameters()]
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    expected = theirs(x, shape)
    found = ours.attend(x, shape)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((y * weights).sum(), leaves) for y in (found, expected)]
    for (name, _), mine, other in zip([('x', x), *theirs.named_parameters()], *gradients):
        assert other.abs().max() > 0, name
        torch.testing.assert_close(mine / other.abs().max(), other / other.abs().max(), msg=name)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, shape), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('weights', (1, 10**4, 10**9))
@SHAPES
def test_training_on_a_cpu_gives_the_gradients_of_the_explicit_product(
    size, shift, shape, weights, count, monkeypatch
):
    monkeypatch.setattr(biased_attention, 'WEIGHTS', weights)
    theirs, ours = (module.double() for module in attentions(size, shift))
    x = tokens(shape).double().requires_grad_()
    leaves = [x, *theirs.parameters()]
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    results = [module(x, shape) for module in (theirs, ours)]
    assert not count
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad((y * upstream).sum(), leaves) for y in results]
    for other, mine in zip(*gradients):
        assert (mine - other).abs().max() <= 1e-12 * other.abs().max() > 0


@SHAPES
def test_in_double_precision_nothing_but_rounding_differs(size, shift, shape):
    theirs, ours = (module.double() for module in attentions(size, shift))
    x = tokens(shape).double()
    torch.testing.assert_close(ours.attend(x, shape), theirs(x, shape), rtol=0, atol=1e-12)


def test_biases_are_those_of_the_table():
    for size in (1, 2, 7, 12):
        table = torch.randn((2 * size - 1) ** 2, 3)
        ours = window_attention.position_bias(table, size)
        for query in range(size * size):
            for key in range(0, size * size, 5):
                rows, columns = (query // size - key // size, query % size - key % size)
                place = (rows + size - 1) * (2 * size - 1) + columns + size - 1
                assert torch.equal(ours[:, query, key], table[place])


def test_a_cpu_takes_the_fused_attention_without_gradients_alone(count):
    theirs, ours = attentions()
    x = tokens((20, 17))
    torch.testing.assert_close(ours(x, (20, 17)), theirs(x, (20, 17)), rtol=1e-5, atol=1e-5)
    assert not count
    with torch.inference_mode():
        ours(x, (20, 17))
    assert len(count) == 4  # windows inside, in the last column, in the last row, in the corner
    for query, _, _, bias, *_ in count:
        assert bias.shape == (1, 3, 49, 49) and query.shape[1:] == (3, 49, 8)
    assert sum(len(query) for query, *_ in count) == 2 * 3 * 3


def test_dropout_of_attention_weights_works_in_training_alone(count):
    _, ours = attentions(attn_drop_rate=0.25)
    x, shape = tokens((14, 14)), (14, 14)
    plain = ours.eval().attend(x, shape)
    assert torch.equal(ours.attend(x, shape), plain)
    ours.train()
    many = torch.stack([ours.attend(x, shape) for _ in range(100)])
    assert {args[4] for args in count} == {0.0, 0.25}
    assert not torch.equal(many[0], many[1])
    error = (many.mean(0) - plain).abs().max() / many.std(0).max()
    assert error < 6 / 100**0.5  # the mean is the one without dropout


def test_a_cpu_drops_weights_and_casts_as_mmdet(count):
    shape = (20, 17)
    x = tokens(shape).requires_grad_()
    for options, autocast in ((dict(attn_drop_rate=0.25), False), ({}, True)):
        found = []
        for module in attentions(**options):
            torch.manual_seed(3)
            with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
                y = module.train()(x, shape)
            found.append([y, *torch.autograd.grad(y.float().sum(), module.parameters())])
        assert all(map(torch.equal, *found)) and not count


@pytest.mark.parametrize('shift', (0, 3))
@pytest.mark.parametrize('autocast', (False, True), ids=['fp32', 'bf16'])
@pytest.mark.parametrize('option', ('attn_drop_rate', 'proj_drop_rate'))
def test_a_checkpoint_drops_the_same_in_both_passes(option, autocast, shift):
    """The result is affine in the projection, so that its gradients tell the forward pass."""
    _, ours = attentions(shift=shift, **{option: 0.3})
    x = tokens((20, 17)).requires_grad_()
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        y = checkpoint(ours.train(), x, (20, 17), use_reentrant=True)
    total = (y.float() * upstream).sum()
    total.backward()
    weight, bias = ours.w_msa.proj.weight, ours.w_msa.proj.bias
    found = (weight.grad * weight).sum() + (bias.grad * bias).sum()
    scale = (y.float() * upstream).norm().item()
    assert found.item() == pytest.approx(total.item(), abs=(1e-2 if autocast else 1e-4) * scale)


def test_dropout_of_the_result_and_a_scale_are_mmdets():
    theirs, ours = attentions(qk_scale=0.9, proj_drop_rate=0.5)
    x = tokens((14, 14))
    dropped = [float((y(x, (14, 14)) == 0).float().mean()) for y in (theirs, ours.attend)]
    assert dropped == pytest.approx([0.5, 0.5], abs=0.05)
    theirs.eval(), ours.eval()
    torch.testing.assert_close(ours.attend(x, (14, 14)), theirs(x, (14, 14)))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=['bf16', 'fp16'])
def test_under_autocast_it_is_as_close_to_float32_as_the_explicit_product(dtype):
    theirs, ours = attentions()
    x = tokens((20, 17))
    with torch.no_grad():
        exact = theirs(x, (20, 17))
        with torch.autocast('cpu', dtype):
            errors = [(m(x, (20, 17)).float() - exact).abs().mean() for m in (ours, theirs)]
    assert 0 < errors[0] < 1.5 * errors[1]


@pytest.fixture
def backbones():
    """mmdet's Swin and ours, with the same weights."""
    torch.manual_seed(0)
    theirs = MODELS.build(dict(type='SwinTransformer', **SWIN))
    ours = MODELS.build(dict(type='OneFormerSwinTransformer', **SWIN))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith('bias_table'):
                parameter.normal_()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def test_the_backbone_has_mmdets_tensors_and_predicts_the_same(backbones):
    theirs, ours = backbones
    theirs.eval(), ours.eval()
    x = torch.randn(2, 3, 76, 100)
    with torch.inference_mode():
        for mine, other in zip(ours(x), theirs(x)):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    theirs.train(), ours.train()  # which inference mode leaves nothing that it cannot use
    for mine, other in zip(ours(x), theirs(x)):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures('elsewhere')
@pytest.mark.parametrize('with_cp', [False, True], ids=['kept', 'checkpointed'])
def test_training_elsewhere_gives_the_gradients_of_a_cpu(backbones, with_cp):
    theirs, ours = backbones
    for stage in ours.stages:
        for block in stage.blocks:
            block.with_cp = with_cp
    x = torch.randn(1, 3, 76, 100)
    with torch.inference_mode():
        ours(x)
    for backbone in (theirs, ours):
        torch.manual_seed(4)
        sum((y * torch.randn(y.shape)).sum() for y in backbone(x)).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters()):
        difference = (mine.grad - other.grad).abs().max() / other.grad.abs().max()
        assert difference < 2e-5, name


def test_it_compiles_as_one_graph():
    _, ours = attentions()
    x = tokens((20, 17)).requires_grad_()
    compiled = torch.compile(ours.attend, backend='eager', fullgraph=True)
    expected, found = ours.attend(x, (20, 17)), compiled(x, (20, 17))
    torch.testing.assert_close(found, expected)
    for one, other in zip(*(torch.autograd.grad(y.sum(), x) for y in (found, expected))):
        torch.testing.assert_close(one, other)
    theirs, ours = attentions()  # as the backbone calls it
    compiled = torch.compile(ours, backend='eager', fullgraph=True)
    results = [module(x, (20, 17)) for module in (theirs, compiled)]
    assert torch.equal(*results)
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), x) for y in results)):
        assert torch.equal(one, other)
