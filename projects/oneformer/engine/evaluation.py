"""Evaluate a checkpoint on all tasks in one pass, or on every task under every token."""

import copy
from collections.abc import Sequence

from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.runner import Runner

from ..tasks import TASKS, check_task

HEADLINE = dict(panoptic='panoptic/PQ', instance='instance/AP', semantic='semantic/mIoU')


def inference_config(
    cfg: Config, tasks: Sequence[str] | None = None, token: str | None = None
) -> Config:
    """Copy a config for evaluation: no text branch, and only the metrics of the tasks.

    Args:
        cfg: Config of training.
        tasks: Answers to compute and score, those of ``cfg.model.test_cfg`` by default.
        token: A task word to condition all answers, that of ``cfg.model.test_cfg`` by default, and
            if there is none, each answer's own.
    """
    cfg = copy.deepcopy(cfg)
    cfg.load_from, cfg.resume = None, False
    cfg.model.update(criterion=None, text_mapper=None, contrastive_loss=None)
    test_cfg = cfg.model.test_cfg
    if tasks is not None:
        test_cfg.tasks = tuple(check_task(task) for task in tasks)
    if token is not None:
        test_cfg.token = check_task(token)
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    # metrics of others, such as DumpResults, are for every task
    cfg.test_evaluator = [
        metric
        for metric in metrics
        if getattr(METRICS.get(metric['type']), 'task', None) in (None, *test_cfg.tasks)
    ]
    # a model for inference has nothing to optimise
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None
    return cfg


def evaluate(
    cfg: Config,
    checkpoint: str,
    tasks: Sequence[str] | None = None,
    token: str | None = None,
) -> dict[str, float]:
    """Score a checkpoint.

    Args:
        cfg: Config of training.
        checkpoint: File to load, with or without the text branch.
        tasks: See ``inference_config``.
        token: See ``inference_config``.

    Returns:
        Metrics in percent, such as ``panoptic/PQ``, ``instance/AP``, ``semantic/mIoU``.

    Raises:
        RuntimeError: If the checkpoint is of another model; the message lists the keys.
    """
    runner = Runner.from_cfg(inference_config(cfg, tasks, token))
    runner.load_checkpoint(checkpoint, map_location='cpu', strict=True)
    return runner.test()


def evaluate_token_matrix(cfg: Config, checkpoint: str) -> dict[str, dict[str, float]]:
    """Score every task under every task token.

    Returns:
        For each token the metrics of ``evaluate``.
    """
    return {token: evaluate(cfg, checkpoint, TASKS, token) for token in TASKS}


def matrix_table(matrix: dict[str, dict[str, float]]) -> str:
    """Format the headline metrics of ``evaluate_token_matrix`` as a Markdown table."""
    lines = ['| task token | PQ | AP | mIoU |', '| --- | --- | --- | --- |']
    for token, metrics in matrix.items():
        values = ' | '.join(f'{metrics[HEADLINE[task]]:.1f}' for task in TASKS)
        lines.append(f'| {token} | {values} |')
    return '\n'.join(lines)
