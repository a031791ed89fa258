"""Mask annealing: training gives up the attention masks of a decoder, one layer after the other.

Masked attention keeps a query inside its own mask, which training needs and prediction pays for. In
a layer's span of training fewer and fewer queries are masked; after it none is, so that the trained
model predicts without masks. Schedule and randomness are those of EoMT (Kerssies et al., CVPR
2025); its steps are fractions of training here, so that they fit any length.
"""

import logging
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..host.transfers import send

BUFFER = 'mask_annealing.probabilities'  # how its name ends in a model's state dict


def _checked_span(layer: int, span: Any) -> tuple[float, float]:
    is_pair = isinstance(span, Sequence) and not isinstance(span, str) and len(span) == 2
    if not is_pair or any(isinstance(x, bool) or not isinstance(x, Real) for x in span):
        raise ValueError(
            f'mask_annealing.spans[{layer}] is {span!r}: write (start, end), fractions of training'
        )
    start, end = map(float, span)
    if max(start, end) > 1:
        raise ValueError(
            f'mask_annealing.spans[{layer}] is {span!r}: start and end are fractions of training, '
            'from 0 to 1. Divide numbers of iterations by train_cfg.max_iters'
        )
    if not 0 <= start <= end:
        raise ValueError(
            f'mask_annealing.spans[{layer}] is {span!r}: it takes 0 <= start <= end <= 1'
        )
    return start, end


class MaskAnnealing(nn.Module):
    """Probabilities with which the queries of each masked layer keep their attention mask.

    At a progress x of training the probability of a layer with the span (s, e) is 1 up to s, 0
    from e on, and (1 - (x - s) / (e - s)) ** power between. A layer without a mask in training has
    none in prediction; while the probability is above 0, prediction masks every query.

    The probabilities are in the state dict, so that weights say whether they need masks.

    Args:
        spans: Start and end of each masked layer, as fractions of training from 0 to 1.
        power: Exponent of the decay, above 0.

    Raises:
        ValueError: For what is not a span of training, or another exponent.
    """

    probabilities: Tensor

    def __init__(self, spans: Sequence[tuple[float, float]], power: float = 0.9) -> None:
        super().__init__()
        if isinstance(spans, str) or not isinstance(spans, Sequence) or not spans:
            raise ValueError(
                f'mask_annealing.spans is {spans!r}: write one (start, end) for each masked layer'
            )
        if not power > 0:
            raise ValueError(f'mask_annealing.power is {power!r}: it has to be above 0')
        self.spans = [_checked_span(layer, span) for layer, span in enumerate(spans)]
        self.power = power
        self.register_buffer('probabilities', torch.ones(len(spans), dtype=torch.float32))
        self.known = [1.0] * len(spans)  # the same on the host, which decides without a wait
        self._is_updated = False

    def __len__(self) -> int:
        """Number of masked layers."""
        return len(self.spans)

    def probability(self, layer: int, progress: float) -> float:
        """Probability of a layer's masks at a progress of training from 0 to 1."""
        start, end = self.spans[layer]
        if progress < start:
            return 1.0
        if progress >= end:
            return 0.0
        return (1.0 - (progress - start) / (end - start)) ** self.power

    def update(self, progress: float) -> None:
        """Set the probabilities for a progress of training.

        Args:
            progress: Share of the steps that are done, from 0 to 1.
        """
        if not 0 <= progress <= 1:
            raise ValueError(f'the progress of training is {progress}: it lies between 0 and 1')
        values = torch.tensor(
            [self.probability(layer, progress) for layer in range(len(self))], dtype=torch.float32
        )
        self.known = values.tolist()  # rounded like the buffer: a resumed run decides the same
        self.probabilities.copy_(send(values, self.probabilities.device))
        self._is_updated = True

    def is_gone(self, layer: int) -> bool:
        """Whether a layer has no masks any more."""
        return self.known[layer] == 0

    def keep(self, layer: int, mask: Tensor | None) -> Tensor | None:
        """What is left of the masks of a layer, decided without reading from the device.

        Args:
            layer: Index of the masked layer.
            mask: Bool of shape (..., Q, N), True where a query may look; None without masks.

        Returns:
            The mask itself at probability 1, and in prediction at any above 0. None at 0. Else, in
            training, a mask in which each query may look everywhere with the probability left.
        """
        kept = self.known[layer]
        if self.training and not self._is_updated:
            self._is_updated = True  # said once
            print_log(
                'mask_annealing: no hook updates the probabilities, so that masks are not given '
                "up. Add custom_hooks=[dict(type='MaskAnnealingHook')]",
                'current',
                logging.WARNING,
            )
        if mask is None or kept == 0:
            return None
        if kept == 1 or not self.training:
            return mask
        draws = torch.rand(mask.shape[:-1], device=mask.device)
        return mask | (draws >= self.probabilities[layer])[..., None]

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        """Load, and read the probabilities from the device once."""
        super()._load_from_state_dict(*args, **kwargs)
        if not self.probabilities.is_meta:
            self.known = self.probabilities.tolist()
