"""The criterion on targets that overlap equals one that gets a stack of whole masks."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.ops import point_sample
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from overlapping_objects import METAINFO, SCENES, build, load_steps, write_set
from plain_paths import use_plain_paths
from test_criterion import INPUT, POINTS, B, C, K, L, Q, keyed_points, reference_losses

from oneformer.models.targets import SampledTargets, Targets


def draw_stack(count, size, seed):
    """Boxes anywhere, bool of shape (N, H, W)."""
    rng = np.random.default_rng(seed)
    stack = torch.zeros(count, *size, dtype=torch.bool)
    for mask in stack:
        (top, bottom), (left, right) = (sorted(rng.integers(0, side, 2)) for side in size)
        mask[top : bottom + 1, left : right + 1] = True
    return stack


def number_regions(stack):
    """A map of what lies where, and the regions of each mask (N, R), of a stack."""
    powers = 2 ** torch.arange(len(stack))
    lies_there = (stack * powers[:, None, None]).sum(0)
    values = torch.cat([torch.zeros(1, dtype=torch.long), lies_there.unique()]).unique()
    region_map = torch.searchsorted(values, lies_there)
    return region_map.short(), (values[1:] & powers[:, None]) > 0


def test_masks_are_those_of_the_stack():
    stack = draw_stack(20, (11, 14), seed=3)
    region_map, regions = number_regions(stack)
    assert regions.shape[1] > 40 and (regions.sum(0) > 1).any()
    targets = Targets(torch.zeros(20, dtype=torch.long), region_map, 0, regions=regions)
    assert torch.equal(targets.masks, stack)
    # unknown pixels are in no mask
    region_map[stack.sum(0) == 0] = -1
    assert torch.equal(targets.masks, stack)
    torch.manual_seed(0)
    points = torch.rand(3, 50, 2)
    points[:, :2] = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    sampled = SampledTargets(region_map, points, regions)
    masks = stack[:, None].float()
    expected = torch.stack([point_sample(masks, p.expand(20, -1, -1))[:, 0] for p in points])
    torch.testing.assert_close(sampled.all_masks(20), expected, atol=1e-6, rtol=0)
    own = SampledTargets(region_map, points[:, None].expand(-1, 20, -1, -1), regions).own_masks()
    torch.testing.assert_close(own, expected, atol=1e-6, rtol=0)
    plain = SampledTargets(torch.where(region_map < 0, -1, 0), points)
    assert torch.equal(sampled.valid(), plain.valid())


# many overlaps, an image without targets, one whose targets do not overlap
@pytest.mark.parametrize('sizes', [(5, 0, 3), (9, 2, 6)])
def test_losses_and_gradients_equal_plain_loops_over_whole_masks(double, sizes):
    generator = torch.Generator().manual_seed(0)
    shapes = ((L, B, Q, K + 1), (L, B, Q, C), (B, C, INPUT[0] // 4, INPUT[1] // 4))
    outputs = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    ours, plain = [], []
    for img_id, count in enumerate(sizes):
        labels = torch.randint(0, K, (count,), generator=generator)
        stack = draw_stack(count, INPUT, seed=img_id)
        if count == 2:
            stack[1] &= ~stack[0]
            regions, region_map = None, (stack * torch.tensor([1, 2])[:, None, None]).sum(0)
        else:
            region_map, regions = number_regions(stack)
            assert count == 0 or (regions.sum(0) > 1).any()
        ours.append(Targets(labels, region_map, img_id, regions=regions if count else None))
        plain.append(SimpleNamespace(labels=labels, masks=stack))
    criterion = MODELS.build(dict(type='SetCriterion', num_classes=K, num_points=POINTS)).double()
    criterion.sample_points = keyed_points
    losses = criterion(*outputs, targets=ours)
    expected = reference_losses(*outputs, targets=plain)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-6, msg=name)
    gradients, references = (
        torch.autograd.grad(sum(values.values()), outputs) for values in (losses, expected)
    )
    for gradient, reference in zip(gradients, references):
        assert gradient.dtype == torch.float64
        torch.testing.assert_close(gradient, reference, rtol=1e-6, atol=1e-6)


def points_for(num_sets, num_points, device, key):
    """The same points for the same image and purpose."""
    seed = sum(map(ord, key[0])) + key[1]
    return torch.rand(num_sets, num_points, 2, generator=torch.Generator().manual_seed(seed))


def test_a_step_of_the_model_equals_one_on_plain_paths(double, tmp_path, config_dir, monkeypatch):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.update(metainfo=METAINFO)
    cfg.model.backbone.pretrained = False
    annotations = [*SCENES['chain'], *(dict(a, image_id=2) for a in SCENES['three_nested'])]
    steps = [dict(type='LargeScaleJitter', size=64, scale_range=(0.9, 1.1))]
    dataset = build(write_set(tmp_path, annotations, 3), pipeline=load_steps(*steps))
    np.random.seed(0)
    batch = pseudo_collate([dataset[i] for i in range(3)])
    assert ['regions' in s.gt_instances for s in batch['data_samples']] == [True, True, False]
    found = []
    for plain in (False, True):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).double().eval()  # no dropout
        for layer in model.panoptic_head.pixel_decoder.encoder.layers:
            # they start at pixel centres, where bilinear sampling has a kink and rounding decides
            torch.nn.init.normal_(layer.self_attn.sampling_offsets.bias)
        model.criterion.sample_points = points_for
        if plain:
            use_plain_paths(model, monkeypatch)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        losses = model(data['inputs'].double(), data['data_samples'], mode='loss')
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((losses, gradients))
    (losses, gradients), (expected, references) = found
    assert losses['loss_mask'] > 0 and len(gradients) > 100
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-6, msg=name)
    for name, gradient in references.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-6, atol=1e-6, msg=name)
