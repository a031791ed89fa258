"""Attention masks are given up as EoMT gives them up, and weights say whether they need them."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch import nn
from toy_model import build, toy_config

from oneformer.kernels.mask_annealing import MaskAnnealing
from oneformer.models import oneformer_head
from oneformer.weights.architecture import config_beside_backbone
from oneformer.weights.shapes import shapes_of

# EoMT's steps on COCO, 12 epochs of 7391: ViT-B with DINOv2, and ViT-L with DINOv3
STEPS = 88692
VIT_B = [(14782, 29564), (36955, 51737), (59128, 73910)]
VIT_L = [(0, 3000), (29564, 44346), (44346, 59128), (59128, 73910)]
HALF = 0.5**0.9


def fractions(spans):
    return [(start / STEPS, end / STEPS) for start, end in spans]


@pytest.mark.parametrize(
    ('spans', 'step', 'expected'),
    [
        (VIT_B, 0, [1, 1, 1]),
        (VIT_B, 14782, [1, 1, 1]),
        (VIT_B, 22173, [HALF, 1, 1]),
        (VIT_B, 29563, [(1 / 14782) ** 0.9, 1, 1]),
        (VIT_B, 29564, [0, 1, 1]),
        (VIT_B, 36955, [0, 1, 1]),
        (VIT_B, 44346, [0, HALF, 1]),
        (VIT_B, 51737, [0, 0, 1]),
        (VIT_B, 62823.5, [0, 0, 0.75**0.9]),
        (VIT_B, 73909, [0, 0, (1 / 14782) ** 0.9]),
        (VIT_B, 73910, [0, 0, 0]),
        (VIT_B, STEPS, [0, 0, 0]),
        (VIT_L, 0, [1, 1, 1, 1]),
        (VIT_L, 1500, [HALF, 1, 1, 1]),
        (VIT_L, 3000, [0, 1, 1, 1]),
        (VIT_L, 36955, [0, HALF, 1, 1]),
        (VIT_L, 51737, [0, 0, HALF, 1]),
        (VIT_L, 73910, [0, 0, 0, 0]),
    ],
)
def test_probabilities_are_those_of_the_published_runs(spans, step, expected):
    annealing = MaskAnnealing(fractions(spans))
    annealing.update(step / STEPS)
    assert annealing.probabilities.tolist() == pytest.approx(expected, rel=1e-5)
    zeros = [value == 0 for value in annealing.probabilities.tolist()]
    assert zeros == [value == 0 for value in expected]  # 0 and 1 exactly, at these very steps
    assert [annealing.is_gone(layer) for layer in range(len(annealing))] == zeros
    ones = [value == 1 for value in annealing.probabilities.tolist()]
    assert ones == [value == 1 for value in expected]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(spans=[(14782, 29564)]), r'spans\[0\] is \(14782, 29564\).* Divide numbers'),
        (dict(spans=[(0, 0.5), (0.5, 0.2)]), r'spans\[1\].*0 <= start <= end <= 1'),
        (dict(spans=[(-0.1, 0.5)]), r'spans\[0\]'),
        (dict(spans=[0.5]), r'spans\[0\] is 0.5: write \(start, end\)'),
        (dict(spans=[]), 'one .start, end. for each masked layer'),
        (dict(spans='all'), "spans is 'all'"),
        (dict(spans=[(0, 1)], power=0), 'power is 0'),
    ],
)
def test_what_is_not_a_schedule_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaskAnnealing(**arguments)


def annealed(probability, training=True):
    """A module whose only layer has about this probability."""
    module = MaskAnnealing([(0.0, 1.0)], power=1.0).train(training)
    module.update(1 - probability)
    return module


def test_all_masks_stay_at_1_and_none_at_0_without_a_random_number():
    mask = torch.rand(2, 3, 5, 7) > 0.5
    before = torch.get_rng_state()
    for training in (True, False):
        assert annealed(1.0, training).keep(0, mask) is mask
        assert annealed(0.0, training).keep(0, mask) is None
        assert annealed(0.5, training).keep(0, None) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_queries_of_a_step_lose_their_masks_with_the_probability_left():
    torch.manual_seed(0)
    mask = torch.zeros(40, 5, 50, 3, dtype=torch.bool)
    mask[..., 0] = True
    kept = annealed(0.7).keep(0, mask)
    whole = kept.all(-1)
    assert torch.equal(kept[~whole], mask[~whole])
    # 10000 draws: five standard deviations
    assert whole.float().mean() == pytest.approx(0.3, abs=5 * (0.21 / 10000) ** 0.5)
    shares = whole.float().mean((0, 1))
    assert shares.min() > 0 and shares.max() < 1  # each query by itself
    assert torch.equal(annealed(0.7, training=False).keep(0, mask), mask)


def test_weights_say_whether_they_need_masks():
    trained = annealed(0.0)
    loaded = MaskAnnealing([(0.2, 0.3)])
    assert not loaded.is_gone(0)
    loaded.load_state_dict(trained.state_dict())
    assert loaded.is_gone(0) and loaded.eval().keep(0, torch.ones(2, 2).bool()) is None
    assert trained.state_dict().keys() == {'probabilities'}


def test_modules_are_visited_as_any_others():
    visited = []
    nn.Sequential(MaskAnnealing([(0, 1)])).apply(visited.append)  # of the parent class
    assert len(visited) == 2


def test_training_without_a_hook_is_warned_of(said):
    module = MaskAnnealing([(0, 1)]).train()
    module.keep(0, torch.ones(1, 1).bool())
    module.keep(0, torch.ones(1, 1).bool())
    (warning,) = said()
    assert "custom_hooks=[dict(type='MaskAnnealingHook')]" in warning


def hooked(module, iterations, done=0):
    """A hook in training, and its runner."""
    logged = {}
    runner = SimpleNamespace(
        model=nn.Sequential(nn.ModuleDict(dict(head=module))),
        iter=done,
        max_iters=iterations,
        message_hub=SimpleNamespace(update_scalar=logged.__setitem__),
    )
    hook = HOOKS.build(dict(type='MaskAnnealingHook'))
    hook.before_train(runner)
    return hook, runner, logged


def test_the_hook_follows_the_steps_that_are_done(said):
    module = MaskAnnealing([(0.25, 0.75), (0.5, 0.75)], power=1.0)
    hook, runner, logged = hooked(module, 8)
    used = []
    for runner.iter in range(8):
        used.append(module.probabilities.tolist())
        hook.after_train_iter(runner, runner.iter)
        assert [logged[f'train/mask_probability/{i}'] for i in (0, 1)] == module.known
    runner.iter = 8
    hook.after_train(runner)
    assert used == [[1, 1]] * 3 + [[0.75, 1], [0.5, 1], [0.25, 0.5], [0, 0], [0, 0]]
    assert module.probabilities.tolist() == [0, 0]
    assert not said()


def test_a_run_that_ends_with_masks_says_so(said):
    module = MaskAnnealing([(0.0, 0.5)])
    hook, runner, _ = hooked(module, 8)
    for runner.iter in range(3):
        hook.after_train_iter(runner, runner.iter)
    runner.iter = 3
    assert not said()
    hook.after_train(runner)
    (warning,) = said()
    assert 'training ended at iteration 3 of 8 with masks at the probabilities [0.287]' in warning


def test_a_run_that_never_trains_without_masks_says_so_at_the_start(said):
    hooked(MaskAnnealing([(0.0, 0.5), (0.5, 1.0)]), 8)
    (warning,) = said()
    assert 'the masks of layers [1] are not gone before the last of 8 iterations' in warning


def test_another_length_is_told_and_followed(said):
    module = MaskAnnealing([(0.0, 1.0)], power=1.0)
    module.update(0.5)  # 4 of 8 were done
    hooked(module, 16, done=4)
    assert module.probabilities.tolist() == [0.75]
    told = [line for line in said(20) if line.startswith('mask_annealing')]
    assert 'at iteration 5 of 16' in told[0] and '[0.75]; the checkpoint' in told[0]
    assert told[0].endswith('has [0.5]')
    hooked(module, 4, done=4)  # shorter than what is done
    assert module.probabilities.tolist() == [0]


SPANS = [(0.0, 0.5), (0.25, 0.75)]


@pytest.fixture(scope='module')
def inputs(config_dir, tiny_set):
    """Config of a toy model, and a batch of its training."""
    cfg = toy_config(config_dir, tiny_set)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    return cfg.model, batch


def with_masks(config, spans=SPANS):
    return dict(config, panoptic_head=dict(config.panoptic_head, mask_annealing=dict(spans=spans)))


def losses_and_gradients(model, batch):
    torch.manual_seed(1)
    data = model.data_preprocessor(batch, True)
    losses = model(**data, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, torch.rand(1)


def outputs(model, batch):
    model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(batch, False)
        return model(data['inputs'], data['data_samples'], mode='tensor')


def test_with_all_masks_training_is_the_same_to_the_bit(inputs):
    config, batch = inputs
    plain, masked = build(config), build(with_masks(config))
    masked.panoptic_head.mask_annealing.update(0.0)
    for ours, theirs in zip(
        losses_and_gradients(masked, batch), losses_and_gradients(plain, batch)
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_without_masks_outputs_are_those_of_a_decoder_without_them(inputs, monkeypatch):
    config, batch = inputs
    model, plain = build(with_masks(config)), build(config)
    masked = outputs(plain, batch)
    model.panoptic_head.mask_annealing.update(1.0)
    monkeypatch.setattr(oneformer_head, 'attention_mask', None)  # is not called
    ours = outputs(model, batch)

    def everywhere(mask_embeds, shrunk):
        size = (*mask_embeds.shape[:3], shrunk.shape[-2:].numel())
        return torch.ones(size, dtype=torch.bool)

    monkeypatch.setattr(oneformer_head, 'attention_mask', everywhere)
    torch.testing.assert_close(ours, outputs(plain, batch))
    assert not torch.allclose(ours['mask_preds'], masked['mask_preds'], atol=1e-3)
    model.train()
    losses, gradients, _ = losses_and_gradients(model, batch)
    assert all(value.isfinite().all() for value in losses.values())


def test_each_decoder_layer_has_its_own_probability(inputs, monkeypatch):
    config, batch = inputs
    model = build(with_masks(config))
    model.panoptic_head.mask_annealing.update(0.6)  # the first is gone, the second is not
    calls = []
    real = oneformer_head.attention_mask
    monkeypatch.setattr(
        oneformer_head, 'attention_mask', lambda *args: calls.append(args[1].shape) or real(*args)
    )
    outputs(model, batch)
    assert len(calls) == 1 and calls[0][-1] == 4  # 64 pixels at stride 16, of the second layer


def test_weights_alone_tell_that_they_were_annealed(inputs):
    config, _ = inputs
    for model, expected in ((build(config), None), (build(with_masks(config)), 2)):
        head = config_beside_backbone(shapes_of(model.state_dict()))['panoptic_head']
        assert len(head.get('mask_annealing', {}).get('spans', ())) == (expected or 0)
    rebuilt = MaskAnnealing(**head['mask_annealing'])
    model.panoptic_head.mask_annealing.update(0.6)
    rebuilt.load_state_dict(model.panoptic_head.mask_annealing.state_dict())
    assert [rebuilt.is_gone(layer) for layer in (0, 1)] == [True, False]


def test_a_span_is_needed_for_each_decoder_layer(inputs):
    config, _ = inputs
    with pytest.raises(ValueError, match='has 1 spans: it takes one for each of 2 decoder layers'):
        MODELS.build(with_masks(config, [(0, 1)]))
