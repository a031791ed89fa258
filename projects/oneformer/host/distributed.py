"""Several processes without a GPU, which mmengine cannot start."""

import atexit
import datetime
import os
import sys

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS

_TIMEOUT = datetime.timedelta(minutes=30)  # for a lost process


def init_cpu_processes(launcher: str) -> None:
    """Join the other processes by gloo if there is no GPU; mmengine's Runner then keeps that.

    Does nothing with ``launcher='none'`` or with a GPU, where the Runner joins by nccl.

    Args:
        launcher: Option of ``oneformer train``; the variables that torch reads are set, see
            ``slurm_variables`` for Slurm.
    """
    if launcher == 'none' or torch.cuda.is_available() or dist.is_initialized():
        return
    dist.init_process_group('gloo', timeout=_TIMEOUT)


def leave_processes(code: int = 0) -> None:
    """End this process together with the others, as the last call of a tool.

    Does nothing if there are no others. No process ends while another still needs it. The steps
    of Python after its exit handlers are left out: now and then a process aborted there, and
    with it the whole job, after all work was done.

    Args:
        code: Exit code of this process.
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@MODEL_WRAPPERS.register_module()
class OneFormerDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, also for modules on a CPU; gradients lie in what is sent.

    Args:
        module: The model.
        device_ids: GPU of this process.
        gradient_as_bucket_view: Whether gradients are views of the buffers that processes sum up,
            which saves the memory of a second copy.
        **kwargs: Arguments of mmengine's wrapper.
    """

    def __init__(
        self,
        module,
        device_ids: list[int] | None = None,
        gradient_as_bucket_view: bool = True,
        **kwargs,
    ) -> None:
        if not torch.cuda.is_available():
            device_ids = None
        super().__init__(
            module,
            device_ids=device_ids,
            gradient_as_bucket_view=gradient_as_bucket_view,
            **kwargs,
        )
