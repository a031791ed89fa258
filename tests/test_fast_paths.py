"""Every fast path computes what its plain reference does, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmdet.models.layers import SinePositionalEncoding

from oneformer.models.deformable_attention import Levels
from oneformer.models.point_gathering import gather_points
from oneformer.models.position_code import position_code, project_position


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

    results = []
    for function in (plain, fast):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        output = function(*leaves)
        output.backward(upstream)
        results.append((output.detach(), [leaf.grad for leaf in leaves]))
    (expected, gradients), (output, ours) = results
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)
    for gradient, reference in zip(ours, gradients):
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
def test_position_code_is_mmdets_and_its_projection_a_linear_layer(size):
    expected = SinePositionalEncoding(8, normalize=True)(None, input=torch.zeros(1, 1, *size))
    code = position_code(*size, 16, torch.device('cpu'))
    torch.testing.assert_close(code, expected[0].flatten(1).mT, atol=1e-6, rtol=0)
    weight, bias = torch.randn(6, 16), torch.randn(6)
    projected = project_position(*size, weight, bias)
    torch.testing.assert_close(projected, F.linear(code, weight, bias), atol=1e-5, rtol=0)
