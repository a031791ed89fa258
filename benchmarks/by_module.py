"""Time and memory of one step by module, and a picture of both.

Hooks charge time and memory inside backbone, pixel decoder, text branch and criterion to these,
and all else to the transformer. For the backward pass the graph is cut between them and walked in
reverse. Time of modules adds up to the step, plus the cuts. Memory is the peak while a module
works, above the memory when it began, forward or backward, whichever is more.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from oneformer.models.criterion import Matching
from oneformer.studies.plots import save_figure

from . import memory
from .timing import Clock

REST = 'transformer'
SIDES = dict(ours='ours', hf='Hugging Face')
MODULES = ('backbone', 'pixel decoder', REST, 'text', 'criterion')

Pairs = list[tuple[Tensor, Tensor]]


def modules_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that are measured apart, of our model or of Hugging Face's."""
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
    """Copy nested tensors without their graph, and collect pairs of original and copy."""
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
    if isinstance(value, Matching):
        return Matching(**{key: cut(item, pairs) for key, item in vars(value).items()})
    return value


def laps_of(
    model: nn.Module, step: Callable[[], Tensor | None], lap: Callable[[], float]
) -> dict[str, list[float]]:
    """Take one step.

    Args:
        model: Our model or Hugging Face's.
        step: Forward pass; returns the loss for a backward pass, or None for none.
        lap: Measurement since its last call; called whenever a module begins or ends.

    Returns:
        Measurements by module.
    """
    laps = defaultdict(list)
    into_criterion: Pairs = []
    out_of: list[tuple[str, Pairs]] = []

    def begin(name: str):
        def hook(module, args, kwargs):
            if name == 'criterion':
                args, kwargs = cut(args, into_criterion), cut(kwargs, into_criterion)
            laps[REST].append(lap())
            return args, kwargs

        return hook

    def end(name: str):
        def hook(module, args, result):
            laps[name].append(lap())
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
        laps[REST].append(lap())
        if loss is not None:
            loss.backward()
            laps['criterion'].append(lap())
            for name, pairs in [(REST, into_criterion), *reversed(out_of)]:
                reached = [(tensor, copy.grad) for tensor, copy in pairs if copy.grad is not None]
                torch.autograd.backward(*zip(*reached))
                laps[name].append(lap())
    finally:
        for hook in hooks:
            hook.remove()
    return laps


def seconds_by_module(
    steps: Mapping[str, tuple[nn.Module, Callable]], device: torch.device, repeats: int
) -> dict[str, dict[str, float]]:
    """Medians over some steps of each side; the sides take turns.

    Args:
        steps: Model and step of each side, see ``laps_of``.
        device: Device of the models.
        repeats: Rounds after one to warm up.
    """
    rounds = {side: [] for side in steps}
    for _ in range(1 + repeats):
        for side, (model, step) in steps.items():
            model.zero_grad(set_to_none=True)
            laps = laps_of(model, step, Clock(device).lap)
            rounds[side].append({name: sum(values) for name, values in laps.items()})
    return {
        side: {name: median(sums[name] for sums in of[1:]) for name in of[0]}
        for side, of in rounds.items()
    }


def bytes_by_module(model: nn.Module, step: Callable, device: torch.device) -> dict[str, float]:
    """Peak bytes by module; to be called in a process of its own."""
    meter = memory.PeakMeter(device)

    def lap() -> int:
        peak = meter.lap()
        meter.restart()
        return peak

    return {name: max(values) for name, values in laps_of(model, step, lap).items()}


def require_matplotlib() -> None:
    """End with advice if the picture cannot be drawn, as matplotlib is missing."""
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
        path: Path of the picture.
        title: Title above the picture.
        seconds: Seconds by side and module.
        peaks: Peak bytes by side and module.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout='constrained')
    figure.suptitle(title)
    panels = (('seconds', seconds, 1), ('GiB on top', peaks, 2**-30))
    for axes, (label, values, scale) in zip(figure.subplots(1, 2), panels):
        names = [name for name in MODULES if any(name in side for side in values.values())]
        for shift, (side, of) in enumerate(values.items()):
            places = [number + 0.4 * shift for number in range(len(names))]
            heights = [scale * of.get(name, 0) for name in names]
            axes.bar(places, heights, 0.38, label=SIDES[side])
        axes.set_xticks([number + 0.2 for number in range(len(names))], names, fontsize=9)
        axes.set_ylabel(label)
        axes.legend()
    save_figure(figure, path)
