"""A device that computes on the CPU, says it is cuda:0, and counts when the host waits for it.

As on a GPU, a value that the host reads is a wait, and so is a copy of memory that is not pinned,
or that is not asked to be asynchronous: either ends when all that was queued before has ended.
An asynchronous copy to the host arrives when the host waits for the device; until then its memory
holds something else. Tensors of two devices do not meet in an operator. The values, and the
gradients, are the CPU's.

Only Python sees the device, so that gradients need no driver; autocast does not see it either.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import return_and_correct_aliasing

CUDA = torch.device('cuda:0')
CPU = torch.device('cpu')
# operators whose result the host has to know, or whose size depends on values
_READS = {
    '_linalg_check_errors',
    '_local_scalar_dense',
    '_unique',
    '_unique2',
    'bincount',
    'equal',
    'histc',
    'is_nonzero',
    'masked_select',
    'nonzero',
    'repeat_interleave',
    'unique_consecutive',
    'unique_dim',
}
_INDEXING = {'index', 'index_put', 'index_put_', '_index_put_impl_', '_unsafe_index'}
_COPIES = {'copy_', '_to_copy'}
_NEW = (Tensor.new_tensor, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_empty)
_HERE = Path(__file__).resolve()
_ROOT = _HERE.parents[1]
_HELPER = 'transfers.py'  # who calls it is of interest
_GROUP = torch._C._group_tensors_by_device_and_dtype
_pinned: set[StorageWeakRef] = set()


class Wait(NamedTuple):
    """The host waits.

    Attributes:
        kind: 'read', or 'copy' of host memory to the device.
        operator: Name of torch's operator.
        place: ``file.py:function`` of the repository, or of the package that waits.
        line: Its number there.
    """

    kind: str
    operator: str
    place: str
    line: int

    def __str__(self) -> str:
        return f'{self.kind} by {self.operator} in {self.place}, line {self.line}'


def _frames() -> Iterator:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _caller() -> tuple[str, int]:
    """Where the repository's innermost line is, or that of the package that called torch."""
    nearest = None
    for frame in _frames():
        path = Path(frame.f_code.co_filename)
        if path == _HERE or path.name == _HELPER or '/torch/' in str(path):
            continue
        here = f'{path.name}:{frame.f_code.co_name}', frame.f_lineno
        if path.is_relative_to(_ROOT / 'projects'):
            return here
        nearest = nearest or here
    return nearest or ('torch', 0)  # a backward pass, which torch runs by itself


def _tensors(values) -> Iterator[Tensor]:
    """Tensors of an operator's arguments, which torch's own walk through trees is slow at."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _replace(value, kind: type, new):
    """Nested arguments or results with what ``new`` makes of each of a kind."""
    if isinstance(value, kind):
        return new(value)
    if isinstance(value, list | tuple):
        return type(value)([_replace(item, kind, new) for item in value])
    return value


def is_pinned(tensor: Tensor) -> bool:
    """Whether a tensor of the CPU, or what it is a view of, is in pinned memory."""
    return StorageWeakRef(tensor.untyped_storage()) in _pinned


def _pin(tensor: Tensor) -> Tensor:
    _pinned.difference_update([storage for storage in _pinned if storage.expired()])
    _pinned.add(StorageWeakRef(tensor.untyped_storage()))
    return tensor


def _spoil(tensor: Tensor) -> None:
    """Put something else into memory that a copy will arrive in."""
    with torch.no_grad():
        tensor.fill_(
            torch.nan if tensor.is_floating_point() else 1 if tensor.dtype == torch.bool else 77
        )


class _Event:
    """Stands in for an event of CUDA."""

    def __init__(self, *args, **kwargs) -> None:
        pass

    def record(self, stream=None) -> None:
        pass

    def wait(self, stream=None) -> None:
        """Another stream waits, the host does not."""

    def synchronize(self) -> None:
        if CountingDevice.current is not None:
            CountingDevice.current._wait('read', 'synchronize')


class _Stream(_Event):
    """Stands in for a stream of CUDA."""

    cuda_stream = 0

    def wait_stream(self, stream) -> None:
        pass

    def wait_event(self, event) -> None:
        pass

    def record_event(self, event=None) -> _Event:
        return event or _Event()


_CUDA = dict(
    Event=_Event,
    Stream=_Stream,
    stream=lambda stream: nullcontext(),
    current_stream=lambda device=None: _Stream(),
    synchronize=lambda device=None: _Event().synchronize(),
)


def _group(lists: list, with_indices: bool) -> dict:
    """What C++ groups by the CPU, of which it knows, by the device that Python sees."""
    return {
        (CUDA if isinstance(tensors[0][0], _OnDevice) else device, dtype): (tensors, indices)
        for (device, dtype), (tensors, indices) in _GROUP(lists, with_indices).items()
    }


class _OnDevice(Tensor):
    """A tensor of the device: a wrapper around one of the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @staticmethod
    def __new__(cls, inner: Tensor) -> '_OnDevice':
        self = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CPU,
            requires_grad=False,
        )
        self.inner = inner
        return self

    def __repr__(self) -> str:
        return f'on the counting device: {self.inner!r}'

    def __tensor_flatten__(self):
        return ['inner'], None

    @classmethod
    def __tensor_unflatten__(cls, inner_tensors, context, outer_size, outer_stride):
        return cls(inner_tensors['inner'])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.split('::')[1]
        device = CountingDevice.current
        if device is not None and device.watch(name, args, kwargs):
            return args[0]
        inner = [_replace(arg, _OnDevice, _inner) for arg in args]
        out = func(*inner, **{k: _replace(arg, _OnDevice, _inner) for k, arg in kwargs.items()})
        if name in _COPIES and not isinstance(args[0], _OnDevice):
            return args[0] if name == 'copy_' else out
        out = _replace(out, Tensor, cls)
        return return_and_correct_aliasing(func, args, kwargs, out)


def _inner(tensor: _OnDevice) -> Tensor:
    return tensor.inner


def values(what):
    """The numbers of a tensor of the device, not counted; anything else as it is."""
    return what.inner if isinstance(what, _OnDevice) else what


def _is_cuda(device: object) -> bool:
    return device is not None and torch.device(device).type == 'cuda'


class CountingDevice(TorchFunctionMode):
    """A context in which ``cuda`` is this device.

    Attributes:
        waits: When the host waited so far.
    """

    current: 'CountingDevice | None' = None

    def __init__(self, around: 'CountingDevice | None' = None) -> None:
        super().__init__()
        self._backward = around is not None  # where torch itself makes zeros, on the CPU
        self.waits: list[Wait] = around.waits if around else []
        self._late: list[tuple[Tensor, Tensor]] = around._late if around else []

    def __enter__(self) -> 'CountingDevice':
        self._before = CountingDevice.current
        CountingDevice.current = self
        self._patches = ExitStack()
        self._patches.enter_context(mock.patch.multiple(torch.cuda, **_CUDA))
        self._patches.enter_context(
            mock.patch.object(torch._C, '_group_tensors_by_device_and_dtype', _group)
        )
        _foreach_utils._foreach_supported_types.append(_OnDevice)  # optimizers go by the class
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        _foreach_utils._foreach_supported_types.remove(_OnDevice)
        self._patches.close()
        CountingDevice.current = self._before

    def put(self, what):
        """A tensor, or a module with its tensors, on the device; not counted."""
        if isinstance(what, nn.Module):
            for module in what.modules():
                for name, value in module._parameters.items():
                    if value is not None:
                        on_device = nn.Parameter(_OnDevice(value.data), value.requires_grad)
                        module._parameters[name] = on_device
                for name, value in module._buffers.items():
                    if value is not None:
                        module._buffers[name] = _OnDevice(value)
                if hasattr(module, '_device'):  # mmengine's data preprocessor
                    module._device = CUDA
            return what
        return _OnDevice(what)

    def _wait(self, kind: str, operator: str) -> None:
        self.waits.append(Wait(kind, operator, *_caller()))
        while self._late:
            host, values = self._late.pop(0)
            host.copy_(values)

    def watch(self, name: str, args: tuple, kwargs: dict) -> bool:
        """Note what an operator makes the host wait for.

        Returns:
            Whether it is a copy that will arrive later.

        Raises:
            RuntimeError: For tensors of two devices.
        """
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        if name in _READS and kwargs.get('output_size') is None:
            self._wait('read', name)
        if name in _INDEXING:
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype == torch.bool for index in indices):
                self._wait('read', name)
            if not all(isinstance(index, _OnDevice) for index in indices):
                self._wait('copy', name)
            tensors = [x for x in tensors if all(x is not index for index in indices)]
        if name in _COPIES:
            return self._watch_copy(name, args, kwargs)
        if not self._backward and any(not isinstance(x, _OnDevice) and x.dim() for x in tensors):
            raise RuntimeError(f'{name} got tensors of cuda:0 and of cpu')
        return False

    def _watch_copy(self, name: str, args: tuple, kwargs: dict) -> bool:
        if name == '_to_copy':  # a copy to another device goes through ``_to``
            return False
        target, source = args[:2]
        if isinstance(target, _OnDevice) == isinstance(source, _OnDevice):
            return False
        asynchronous = (args[2] if len(args) > 2 else kwargs.get('non_blocking')) or False
        host = source if isinstance(target, _OnDevice) else target
        if not (asynchronous and is_pinned(host)):
            self._wait('copy' if host is source else 'read', name)
        elif host is target:
            self._late.append((host, source.inner.clone()))
            _spoil(host)
            return True
        return False

    def _to(self, tensor: Tensor, device: object, non_blocking: bool, **options) -> Tensor:
        """A tensor on another device, as ``Tensor.to``."""
        there = _is_cuda(device)
        if there == isinstance(tensor, _OnDevice):
            return tensor.to(**options)
        if not non_blocking or (there and not is_pinned(tensor)):
            self._wait('copy' if there else 'read', 'to')
            return _Crossing.apply(tensor.to(**options) if there else tensor, there, options)
        if there:
            return _Crossing.apply(tensor.to(**options), there, options)
        host = _pin(_Crossing.apply(tensor, there, options))  # as torch does
        self._late.append((host.detach(), host.detach().clone()))
        _spoil(host.detach())
        return host

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, '__name__', '')
        if func is Tensor.backward:  # what it calls of Python makes tensors too
            kwargs['grad_tensors'] = kwargs.pop('gradient', None)
            with CountingDevice(self):
                return torch.autograd.backward(*args, **kwargs)
        if func is Tensor.pin_memory:
            return _pin(args[0].clone())
        if func is Tensor.is_pinned:
            return not isinstance(args[0], _OnDevice) and is_pinned(args[0])
        if func in (Tensor.cpu, Tensor.cuda):
            return self._to(args[0], name, kwargs.get('non_blocking', False))
        if func is Tensor.tolist and isinstance(args[0], _OnDevice):
            self._wait('read', 'tolist')
            return args[0].inner.tolist()
        if func is Tensor.numpy and isinstance(args[0], _OnDevice):
            raise TypeError('a tensor of cuda:0 has no numpy array')
        if func is Tensor.to:
            return self._parse_to(*args, **kwargs)
        if func in _NEW:
            kwargs.setdefault('device', args[0].device)
            kwargs.setdefault('dtype', args[0].dtype)
            if func is Tensor.new_tensor:
                return self._made(torch.tensor, args[1:], kwargs)
            return self._made(func, (torch.empty(0), *args[1:]), kwargs)
        if 'device' in kwargs or kwargs.get('pin_memory'):
            return self._made(func, args, kwargs)
        return func(*args, **kwargs)

    def _made(self, func, args: tuple, kwargs: dict) -> Tensor:
        """A new tensor."""
        device = kwargs.pop('device', None)
        given = [*_tensors(args), *_tensors(kwargs.values())]
        if any(isinstance(x, _OnDevice) for x in given):  # such as ``zeros_like``
            return func(*args, **kwargs)
        pinned = kwargs.pop('pin_memory', False)
        generator = kwargs.get('generator')
        if generator is not None and generator.device.type != 'cpu':
            kwargs.pop('generator')
        made = func(*args, **kwargs, device=CPU)
        if not _is_cuda(device):
            return _pin(made) if pinned else made
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            self._wait('copy', func.__name__)
        return _OnDevice(made)

    def _parse_to(self, tensor: Tensor, *args, **kwargs) -> Tensor:
        options = {key: kwargs[key] for key in ('copy', 'memory_format') if key in kwargs}
        device, dtype = kwargs.get('device'), kwargs.get('dtype')
        non_blocking = kwargs.get('non_blocking', False)
        rest = list(args)
        if rest and isinstance(rest[0], Tensor):
            device, dtype, *_ = rest[0].device, rest.pop(0).dtype
        elif rest and isinstance(rest[0], torch.dtype):
            dtype = rest.pop(0)
        elif rest:
            device = rest.pop(0)
            if rest and isinstance(rest[0], torch.dtype | None):
                dtype = rest.pop(0)
        if rest:
            non_blocking = rest.pop(0)
        if dtype is not None:
            options['dtype'] = dtype
        return self._to(
            tensor, tensor.device if device is None else device, non_blocking, **options
        )


class _Crossing(torch.autograd.Function):
    """A tensor and its gradient from one device to the other."""

    @staticmethod
    def forward(ctx, tensor, there, options):
        ctx.there = there
        return _OnDevice(tensor) if there else tensor.inner.clone().to(**options)

    @staticmethod
    def backward(ctx, gradient):
        return (gradient.inner if ctx.there else _OnDevice(gradient)), None, None
