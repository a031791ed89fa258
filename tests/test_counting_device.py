"""The counting device counts what makes a host wait for a GPU, and nothing else."""

import pytest
import torch
from counting_device import CUDA, CountingDevice
from torch import nn

from oneformer.host.transfers import ToHost, send, send_all


@pytest.fixture
def device():
    with CountingDevice() as device:
        yield device


def kinds(device):
    return [(wait.kind, wait.operator) for wait in device.waits]


@pytest.mark.parametrize(
    'read, operator',
    [
        (lambda x: x.sum().item(), '_local_scalar_dense'),
        (lambda x: float(x[0]), '_local_scalar_dense'),
        (lambda x: bool((x > 0).any()), '_local_scalar_dense'),
        (lambda x: x.tolist(), 'tolist'),
        (lambda x: x.cpu(), 'to'),
        (lambda x: x.nonzero(), 'nonzero'),
        (lambda x: x[x > 0], 'index'),
        (lambda x: x.unique(), '_unique2'),
        (lambda x: x.repeat_interleave(x.long()), 'repeat_interleave'),
        (lambda x: torch.equal(x, x), 'equal'),
        (lambda x: torch.empty(3).copy_(x), 'copy_'),
        (lambda x: torch.cuda.synchronize(), 'synchronize'),
        (lambda x: torch.cuda.current_stream().synchronize(), 'synchronize'),
    ],
)
def test_a_read_is_counted_with_its_line(device, read, operator):
    x = device.put(torch.arange(3.0))
    device.waits.clear()
    read(x)
    (wait,) = device.waits
    assert (wait.kind, wait.operator) == ('read', operator)
    assert wait.place.startswith('test_counting_device.py:')
    assert str(wait).endswith(f', line {wait.line}')


@pytest.mark.parametrize(
    'copy, operator',
    [
        (lambda x: torch.ones(3).to(CUDA), 'to'),
        (lambda x: torch.ones(3).to('cuda', non_blocking=True), 'to'),  # is not pinned
        (lambda x: torch.ones(3).pin_memory().to(CUDA), 'to'),
        (lambda x: torch.ones(3).cuda(), 'to'),
        (lambda x: torch.tensor([1, 2], device='cuda'), 'tensor'),
        (lambda x: x.new_tensor([1, 2]), 'tensor'),
        (lambda x: x.copy_(torch.ones(3)), 'copy_'),
        (lambda x: x[[2, 1, 0]], 'index'),
        (lambda x: x[torch.tensor([0, 1])], 'index'),
    ],
)
def test_a_blocking_copy_to_the_device_is_counted(device, copy, operator):
    x = device.put(torch.arange(3.0))
    assert copy(x).device == CUDA
    assert kinds(device) == [('copy', operator)]


@pytest.mark.parametrize(
    'work',
    [
        lambda x: torch.ones(3).pin_memory().to('cuda', non_blocking=True),
        lambda x: torch.ones(6).pin_memory()[3:].view(3).to(CUDA, non_blocking=True),
        lambda x: x.copy_(torch.ones(3).pin_memory(), non_blocking=True),
        lambda x: torch.empty(3, pin_memory=True).copy_(x, non_blocking=True),
        lambda x: torch.full((3,), 2.0, device='cuda') + x.new_full((3,), 7),
        lambda x: x[1:] * 2 + x[torch.arange(2, device=CUDA)],
        lambda x: x.repeat_interleave(x.long(), output_size=3),
        lambda x: torch.where(x > 0, x, 0.0).masked_fill_(x > 1, 5.0),
        lambda x: torch.cuda.Event().record(),
    ],
)
def test_what_is_only_queued_is_not_counted(device, work):
    work(device.put(torch.arange(3.0)))
    assert device.waits == []


def test_tensors_of_two_devices_do_not_meet(device):
    x = device.put(torch.ones(3))
    with pytest.raises(RuntimeError, match='tensors of cuda:0 and of cpu'):
        x + torch.ones(3)
    assert (x + torch.tensor(1.0)).tolist() == [2, 2, 2]  # a number
    with pytest.raises(TypeError, match='no numpy array'):
        x.numpy()


def test_a_copy_to_the_host_arrives_with_the_wait(device):
    x = device.put(torch.arange(3.0))
    host = torch.zeros(3, pin_memory=True)
    host.copy_(x, non_blocking=True)
    other = x.to('cpu', non_blocking=True)
    assert host.isnan().all() and other.isnan().all()
    x.zero_()
    torch.cuda.Event().synchronize()
    assert host.tolist() == other.tolist() == [0, 1, 2]
    assert kinds(device) == [('read', 'synchronize')]


def test_gradients_are_those_of_the_cpu_and_the_waits_of_a_backward_pass_are_counted(device):
    torch.manual_seed(0)
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    layer(x).square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    on_device = device.put(layer)
    on_device(device.put(x)).square().sum().backward()
    assert device.waits == []
    for parameter, gradient in zip(on_device.parameters(), expected):
        assert parameter.grad.device == CUDA
        assert torch.equal(parameter.grad.inner, gradient)
    loss = on_device(device.put(x)).sum()
    loss.register_hook(lambda gradient: gradient * gradient.item())
    loss.backward()
    assert kinds(device) == [('read', '_local_scalar_dense')]


@pytest.mark.parametrize('options', [dict(), dict(foreach=True), dict(fused=True)])
@pytest.mark.parametrize('scaled', [False, True])
def test_optimizers_and_a_loss_scale_run_on_it(device, options, scaled, monkeypatch):
    monkeypatch.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)
    torch.manual_seed(0)
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    layer(x).sum().backward()
    before = layer.weight.detach().clone()
    torch.optim.AdamW(layer.parameters(), fused=options.get('fused')).step()
    expected = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.copy_(before)
    layer.zero_grad()
    on_device = device.put(layer)
    optimizer = torch.optim.AdamW(on_device.parameters(), **options)
    scaler = torch.amp.GradScaler('cuda', init_scale=2.0, enabled=scaled)
    scaler.scale(on_device(device.put(x)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    torch.testing.assert_close(on_device.weight.inner, expected, rtol=0, atol=1e-7)
    waits = [('read', '_local_scalar_dense')] if scaled and not options.get('fused') else []
    assert kinds(device) == waits  # of the scale's flag


def test_a_fused_optimizer_skips_a_step_without_being_told_by_the_host(device, monkeypatch):
    monkeypatch.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)
    layer = device.put(nn.Linear(3, 2))
    before = layer.weight.inner.clone()
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    scaler = torch.amp.GradScaler('cuda', init_scale=2.0)
    scaler.scale(layer(device.put(torch.full((1, 3), torch.inf))).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert device.waits == []
    assert torch.equal(layer.weight.inner, before) and scaler.get_scale() == 1


def test_the_package_moves_tensors_without_waiting(device):
    first, second = torch.arange(6).view(2, 3), torch.arange(2)
    moved = send(first, 'cuda')
    parts = send_all([first, second, torch.empty(0, 4, dtype=torch.long)], CUDA)
    assert device.waits == [] and moved.device == parts[1].device == CUDA
    assert torch.equal(moved.inner, first)
    assert [part.shape for part in parts] == [(2, 3), (2,), (0, 4)]
    assert torch.equal(parts[0].inner, first) and torch.equal(parts[1].inner, second)
    under_way = ToHost(moved)
    moved.zero_()
    assert device.waits == []
    assert torch.equal(under_way.wait(), first)
    (wait,) = device.waits
    assert wait.place == (
        'test_counting_device.py:test_the_package_moves_tensors_without_waiting'  # not transfers.py
    )


def test_on_a_cpu_nothing_is_pinned():
    x = torch.arange(3)
    assert send(x, 'cpu') is x
    assert send_all([], 'cpu') == []
    assert torch.equal(ToHost(x).wait(), x) and not ToHost(x).wait().is_pinned()
