"""Time and memory of one step by module, and a picture of both.

Hooks charge what happens inside backbone, pixel decoder, text branch and criterion to these, and
all else to the transformer. For the backward pass the graph is cut between them and walked in
reverse. Time of modules adds up to the step, plus the cuts; memory is the peak, above the model,
while the module works, so it contains what the modules before have left.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from . import memory
from .timing import Clock

REST = 'transformer'
MODULES = ('backbone', 'pixel decoder', REST, 'text', 'criterion')

Pairs = list[tuple[Tensor, Tensor]]


def modules_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that are told apart, of ours or of Hugging Face's."""
    if hasattr(model, 'panoptic_head'):
        found = [
            ('backbone', model.backbone),
            ('pixel decoder', model.panoptic_head.pixel_decoder),
            ('text', model.text_mapper),
            ('criterion', model.criterion),
            ('criterion', model.contrastive_loss),
        ]
    else:
        pixels = model.model.pixel_level_module
        found = [
            ('backbone', pixels.encoder),
            ('pixel decoder', pixels.decoder),
            ('text', getattr(model.model, 'text_mapper', None)),
            ('criterion', model.criterion),
        ]
    return [(name, module) for name, module in found if module is not None]


def cut(value, pairs: Pairs):
    """Copy nested tensors without their graph, and note each with its copy."""
    if isinstance(value, Tensor):
        if not value.requires_grad:
            return value
        copy = value.detach().requires_grad_()
        pairs.append((value, copy))
        return copy
    if isinstance(value, Mapping):
        copies = {key: cut(item, pairs) for key, item in value.items()}
        return copies if type(value) is dict else type(value)(**copies)
    if type(value) in (list, tuple):
        return type(value)(cut(item, pairs) for item in value)
    return value


def laps_of(
    model: nn.Module, step: Callable[[], Tensor | None], meter: Clock | memory.PeakMeter
) -> dict[str, list[float]]:
    """Take one step.

    Args:
        model: Ours or Hugging Face's.
        step: The forward pass; returns the loss for a backward pass, or None for none.
        meter: Asked whenever a module begins or ends.

    Returns:
        What the meter said, by module.
    """
    laps = defaultdict(list)
    into_criterion: Pairs = []
    out_of: list[tuple[str, Pairs]] = []

    def begin(name: str):
        def hook(module, args, kwargs):
            if name == 'criterion':
                args, kwargs = cut(args, into_criterion), cut(kwargs, into_criterion)
            laps[REST].append(meter.lap())
            return args, kwargs

        return hook

    def end(name: str):
        def hook(module, args, result):
            laps[name].append(meter.lap())
            if name == 'criterion':
                return result
            out_of.append((name, []))
            return cut(result, out_of[-1][1])

        return hook

    hooks = []
    for name, module in modules_of(model):
        hooks.append(module.register_forward_pre_hook(begin(name), with_kwargs=True))
        hooks.append(module.register_forward_hook(end(name)))
    try:
        loss = step()
        laps[REST].append(meter.lap())
        if loss is not None:
            loss.backward()
            laps['criterion'].append(meter.lap())
            for name, pairs in [(REST, into_criterion), *reversed(out_of)]:
                reached = [(tensor, copy.grad) for tensor, copy in pairs if copy.grad is not None]
                torch.autograd.backward(*zip(*reached))
                laps[name].append(meter.lap())
    finally:
        for hook in hooks:
            hook.remove()
    return laps


def seconds_by_module(
    model: nn.Module, step: Callable, device: torch.device, repeats: int
) -> dict[str, float]:
    """Medians over some steps."""
    rounds = [laps_of(model, step, Clock(device)) for _ in range(repeats)]
    return {name: median(sum(laps[name]) for laps in rounds) for name in rounds[0]}


def bytes_by_module(model: nn.Module, step: Callable, device: torch.device) -> dict[str, float]:
    """Peaks above the model; to be called in an own process."""
    laps = laps_of(model, step, memory.PeakMeter(device))
    return {name: max(values) for name, values in laps.items()}


def require_matplotlib() -> None:
    """End with advice if the picture cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SystemExit('--plot needs matplotlib: pip install matplotlib') from None


def draw(
    path: Path,
    title: str,
    seconds: Mapping[str, Mapping[str, float]],
    peaks: Mapping[str, Mapping[str, float]],
) -> None:
    """Draw bars by module, one colour per side.

    Args:
        path: Of the picture.
        title: Above it.
        seconds: By side and module.
        peaks: Bytes, likewise.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout='constrained')
    figure.suptitle(title)
    panels = (('seconds', seconds, 1), ('GiB above the model, at most', peaks, 2**-30))
    for axes, (label, values, scale) in zip(figure.subplots(1, 2), panels):
        names = [name for name in MODULES if any(name in side for side in values.values())]
        for shift, (side, of) in enumerate(values.items()):
            places = [number + 0.4 * shift for number in range(len(names))]
            heights = [scale * of.get(name, 0) for name in names]
            axes.bar(places, heights, 0.38, label=f'{side}')
        axes.set_xticks([number + 0.2 for number in range(len(names))], names)
        axes.set_ylabel(label)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
