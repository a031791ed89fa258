"""Training of models too large for one GPU: each process keeps a part of everything.

mmengine's ``FSDPStrategy`` uses the older ``FullyShardedDataParallel``, which flattens
parameters and needs a GPU. Here parameters keep their names and shapes, so the groups of
``OneFormerOptimWrapperConstructor`` are right, and checkpoints are those of any other run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import mmengine
import torch
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.logging import print_log
from mmengine.registry import STRATEGIES
from mmengine.runner import save_checkpoint
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from .checkpoint_files import durable_backend

try:  # both are public from torch 2.6 on
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import distribute_tensor
except ImportError:
    MixedPrecisionPolicy = fully_shard = distribute_tensor = cast(Any, None)

_DTYPES = ('float32', 'bfloat16')


def is_sharded(value: object) -> bool:
    """Whether a value is a tensor of which this process has a part, torch's ``DTensor``."""
    return isinstance(value, Tensor) and hasattr(value, 'full_tensor')


def gather_parts(state: Any) -> Any:
    """Replace every sharded tensor in nested containers by the whole one, on the CPU.

    All processes have to call it; the tensors are kept by the first alone, so that the others need
    memory for one at a time.
    """

    def gather(part: Tensor) -> Tensor | None:
        whole = part.full_tensor()
        return whole.cpu() if is_main_process() else None

    return apply_to(state, is_sharded, gather)


def part_like(whole: Tensor, sharded: Tensor) -> Tensor:
    """This process' part of a tensor that all processes have, sharded as another of its shape."""
    if is_sharded(whole) or not is_sharded(sharded):
        return whole
    if whole.shape != sharded.shape:  # the count of steps, or a mismatch, which is reported later
        return whole
    return distribute_tensor(
        whole.to(sharded.device), sharded.device_mesh, sharded.placements, src_data_rank=None
    )


@STRATEGIES.register_module()
class FullyShardStrategy(DDPStrategy):
    """Parameters, gradients and optimizer states spread over the processes (torch's FSDP 2).

    For ``runner_type='FlexibleRunner'``. Checkpoints hold whole tensors in the layout of other
    runs: any number of processes, and any runner, can load them.

    Args:
        units: Class names of modules whose parameters are fetched together, just for their turn.
            They must be used by calling them; the parameters of all others are fetched once for
            the whole step.
        units_dtype: Number format in which parameters of the units are fetched: ``'float32'``, or
            for training under bfloat16 autocast ``'bfloat16'``, half the traffic. What a process
            keeps, sums of gradients and all outside the units stay in float32. Validation then runs
            under bfloat16 autocast, too, and a run without autocast in float32; both are logged.
        **kwargs: Arguments of mmengine's ``DDPStrategy``.

    Raises:
        RuntimeError: If torch is older than 2.6, which brought this.
        ValueError: If the model has no module of a unit's class; for another number format, and one
            that does not fit ``model.test_cfg.precision``.
    """

    def __init__(self, *, units: Sequence[str], units_dtype: str = 'float32', **kwargs) -> None:
        if fully_shard is None:
            raise RuntimeError(
                'FullyShardStrategy, which spreads a model over several GPUs, needs torch 2.6 or '
                f'later, and this is torch {torch.__version__}. Install a later one, or train by '
                'the config without sharding, in which each GPU holds the whole model'
            )
        super().__init__(**kwargs)
        if units_dtype not in _DTYPES:
            raise ValueError(
                f'strategy.units_dtype is {units_dtype!r}: it has to be one of {", ".join(_DTYPES)}'
            )
        self.units, self.units_dtype = units, units_dtype

    def prepare(self, model, *, optim_wrapper=None, **kwargs):
        """Prepare what is trained or tested, see mmengine's strategy."""
        plain = optim_wrapper is None or (
            isinstance(optim_wrapper, Mapping) and optim_wrapper.get('type') == 'OptimWrapper'
        )
        if self.units_dtype != 'float32' and plain:
            print_log(
                f'strategy.units_dtype={self.units_dtype} is for training under autocast (--amp '
                'bf16), which this is not: parameters are fetched in float32',
                'current',
            )
            self.units_dtype = 'float32'
        return super().prepare(model, optim_wrapper=optim_wrapper, **kwargs)

    def _unit_options(self, model: nn.Module) -> dict:
        """Options of ``fully_shard`` for units; predictions are made in the same format."""
        if self.units_dtype == 'float32':
            return {}
        test_cfg = getattr(model, 'test_cfg', {})
        precision = test_cfg.get('precision')
        if precision not in (None, 'bf16'):
            raise ValueError(
                f'model.test_cfg.precision is {precision}, but strategy.units_dtype='
                f'{self.units_dtype} leaves no float32 parameters to validate with: choose bf16 '
                'or units_dtype=float32'
            )
        if precision is None:
            test_cfg['precision'] = 'bf16'
            print_log(
                f'strategy.units_dtype={self.units_dtype}: validation runs under bfloat16 '
                'autocast, as training does',
                'current',
            )
        # autocast casts what enters products; the features between blocks stay in float32
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        return dict(mp_policy=policy)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        names = {type(module).__name__ for module in model.modules()}
        if missing := sorted(set(self.units) - names):
            raise ValueError(f'strategy.units: the model has no module of class {missing}')
        device = get_device()
        model = self.convert_model(model.to(device))
        mesh = init_device_mesh(device, (get_world_size(),))
        options = self._unit_options(model)
        for module in list(model.modules()):
            if type(module).__name__ in self.units:
                fully_shard(module, mesh=mesh, **options)
        return fully_shard(model, mesh=mesh)

    def model_state_dict(self) -> dict:
        """Whole weights in the first process; all have to call it."""
        return gather_parts(super().model_state_dict())

    def optim_state_dict(self) -> dict:
        """Whole optimizer state in the first process; all have to call it."""
        return gather_parts(super().optim_state_dict())

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Write a file with whole tensors, in full or not at all; all processes have to call it."""
        content = dict(state_dict=self.model_state_dict())
        if save_optimizer:
            content['optimizer'] = self.optim_state_dict()
        if not is_main_process():
            return
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            content['param_schedulers'] = self.scheduler_state_dict()
        content.update(extra_ckpt or {})
        content.setdefault('meta', {}).update(
            seed=self.seed, time=time.strftime('%Y%m%d_%H%M%S'), mmengine=mmengine.__version__
        )
        if callback is not None:
            callback(content)
        save_checkpoint(content, filename, backend_args=durable_backend(filename))

    def load_checkpoint(self, filename: str, *, map_location='cpu', **kwargs) -> dict:
        """Load whole tensors on the CPU, since a GPU may lack the memory, and keep this part."""
        where = 'cpu' if map_location == 'default' else map_location
        return super().load_checkpoint(filename, map_location=where, **kwargs)

    def load_model_state_dict(self, state_dict: dict, **kwargs) -> None:
        """Load whole weights."""
        own = self.model.state_dict()
        parts = {
            name: part_like(value, own[name]) if name in own else value
            for name, value in state_dict.items()
        }
        with torch.no_grad():
            super().load_model_state_dict(parts, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load a whole optimizer state."""
        groups = self.optim_wrapper.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group['params']]
        for index, values in state_dict['state'].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    values[name] = part_like(value, parameters[index])
        super().load_optim_state_dict(state_dict)
