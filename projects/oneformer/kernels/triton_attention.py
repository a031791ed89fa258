"""The operator ``oneformer::deformable_attention``: a Triton kernel on a GPU.

It is an operator of torch, not a plain ``autograd.Function``, so that ``torch.compile``, fake
tensors and dispatch modes take it as one step; a second derivative is refused. Kept for the
backward pass are its inputs alone. On a CPU plain torch computes it, or Triton's interpreter if
``TRITON_INTERPRET=1``. Triton is imported when a kernel is started.

Shapes: B images, N tokens, M heads, L levels, P points of a level, D channels of a head.
"""

import warnings

import torch
from torch import Tensor

from .attention_levels import Levels
from .attention_paths import interpreting
from .plain_attention import plain_attention, plain_gradients, type_of_sums

# Numbers in a tile of queries x samples x channels, by 128 threads. Of the sizes that were compiled
# for sm_80 and sm_90 these leave room for most threads at a time: at the sizes of the published
# models 72 registers forward and 151 or 114 backward, none in memory.
_FORWARD_TILE, _BACKWARD_TILE = 4096, 2048
_MOST_QUERIES = 32


def _constants(value: Tensor, numbers: Tensor, sizes: Tensor, num_points: int, tile: int) -> dict:
    """What is compiled into a kernel."""
    import triton.language as tl
    from triton import next_power_of_2

    _, N, M, D = value.shape
    L = len(sizes)
    samples, channels = next_power_of_2(L * num_points), next_power_of_2(D)
    return dict(
        M=M,
        L=L,
        P=num_points,
        D=D,
        samples=samples,
        channels=channels,
        queries=min(max(tile // (samples * channels), 1), _MOST_QUERIES),
        kind=tl.float64 if type_of_sums(value, numbers) == torch.float64 else tl.float32,
        index=tl.int64 if N * M * D >= 2**31 else tl.int32,
        num_warps=4,
    )


def _start(kernel, tensors: tuple[Tensor, ...], constants: dict) -> None:
    """Start a kernel for all images, heads and tokens, on the device of its tensors."""
    B, N, M, _ = tensors[0].shape
    programs = B * M * -(-N // constants['queries'])
    if not programs:
        return
    if tensors[0].device.type != 'cuda':
        kernel[programs,](*tensors, N, **constants)
        return
    with torch.cuda.device(tensors[0].device):
        kernel[programs,](*tensors, N, **constants)


def run_forward(
    value: Tensor, numbers: Tensor, sizes: Tensor, starts: Tensor, num_points: int
) -> Tensor:
    """The forward kernel; arguments as for ``deformable_attention``."""
    from . import triton_programs

    value, numbers = value.contiguous(), numbers.contiguous()
    output = torch.empty_like(value)
    constants = _constants(value, numbers, sizes, num_points, _FORWARD_TILE)
    _start(triton_programs.attend, (value, numbers, sizes, starts, output), constants)
    return output


def run_backward(
    value: Tensor,
    numbers: Tensor,
    sizes: Tensor,
    starts: Tensor,
    gradient: Tensor,
    num_points: int,
) -> tuple[Tensor, Tensor]:
    """The backward kernel: gradients of value and numbers, from that of the output."""
    from . import triton_programs

    value, numbers, gradient = (t.contiguous() for t in (value, numbers, gradient))
    value_gradient = torch.zeros_like(value, dtype=type_of_sums(value, numbers))
    numbers_gradient = torch.empty_like(numbers)
    constants = _constants(value, numbers, sizes, num_points, _BACKWARD_TILE)
    tensors = (value, numbers, sizes, starts, gradient, value_gradient, numbers_gradient)
    _start(triton_programs.differentiate, tensors, constants)
    return value_gradient.to(value.dtype), numbers_gradient


@torch.library.custom_op('oneformer::deformable_attention', mutates_args=(), device_types='cuda')
def deformable_attention(
    value: Tensor, numbers: Tensor, sizes: Tensor, starts: Tensor, num_points: int
) -> Tensor:
    """Attend from every token to sampled points of all levels; sums are float32, or float64.

    Args:
        value: Values of shape (B, N, M, D) and any type of floating point.
        numbers: Offsets (M, L, P, 2) in pixels, then scores (M, L, P) of each token, of shape
            (B, N, 3 * M * L * P), and any such type.
        sizes: (height, width) of the levels, int64 of shape (L, 2).
        starts: Index of each level's first token, int64 of shape (L,).
        num_points: P.

    Returns:
        Sums, of shape and type of ``value``.
    """
    return run_forward(value, numbers, sizes, starts, num_points)


@deformable_attention.register_kernel('cpu')
def _(value, numbers, sizes, starts, num_points):
    if interpreting():
        return run_forward(value, numbers, sizes, starts, num_points)
    return plain_attention(value, numbers, sizes, num_points)


@deformable_attention.register_fake
def _(value, numbers, sizes, starts, num_points):
    return value.new_empty(value.shape)


@torch.library.custom_op(
    'oneformer::deformable_attention_backward', mutates_args=(), device_types='cuda'
)
def deformable_attention_backward(
    value: Tensor,
    numbers: Tensor,
    sizes: Tensor,
    starts: Tensor,
    gradient: Tensor,
    num_points: int,
) -> tuple[Tensor, Tensor]:
    """Gradients of value and numbers, by atomic additions in no certain order.

    Raises:
        RuntimeError: If torch is to use deterministic algorithms only.
    """
    refuse_if_deterministic()
    return run_backward(value, numbers, sizes, starts, gradient, num_points)


@deformable_attention_backward.register_kernel('cpu')
def _(value, numbers, sizes, starts, gradient, num_points):
    if interpreting():
        refuse_if_deterministic()
        return run_backward(value, numbers, sizes, starts, gradient, num_points)
    return plain_gradients(value, numbers, sizes, gradient, num_points)


@deformable_attention_backward.register_fake
def _(value, numbers, sizes, starts, gradient, num_points):
    return value.new_empty(value.shape), numbers.new_empty(numbers.shape)


def refuse_if_deterministic() -> None:
    """Raise, or warn, as torch's own operators without a certain order of sums do."""
    if not torch.are_deterministic_algorithms_enabled():
        return
    told = (
        'the backward pass of path triton of deformable attention adds in no certain order, but '
        'deterministic algorithms were asked for (randomness.deterministic=True in a config, or '
        "torch.use_deterministic_algorithms): leave that out, let torch's warn_only=True allow "
        'it, or train on a CPU; no other path on a GPU has a certain order either'
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(told)
    warnings.warn(told, stacklevel=2)


def _keep(ctx, inputs, output):
    *tensors, ctx.num_points = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, gradient):
    gradients = deformable_attention_backward(*ctx.saved_tensors, gradient, ctx.num_points)
    return *gradients, None, None, None


deformable_attention.register_autograd(_differentiate, setup_context=_keep)


@torch.inference_mode(False)
def compare_with_plain_torch(device: torch.device) -> str | None:
    """How results and gradients differ from those of plain torch on a GPU; None if they do not.

    The sizes are those of the published models, so what is compiled is what will be used. No random
    number is drawn.
    """
    M, P, D = 8, 4, 32
    levels = Levels.of([(1, 1), (1, 2), (2, 3)], device)
    N = len(levels.centres)

    def wave(*shape: int) -> Tensor:
        count = torch.arange(torch.Size(shape).numel(), dtype=torch.float32, device=device)
        return (count + 0.1).sin().view(shape)

    value, numbers, upstream = wave(1, N, M, D), 2 * wave(1, N, 9 * M * P), wave(1, N, M, D) + 1
    given = levels.sizes, levels.starts
    with torch.autocast(device.type, enabled=False), torch.enable_grad():
        inputs = value.requires_grad_(), numbers.requires_grad_()
        expected = plain_attention(*inputs, levels.sizes, P)
        gradients = torch.autograd.grad(expected, inputs, upstream)
    found = run_forward(value, numbers, *given, P), *run_backward(*inputs, *given, upstream, P)
    for name, ours, plain in zip(
        ('results', 'gradients', 'gradients'), found, (expected, *gradients)
    ):
        error = ((ours - plain).norm() / plain.norm()).item()
        if not error < 1e-3:
            return f'our Triton kernel computes other {name} here than plain torch, by {error:.1%}'
    return None
