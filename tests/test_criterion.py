"""Matching and losses equal plain loops over dense masks."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from scipy.optimize import linear_sum_assignment

from oneformer.models.criterion import mask_costs, point_losses
from oneformer.models.targets import Targets

L, B, Q, C, K = 3, 3, 6, 8, 4
POINTS, INPUT = 40, (32, 48)


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=generator).requires_grad_()

    return dict(
        cls_scores=randn(L, B, Q, K + 1),
        mask_embeds=randn(L, B, Q, C),
        mask_features=randn(B, C, INPUT[0] // 4, INPUT[1] // 4),
    )


def random_targets(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [
        Targets(
            torch.randint(0, K, (n,), generator=generator),
            torch.randint(0, n + 1, INPUT, generator=generator),
            img_id,
        )
        for img_id, n in enumerate(sizes)
    ]


def keyed_points(num_sets, num_points, device, key):
    """The same points for the same image and purpose, whatever is around."""
    purpose, img_id = key
    seed = 100 * img_id + ['match', 'candidates', 'random'].index(purpose)
    return torch.rand(num_sets, num_points, 2, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def criterion():
    criterion = MODELS.build(dict(type='SetCriterion', num_classes=K, num_points=POINTS))
    criterion.sample_points = keyed_points
    return criterion


def sample(mask, points):
    """One mask (H, W) at points (P, 2)."""
    grid = 2 * points[None, None] - 1
    return F.grid_sample(mask[None, None].float(), grid, align_corners=False).flatten()


def reference_losses(cls_scores, mask_embeds, mask_features, targets):
    """The original's criterion as plain loops over full masks, one loss at a time."""
    losses = {}
    num_masks = max(sum(len(t.labels) for t in targets), 1)
    points = [
        [
            keyed_points(L, POINTS, None, ('match', b)),
            # drawn for one output at a time, so here the same for all
            keyed_points(len(t.labels), 3 * POINTS, None, ('candidates', b)),
            keyed_points(len(t.labels), POINTS - int(0.75 * POINTS), None, ('random', b)),
        ]
        for b, t in enumerate(targets)
    ]
    for layer in range(L):
        ce_sum = weight_sum = 0.0
        mask_sum = dice_sum = torch.zeros(())
        for b, target in enumerate(targets):
            match_points, candidates, random = points[b]
            masks = torch.einsum('qc,chw->qhw', mask_embeds[layer, b], mask_features[b])
            scores = cls_scores[layer, b]
            n = len(target.labels)
            cost = torch.zeros(Q, n)
            for q in range(Q):
                for t in range(n):
                    x = sample(masks[q], match_points[layer])
                    y = sample(target.masks[t], match_points[layer])
                    p = x.sigmoid()
                    bce = F.binary_cross_entropy_with_logits(x, y)
                    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
                    prob = scores[q].softmax(-1)[target.labels[t]]
                    cost[q, t] = 5 * bce + 5 * dice - 2 * prob
            wanted = torch.full((Q,), K)
            for q, t in zip(*linear_sum_assignment(cost.detach().numpy())):
                wanted[q] = target.labels[t]
                uncertainty = -sample(masks[q], candidates[t]).abs()
                top = uncertainty.topk(int(0.75 * POINTS)).indices
                where = torch.cat([candidates[t][top], random[t]])
                x, y = sample(masks[q], where), sample(target.masks[t], where)
                p = x.sigmoid()
                mask_sum = mask_sum + F.binary_cross_entropy_with_logits(x, y)
                dice_sum = dice_sum + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
            weight = torch.ones(K + 1)
            weight[K] = 0.1
            ce_sum = ce_sum + F.cross_entropy(scores, wanted, weight, reduction='sum')
            weight_sum += weight[wanted].sum()
        prefix = '' if layer == L - 1 else f'd{layer}.'
        losses[f'{prefix}loss_cls'] = 2 * ce_sum / weight_sum
        losses[f'{prefix}loss_mask'] = 5 * mask_sum / num_masks
        losses[f'{prefix}loss_dice'] = 5 * dice_sum / num_masks
    return losses


# an empty image, a usual one, one with as many and one with more targets than queries
@pytest.mark.parametrize('sizes', [(0, 2, 5), (6, 1, 3), (9, 0, 2)])
def test_losses_and_gradients_equal_plain_loops(criterion, outputs, sizes):
    targets = random_targets(*sizes)
    expected = reference_losses(**outputs, targets=targets)
    losses = criterion(**outputs, targets=targets)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5, msg=name)
    inputs = list(outputs.values())
    ours = torch.autograd.grad(sum(losses.values()), inputs)
    theirs = torch.autograd.grad(sum(expected.values()), inputs)
    for gradient, reference in zip(ours, theirs):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-5)


def test_a_batch_without_targets_keeps_its_keys_and_its_graph(criterion, outputs):
    usual = criterion(**outputs, targets=random_targets(1, 2, 3))
    empty = criterion(**outputs, targets=random_targets(0, 0, 0))
    assert empty.keys() == usual.keys()
    assert all(torch.isfinite(value) for value in empty.values())
    assert empty['loss_mask'] == empty['loss_dice'] == 0
    assert empty['loss_cls'] > 0
    gradients = torch.autograd.grad(sum(empty.values()), list(outputs.values()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_every_random_point_comes_from_the_replaceable_function(criterion, outputs):
    calls = []

    def counting(num_sets, num_points, device, key):
        calls.append((key, num_sets, num_points))
        return keyed_points(num_sets, num_points, device, key)

    criterion.sample_points = counting
    targets = random_targets(2, 0, 3)
    first = criterion(**outputs, targets=targets)
    torch.manual_seed(12345)  # nothing else draws
    second = criterion(**outputs, targets=targets)
    assert first == second
    assert calls[: len(calls) // 2] == [
        (('match', 0), L, POINTS),
        (('match', 2), L, POINTS),
        *[(('candidates', 0), 2, 3 * POINTS), (('random', 0), 2, POINTS // 4)] * L,
        *[(('candidates', 2), 3, 3 * POINTS), (('random', 2), 3, POINTS // 4)] * L,
    ]


def test_costs_of_equal_masks_are_smallest():
    truth = (torch.rand(3, 50, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    cross_entropy, dice = mask_costs(20 * (2 * truth - 1), truth)
    for cost in (cross_entropy, dice):
        assert (cost.argmin(1) == torch.arange(3)).all()
        assert cost.diagonal().abs().max() < 1e-3
    assert point_losses(20 * (2 * truth - 1), truth)[1].max() < 1e-3


def test_contrastive_loss_is_zero_for_one_image_and_learns_for_two():
    torch.manual_seed(0)
    loss = MODELS.build(dict(type='QueryTextContrastiveLoss'))
    queries, texts = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    assert loss(queries[:1], texts[:1]) == 0
    scale = 1 / 0.07
    a, b = F.normalize(queries.flatten(1), dim=1), F.normalize(texts.flatten(1), dim=1)
    logits = scale * a @ b.T
    own = torch.arange(2)
    expected = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))
    torch.testing.assert_close(loss(queries, texts), expected)
    assert loss(texts + 0.01 * queries, texts) < 0.01 < loss(texts.flip(0), texts)
