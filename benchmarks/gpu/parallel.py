"""What one process can tell of several: the collectives, and the wrappers of the model."""

import os
import socket
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch.distributed.device_mesh import init_device_mesh

from oneformer.host.distributed import OneFormerDistributedDataParallel
from oneformer.host.finite_steps import gradient_norm
from oneformer.host.sharding import fully_shard
from oneformer.kernels.precision import network_precision

from .. import peers
from .report import Check


def parallel(check: Check) -> None:
    """A group of one process: gathering with gradients, copies of a model, a sharded model."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK='0', WORLD_SIZE='1')
    if check.on_gpu:
        torch.cuda.set_device(0)
    backend = 'nccl' if check.on_gpu else 'gloo'
    dist.init_process_group(backend, timeout=timedelta(seconds=60))
    try:
        with check.row(what='gather'):
            x = torch.randn(2, 8, device=check.device, requires_grad=True)
            torch.cat(differentiable.all_gather(x.contiguous())).square().sum().backward()
            check.say(what='gather', passed=bool(torch.allclose(x.grad, 2 * x)))
        for what in ('copies', 'sharded'):
            with check.row(what=what):
                _wrapped(check, what)
    finally:
        dist.destroy_process_group()


def _wrapped(check: Check, what: str) -> None:
    if what == 'sharded' and fully_shard is None:
        check.say(what=what, skipped='needs torch 2.6')
        return
    model = peers.build_ours(peers.SMALL, True, check.device).train()
    batch = peers.draw_batch(128, (3, 5), check.device)
    wrapped = model
    if what == 'copies':
        ids = [0] if check.on_gpu else None
        wrapped = OneFormerDistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
    else:
        mesh = init_device_mesh(check.device.type, (1,))
        for module in list(model.modules()):
            if type(module).__name__ == 'SwinBlock':
                fully_shard(module, mesh=mesh)
        wrapped = fully_shard(model, mesh=mesh)
    with network_precision('bf16' if check.on_gpu else 'fp32', check.device):
        losses = wrapped(batch.images, peers.our_samples(batch), mode='loss')
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(gradient_norm(gradients))
    check.say(what=what, gradients=len(gradients), norm=norm, passed=0 < norm < float('inf'))
