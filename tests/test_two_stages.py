"""Heads warm up first, while the backbone rests; then the backbone; then both decay."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop

from oneformer.host.errors import CheckpointError
from oneformer.host.optimizer_state import make_loadable
from oneformer.host.rehearsal import Length, Rehearsal
from oneformer.host.rescheduling import follow_config

HEAD, BLOCK = 1.0, 0.25  # base rates


def published(k, n, v, w, power=0.9):
    """Rates of heads and backbone in iteration k of n, as EoMT's schedule has them."""
    head = k / v if k < v else (1 - (k - v) / max(1, n - v)) ** power
    if k < v:
        backbone = 0.0
    elif k < v + w:
        backbone = (k - v) / w
    else:
        backbone = (1 - max(0, k - v - w) / max(1, n - v - w)) ** power
    return HEAD * head, BLOCK * backbone


def optimizer_of(layers=(None, 3)):
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=rate) for rate in (HEAD, BLOCK)]
    for group, layer in zip(groups, layers):
        group['layer'] = layer
    return torch.optim.SGD(groups, lr=HEAD)


def scheduler_of(optimizer, n, **options):
    config = dict(type='TwoStagePolyLR', by_epoch=False, end=n, **options)
    return PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=optimizer))


def run(optimizer, scheduler, steps):
    rates = []
    for _ in range(steps):
        rates.append(tuple(group['lr'] for group in optimizer.param_groups[:2]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(('v', 'w'), [(5, 3), (0, 4), (4, 0), (0, 0), (1, 1)])
def test_rates_are_the_published_ones_at_every_step(v, w):
    n = 80
    optimizer = optimizer_of()
    scheduler = scheduler_of(optimizer, n, warmup=v, backbone_warmup=w)
    rates = run(optimizer, scheduler, n)
    for k, rate in enumerate(rates):
        assert rate == pytest.approx(published(k, n, v, w), rel=1e-12, abs=0), k
    assert all(rate[1] == 0.0 for rate in rates[:v])  # exactly
    assert min(rates[-1]) > 0  # the last step learns


def test_rates_of_layers_keep_their_proportions_and_the_wrapper_its_base_rate():
    optimizer = optimizer_of()
    wrapper = OptimWrapper(optimizer)
    scheduler = scheduler_of(wrapper, 80, warmup=4, backbone_warmup=4)
    for _ in range(10):
        wrapper.step()
        scheduler.step()
    assert wrapper.get_lr()['base_lr'] == wrapper.get_lr()['lr'][:1]
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx(
        published(10, 80, 4, 4)
    )


def test_a_short_run_takes_a_tenth_of_it_for_both_warm_ups():
    scheduler = scheduler_of(optimizer_of(), 60, warmup=500, backbone_warmup=1000)
    assert (scheduler.warmup, scheduler.backbone_warmup) == (2, 4)
    tiny = scheduler_of(optimizer_of(), 3, warmup=500, backbone_warmup=1000)
    assert (tiny.warmup, tiny.backbone_warmup) == (0, 0)


@pytest.mark.parametrize('stop', [1, 3, 7, 9, 40])
def test_an_interrupted_schedule_goes_on_to_the_bit(stop):
    options = dict(warmup=5, backbone_warmup=3)
    whole = optimizer_of()
    rates = run(whole, scheduler_of(whole, 80, **options), 80)
    first = optimizer_of()
    scheduler = scheduler_of(first, 80, **options)
    part = run(first, scheduler, stop)
    second = optimizer_of()
    resumed = scheduler_of(second, 80, **options)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert part + run(second, resumed, 80 - stop) == rates


def test_another_length_goes_on_as_if_it_had_been_so_from_the_start(said):
    config = dict(type='TwoStagePolyLR', warmup=8, backbone_warmup=4, by_epoch=False)
    optimizer = optimizer_of()
    wrapper = OptimWrapper(optimizer)
    scheduler = scheduler_of(wrapper, 120, warmup=8, backbone_warmup=4)
    for _ in range(10):
        wrapper.step()
        scheduler.step()
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop._max_iters, loop._max_epochs = 240, 1
    runner = SimpleNamespace(
        cfg=dict(param_scheduler=config),
        param_schedulers=[scheduler],
        optim_wrapper=wrapper,
        train_loop=loop,
        train_dataloader=[None],
        iter=10,
    )
    follow_config(runner)
    for k in range(10, 240):
        rates = [group['lr'] for group in optimizer.param_groups]
        assert rates == pytest.approx(published(k, 240, 8, 4), rel=1e-12), k
        wrapper.step()
        scheduler.step()


def test_a_rehearsal_tells_heads_from_the_backbone():
    length = Length(80, 1, 80, False)
    config = dict(type='TwoStagePolyLR', warmup=5, backbone_warmup=3, by_epoch=False)
    rehearsal = Rehearsal([config], [HEAD, BLOCK], length, [False, True])
    for k in range(80):
        assert rehearsal.rates == pytest.approx(published(k, 80, 5, 3))
        rehearsal.advance()


def test_groups_of_an_older_checkpoint_get_their_layers(said):
    saved = dict(param_groups=[dict(lr=0.1, params=[0]), dict(lr=0.025, params=[1])])
    make_loadable(saved, SimpleNamespace(optimizer=optimizer_of()), 'iter_7.pth')
    assert [group['layer'] for group in saved['param_groups']] == [None, 3]
    assert not said()  # another base rate is told by the start banner


def test_groups_that_have_changed_since_the_checkpoint_are_told(said):
    saved = dict(param_groups=[dict(lr=0.1, params=[0]), dict(lr=0.05, params=[1])])
    make_loadable(saved, SimpleNamespace(optimizer=optimizer_of()), 'iter_7.pth')
    (warning,) = said()
    assert (
        'keep the proportions of iter_7.pth, and not those of optim_wrapper.paramwise_cfg'
        in warning
    )
    saved = dict(param_groups=[dict(lr=0.1, params=[0, 1])])
    with pytest.raises(CheckpointError, match='iter_7.pth has 1 groups of 2 parameters, and that'):
        make_loadable(saved, SimpleNamespace(optimizer=optimizer_of()), 'iter_7.pth')


def test_an_optimizer_that_does_not_say_what_is_of_the_backbone_is_refused():
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    with pytest.raises(ValueError, match='paramwise_cfg.layer_decay .1.0 for none.'):
        scheduler_of(plain, 80, warmup=1, backbone_warmup=1)
    with pytest.raises(ValueError, match='warmup=-1 and backbone_warmup=1'):
        scheduler_of(optimizer_of(), 80, warmup=-1, backbone_warmup=1)
    frozen = optimizer_of((None, None))  # a backbone that is not trained
    assert run(frozen, scheduler_of(frozen, 80, warmup=2, backbone_warmup=2), 2)[1][1] == BLOCK / 2
