"""The device against the CPU: losses and gradients at the same points, then predictions."""

import copy

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from oneformer.kernels.precision import network_precision

from .. import peers
from .report import Check
from .settings import attention, attention_paths, precisions

# largest relative error of a loss, and median of those of the gradients
# (convolutions of float32 have TF32 by torch's default)
_LIMITS = dict(fp32=(5e-3, 5e-2), tf32=(2e-2, 0.1), bf16=(0.1, 0.5), fp16=(0.1, 0.5))
# a gradient below this share of the largest is zero but for rounding
_ZERO = 1e-5
# share of pixels with the label of the CPU; weights are random, so that many are undecided
_SAME_PIXELS = dict(fp32=0.995, tf32=0.9, bf16=0.5, fp16=0.5)


def _error(found: Tensor, expected: Tensor) -> float:
    found, expected = (x.detach().double().cpu() for x in (found, expected))
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def _step(model: nn.Module, batch: peers.Batch, path: str, kind: str) -> dict[str, Tensor]:
    """Losses of a model in evaluation, and its gradients, which are left in it."""
    scale = 1024.0 if kind == 'fp16' else 1.0
    with (
        peers.same_points(model),
        attention(model, path),
        network_precision(kind, batch.images.device),
    ):
        losses = model(batch.images, peers.our_samples(batch), mode='loss')
    (scale * sum(losses.values())).backward()
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale
    return losses


def losses(check: Check) -> None:
    """Losses and gradients of every attention path, in every precision."""
    cpu = torch.device('cpu')
    side, targets = 128, (3, 5)
    for backbone in ('swin-t', 'r50'):
        reference = peers.build_ours(peers.SMALL, True, cpu, backbone)  # without dropout
        start = copy.deepcopy(reference)
        expected = _step(reference, peers.draw_batch(side, targets, cpu), 'auto', 'fp32')
        wanted = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
        least = _ZERO * max(float(gradient.norm()) for gradient in wanted.values())
        wanted = {n: gradient for n, gradient in wanted.items() if float(gradient.norm()) > least}
        for path in attention_paths(check.device):
            for kind in precisions(check.device):
                facts = dict(what='losses', backbone=backbone, path=path, precision=kind)
                with check.row(**facts):
                    model = copy.deepcopy(start).to(check.device)
                    batch = peers.draw_batch(side, targets, check.device)
                    found = _step(model, batch, path, kind)
                    loss_error = max(
                        abs(found[name].item() / value.item() - 1)
                        for name, value in expected.items()
                        if value.item()
                    )
                    errors = sorted(
                        (_error(p.grad, wanted[name]), name)
                        for name, p in model.named_parameters()
                        if name in wanted
                    )
                    middle, worst = errors[len(errors) // 2][0], errors[-1]
                    most_loss, most_gradient = _LIMITS[kind]
                    check.say(
                        **facts,
                        loss_error=loss_error,
                        gradient_error=middle,
                        worst_gradient=list(worst),
                        passed=loss_error <= most_loss and middle <= most_gradient,
                    )


def predictions(check: Check) -> None:
    """Predictions of three tasks, of every attention path in every precision."""
    side = 64 if check.tiny else 256
    model = peers.build_ours(check.small, False, torch.device('cpu'))
    model.test_cfg.update(object_mask_thr=0.0, iou_thr=0.3)
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    sizes = dict(img_shape=(side - 8, side - 16), ori_shape=(2 * side + 5, side - 7))

    def predict(image: Tensor) -> DetDataSample:
        samples = [DetDataSample(metainfo=sizes)]
        with torch.no_grad():
            return model(image, samples, mode='predict')[0].cpu()

    expected = predict(image)
    model.to(check.device)
    for path in attention_paths(check.device):
        for kind in precisions(check.device):
            facts = dict(what='predictions', path=path, precision=kind)
            with check.row(**facts), attention(model, path), network_precision(kind, check.device):
                found = predict(image.to(check.device))
                same = {
                    field: float(
                        (found.get(field).sem_seg == expected.get(field).sem_seg).float().mean()
                    )
                    for field in ('pred_panoptic_seg', 'pred_sem_seg')
                }
                check.say(
                    **facts,
                    same_pixels=same,
                    instances=[len(found.pred_instances), len(expected.pred_instances)],
                    passed=min(same.values()) >= _SAME_PIXELS[kind],
                )
