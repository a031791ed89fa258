"""Evaluate a checkpoint on all tasks in one pass, or on every task under every token."""

import copy
import os.path as osp
from collections.abc import Sequence

from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.runner import Runner

from ..evaluation.classwise import ClasswiseMetric
from ..object_limits import metrics_of
from ..tasks import TASKS, check_task
from .console import build_runner

HEADLINE = dict(panoptic='panoptic/PQ', instance='instance/AP', semantic='semantic/mIoU')


def require_key(cfg: Config, key: str, example: str) -> Config:
    """A key of the config that not every config has; KeyError with an example if it is missing."""
    if key not in cfg:
        raise KeyError(f'the config has no {key}, which this needs. For example: {key} = {example}')
    return cfg[key]


def inference_config(
    cfg: Config,
    tasks: Sequence[str] | None = None,
    token: str | None = None,
    score: bool = True,
    official: bool = False,
    per_class: bool = False,
    tta: bool = False,
    out_dir: str | None = None,
) -> Config:
    """Copy a config for evaluation: no text branch, and only the metrics of the tasks.

    Args:
        cfg: Config of training.
        tasks: Predictions to compute and score, those of ``cfg.model.test_cfg`` by default.
        token: A task word to condition all predictions, that of ``cfg.model.test_cfg`` by default,
            and if there is none, each prediction's own.
        score: Whether to compare the predictions with ground truth.
        official: Whether to score by ``cfg.official_evaluator``, that is against the files that the
            dataset is published with, in place of ``cfg.test_evaluator``.
        per_class: Whether the metrics also report their numbers per class.
        tta: Whether to predict the semantic task, and no other, from several views of each image,
            see ``cfg.tta`` and ``OneFormerTTA``.
        out_dir: Folder into which ``cfg.format_evaluator`` writes result files.

    Raises:
        KeyError: If the config lacks a key that is needed.
        ValueError: If no metric or writer is left.
    """
    cfg = copy.deepcopy(cfg)
    cfg.load_from, cfg.resume = None, False
    cfg.model.update(criterion=None, text_mapper=None, contrastive_loss=None)
    test_cfg = cfg.model.test_cfg
    if tta:
        example = 'dict(short_edges=[320, 480, 640, 800], max_size=4480, flip=True)'
        cfg.model.update(type='OneFormerTTA', tta=require_key(cfg, 'tta', example))
        tasks = ['semantic']
    if tasks is not None:
        test_cfg.tasks = tuple(check_task(task) for task in tasks)
    if token is not None:
        test_cfg.token = check_task(token)
    metrics = []
    if score and official:
        example = "[dict(type='SemanticIoU', seg_prefix=...)]"
        metrics += require_key(cfg, 'official_evaluator', example)
    elif score:
        metrics += metrics_of(cfg.test_evaluator)
    if out_dir is not None:
        example = "[dict(type='PanopticFiles'), dict(type='SemanticFiles')]"
        writers = require_key(cfg, 'format_evaluator', example)
        metrics += [dict(writer, out_dir=out_dir) for writer in writers]
    # metrics of other projects, such as DumpResults, are for every task
    cfg.test_evaluator = [
        metric
        for metric in metrics
        if getattr(METRICS.get(metric['type']), 'task', None) in (None, *test_cfg.tasks)
    ]
    if not cfg.test_evaluator:
        raise ValueError(
            f'no metric or writer of the config is for the tasks {list(test_cfg.tasks)}'
        )
    if per_class:
        for metric in cfg.test_evaluator:
            if issubclass(METRICS.get(metric['type']), ClasswiseMetric):
                metric.classwise = True
    # a model for inference has nothing to optimise
    of_training = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')
    for key in (*of_training, 'val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None
    return cfg


def show_pictures(cfg: Config, folder: str) -> None:
    """Let a run draw ground truth and predictions into a folder, by ``cfg.default_hooks``.

    A config that names mmdet's ``DetVisualizationHook`` gets this project's hook, since mmdet's
    writes images of one name in different folders to one file.
    """
    hook = cfg.default_hooks.setdefault('visualization', {})
    if hook.get('type', 'DetVisualizationHook') == 'DetVisualizationHook':
        hook['type'] = 'OneFormerVisualizationHook'
    hook.update(draw=True, test_out_dir=osp.abspath(folder))


def evaluate(cfg: Config, checkpoint: str, *args, **kwargs) -> dict:
    """Score a checkpoint, and write result files if asked to.

    Args:
        cfg: Config of training.
        checkpoint: File to load, with or without the text branch.
        *args: Arguments of ``inference_config``.
        **kwargs: Arguments of ``inference_config``.

    Returns:
        Metrics in percent, such as ``panoptic/PQ``, ``instance/AP``, ``semantic/mIoU``. With
        ``per_class``, and in the main process, also ``per_class``: for the first part of these
        names a dict of classes, each with a dict of numbers.

    Raises:
        CheckpointError: If the checkpoint is of another model; the message lists the keys.
    """
    runner = build_runner(inference_config(cfg, *args, **kwargs), Runner)
    runner.load_checkpoint(checkpoint, map_location='cpu', strict=True)
    metrics = runner.test()
    per_class = {}
    for metric in runner.test_evaluator.metrics:
        for name, numbers in getattr(metric, 'per_class', {}).items():
            per_class.setdefault(metric.prefix, {}).setdefault(name, {}).update(numbers)
    return {**metrics, 'per_class': per_class} if per_class else metrics


def evaluate_token_matrix(cfg: Config, checkpoint: str) -> dict[str, dict[str, float]]:
    """Score every task under every task token.

    Returns:
        Metrics of ``evaluate`` for each token.
    """
    return {token: evaluate(cfg, checkpoint, TASKS, token) for token in TASKS}


def matrix_table(matrix: dict[str, dict[str, float]]) -> str:
    """Format the headline metrics of ``evaluate_token_matrix`` as a Markdown table."""
    lines = ['| task token | PQ | AP | mIoU |', '| --- | --- | --- | --- |']
    for token, metrics in matrix.items():
        values = ' | '.join(f'{metrics[HEADLINE[task]]:.1f}' for task in TASKS)
        lines.append(f'| {token} | {values} |')
    return '\n'.join(lines)
