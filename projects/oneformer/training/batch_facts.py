"""Images of a step, and the learning rate for them."""

from ..host.run_plan import count


def describe_batch(batch_size: int, processes: int, accumulated: int = 1) -> str:
    """Images of an optimizer step, and the factors of that number."""
    factors = f'{batch_size} per process x {count(processes, "process", "es")}'
    if accumulated > 1:
        factors += f' x {accumulated} accumulated'
    return f'{batch_size * processes * accumulated} ({factors})'


def is_scaled(used: float, configured: float) -> bool:
    """Whether a learning rate is another than the configured one, but for rounding."""
    return abs(used - configured) > 1e-6 * configured


def describe_learning_rate(used: float, configured: float, base: int | None) -> str:
    """Describe the learning rate, and whether it was scaled to the batch.

    Args:
        used: Learning rate of the optimizer.
        configured: Learning rate of the config.
        base: Number of images that the config's learning rate is for, if it says so.
    """
    if is_scaled(used, configured):
        return f'{used:g} (scaled from {configured:g}, which is for {base} images)'
    if base is None:
        return f'{used:g} (of the config, not scaled)'
    return f'{used:g} (of the config, which is for {base} images; not scaled)'


def training_warnings(
    images: int, base: int | None, scaled: bool, candidates: int | None, idle_gpus: int
) -> list[str]:
    """Warnings about settings that are rarely meant, each with a remedy.

    Args:
        images: Number of images of an optimizer step.
        base: Number of images that the config's learning rate is for, if it says so.
        scaled: Whether the learning rate was scaled to the batch.
        candidates: Number of images that the contrastive loss compares each image with, itself
            included; None without that loss.
        idle_gpus: Number of GPUs that are visible and that no process uses.
    """
    warnings = []
    if base not in (None, images) and not scaled:
        warnings.append(
            f'the learning rate is for {base} images per step, and this run has {images}: pass '
            '--auto-scale-lr, or set optim_wrapper.optimizer.lr'
        )
    if candidates == 1:
        warnings.append(
            'the contrastive loss is 0 and the text branch learns nothing: each image is told from '
            'the others of the batch, over all processes, and there is one. Accumulating gradients '
            'does not change that; a larger batch, more processes, or '
            'model.contrastive_loss.memory=64 do (see docs/small_machines.md)'
        )
    if idle_gpus > 0:
        warnings.append(
            f'{idle_gpus} more GPUs are visible and not used: start by tools/dist_train.sh'
        )
    return warnings
