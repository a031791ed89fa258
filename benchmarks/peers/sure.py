"""Random models that are sure of classes and of sides of pixels, as trained ones are."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Layers = Sequence[nn.Linear]  # that get the same weights


def seen(run: Callable[[], object], module: nn.Module, of: str) -> Tensor:
    """Rows of features that a module took (``of='inputs'``) or gave last."""
    found: list[Tensor] = []
    hook = module.register_forward_hook(
        lambda _, inputs, outputs: found.append((inputs if of == 'inputs' else outputs)[0])
    )
    run()
    hook.remove()
    return found[-1]


def whitening(features: Tensor) -> Tensor:
    """Square matrix after which rows have a mean square of 1 in their larger directions, 0 else."""
    _, lengths, directions = torch.linalg.svd(features, full_matrices=False)
    scales = len(features) ** 0.5 / lengths
    scales[lengths < 0.05 * lengths[0]] = 0
    return directions.mT * scales @ directions


@torch.no_grad()
def make_masks_sure(run: Callable[[], object], layers: Layers, pixel_decoder: nn.Module) -> None:
    """Let mask logits differ by some 6, between queries and pixels.

    They mix the directions in which queries differ, and those in which pixels do, by chance.

    Args:
        run: Runs the model on one image.
        layers: Last layers of the mask embeddings, the first is that of the model.
        pixel_decoder: Its first output are the mask features (1, C, h, w).
    """
    queries = seen(run, layers[0], 'inputs').flatten(0, -2)  # Q C
    pixels = seen(run, pixel_decoder, 'outputs')[0].flatten(1).mT  # h w, C
    mean = queries.mean(0)
    mix = torch.randn(pixels.shape[1], queries.shape[1], generator=torch.Generator().manual_seed(0))
    mix *= 6 / queries.shape[1] ** 0.5
    weight = whitening(pixels) @ mix @ whitening(queries - mean)
    for layer in layers:
        layer.weight.copy_(weight)
        layer.bias.copy_(-weight @ mean)


@torch.no_grad()
def make_classes_sure(run: Callable[[], object], layers: Layers) -> None:
    """Let class logits be high for one class and 0 for the others: its probability is 0.98.

    The query at position q is of class 7 q modulo the number of classes, on the image of ``run``.

    Args:
        run: Runs the model on one image.
        layers: Classifiers, the first is that of the model.
    """
    head = layers[0]
    features = seen(run, head, 'inputs').flatten(0, -2)  # Q C
    classes = 7 * torch.arange(len(features)) % (head.out_features - 1)
    wanted = (4 + math.log(head.out_features)) * torch.eye(head.out_features)[classes]
    mean = features.mean(0)
    weight = (torch.linalg.pinv(features - mean, rtol=0.02) @ wanted).mT
    for layer in layers:
        layer.weight.copy_(weight)
        layer.bias.copy_(-weight @ mean)
