"""On a GPU the optimizer is one kernel; on a CPU it is what it was; checkpoints fit both."""

from types import SimpleNamespace

import pytest
import torch
from counting_device import CountingDevice, values
from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from oneformer.host import ResumableCheckpointHook


def build(model, kind='AdamW', **options):
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='OneFormerOptimWrapperConstructor',
            optim_wrapper_cfg=dict(
                type='OptimWrapper',
                optimizer=dict(type=kind, lr=1e-3, weight_decay=0.05, **options),
            ),
            paramwise_cfg=dict(backbone_lr_mult=0.1),
        )
    )(model)


def fused_in(wrapper):
    (fused,) = {group.get('fused') for group in wrapper.optimizer.param_groups}
    return fused


@pytest.mark.parametrize('kind', ['AdamW', 'Adam', 'SGD', torch.optim.AdamW])
def test_it_is_fused_on_a_gpu_alone(kind):
    assert fused_in(build(nn.Linear(2, 2), kind)) is None
    with CountingDevice() as device:
        assert fused_in(build(device.put(nn.Linear(2, 2)), kind)) is True


@pytest.mark.parametrize(
    'kind, options, fused',
    [
        ('AdamW', dict(fused=False), False),
        ('AdamW', dict(foreach=True), None),
        ('AdamW', dict(capturable=True), None),
        ('RMSprop', {}, None),  # which has no such kernel
    ],
)
def test_what_a_config_asks_for_and_others_stay(kind, options, fused):
    with CountingDevice() as device:
        assert fused_in(build(device.put(nn.Linear(2, 2)), kind, **options)) is fused


def test_a_model_of_two_devices_is_left_alone():
    with CountingDevice() as device:
        model = nn.Sequential(nn.Linear(2, 2), device.put(nn.Linear(2, 2)))
        assert fused_in(build(model)) is None
        model[0].requires_grad_(False)  # a part that is not trained does not matter
        assert fused_in(build(model)) is True


def train(model, wrapper, x, scaler=None):
    loss = model(x).square().sum()
    (loss if scaler is None else scaler.scale(loss)).backward()
    if scaler is None:
        wrapper.optimizer.step()
    else:
        scaler.step(wrapper.optimizer)
        scaler.update()
    wrapper.optimizer.zero_grad()


def resume(state, wrapper):
    """As a run resumes from a checkpoint."""
    runner = SimpleNamespace(_resume=True, optim_wrapper=wrapper)
    ResumableCheckpointHook(interval=1).after_load_checkpoint(runner, dict(optimizer=state))
    wrapper.load_state_dict(state)


def plain(value):
    """A state dict on the CPU."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return values(value)


def test_checkpoints_of_a_cpu_go_on_on_a_gpu_and_back(monkeypatch):
    monkeypatch.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)
    torch.manual_seed(0)
    x = torch.randn(4, 3)
    whole = nn.Linear(3, 2)
    first, third = nn.Linear(3, 2), nn.Linear(3, 2)
    first.load_state_dict(whole.state_dict())

    alone = build(whole)
    for _ in range(3):
        train(whole, alone, x)

    of_cpu = build(first)
    train(first, of_cpu, x)
    with CountingDevice() as device:
        second = nn.Linear(3, 2)
        second.load_state_dict(first.state_dict())
        of_gpu = build(device.put(second))
        resume(of_cpu.state_dict(), of_gpu)
        assert fused_in(of_gpu) is True
        device.waits.clear()
        # a loss scale relies on it
        train(second, of_gpu, device.put(x), torch.amp.GradScaler('cuda', init_scale=2.0))
        assert device.waits == []
        state = plain(of_gpu.state_dict())
        weights = {name: tensor.inner for name, tensor in second.state_dict().items()}
    third.load_state_dict(weights)
    back = build(third)
    resume(state, back)
    assert fused_in(back) is None
    train(third, back, x)
    torch.testing.assert_close(third.weight, whole.weight, rtol=1e-5, atol=1e-6)
