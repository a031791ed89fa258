"""When the host waits for the GPU in a step and a prediction, and which kernels take the time."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from torch.profiler import ProfilerActivity, profile

from oneformer.kernels.precision import network_precision

from .. import peers
from .report import Check
from .steps import forward_pass, training_step

_LINES = 25
_KERNELS = 18
# matching there and back in a step; see tests/test_host_reads.py and test_prediction_waits.py
_MOST = dict(step=2, prediction=10)


def _waits(work: Callable[[], object]) -> Counter:
    """Lines of Python at which torch waited for the GPU, with how often."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode('default')
    return Counter(
        f'{Path(warning.filename).name}:{warning.lineno}'
        for warning in caught
        if 'synchroniz' in str(warning.message)
    )


def _profile(check: Check, what: str, work: Callable[[], object]) -> None:
    check.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        begin = check.seconds
        work()
        check.synchronize()
        wall = 1000 * (check.seconds - begin)
    kernels = [event for event in found.key_averages() if event.self_device_time_total > 0]
    kernels = [event for event in kernels if str(event.device_type).endswith('CUDA')]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    check.say(
        what=f'kernels of {what}',
        wall_ms=wall,
        busy_ms=sum(event.self_device_time_total for event in kernels) / 1000,
        launches=sum(event.count for event in kernels),
        top=[
            [event.key[:110], event.self_device_time_total / 1000, event.count]
            for event in kernels[:_KERNELS]
        ],
    )


def waits(check: Check) -> None:
    """A training step of Swin-L, and three tasks of an image of 1024 x 1024 by Swin-T."""
    if not check.on_gpu:
        check.say(skipped='needs a GPU')
        return
    with check.row(what='step'):
        model = peers.build_ours(check.large, True, check.device).train()
        batch = peers.draw_batch(640, (8, 15, 22, 13), check.device)
        step, _ = training_step(model, forward_pass('ours', model, batch, check.large), 'bf16')
        _report(check, 'step', step)
        del model, step
    with check.row(what='prediction'), torch.no_grad(), network_precision('bf16', check.device):
        model = peers.build_ours(check.small, False, check.device)
        model.test_cfg.update(object_mask_thr=0.01)
        image = peers.draw_batch(1024, [0], check.device).images
        sizes = dict(img_shape=(1024, 1024), ori_shape=(1024, 1024))
        _report(
            check,
            'prediction',
            lambda: model(image, [DetDataSample(metainfo=sizes)], mode='predict'),
        )


def _report(check: Check, what: str, work: Callable[[], object]) -> None:
    work()
    work()
    found = _waits(work)
    where = [list(pair) for pair in found.most_common(_LINES)]
    check.say(what=what, waits=found.total(), where=where, passed=found.total() <= _MOST[what])
    _profile(check, what, work)
