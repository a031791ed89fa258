"""Score an exported model on the test set of a config, by the metrics of ``oneformer test``."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.utils import ProgressBar

from oneformer_runtime.description import ModelDescription

from ..evaluation.evaluator import OneFormerEvaluator
from ..inference.exported_model import ExportedModel
from ..training.evaluate import HEADLINE, inference_config

# column of the numbers per class that says whether a class is found
_FOUND_BY = dict(panoptic='PQ', instance='AP', semantic='IoU')
Scores = dict[str, float | None]


class LabelledSet:
    """Images with labels, and the metrics of the tasks of a model.

    Args:
        cfg: Config with ``test_dataloader`` and ``test_evaluator``.
        description: The model, whose default tasks are scored.
        images: Number of images, spread over the set; None for all.

    Attributes:
        name: File name of the config.
        size: Number of images that are scored.

    Raises:
        ValueError: If a task has no metric, the classes are not the model's, or transforms other
            than a resize to a short edge change the images.
    """

    def __init__(
        self, cfg: Config, description: ModelDescription, images: int | None = None
    ) -> None:
        self.tasks = description.default_tasks
        self.name = Path(cfg.filename).name if cfg.filename else 'the config'
        with DefaultScope.overwrite_default_scope('mmdet'):
            self._cfg = inference_config(cfg, self.tasks, per_class=True)
            self._check_metrics()
            loading = self._cfg.test_dataloader
            loading.dataset.pipeline = self._pipeline_without_resize()
            dataset = DATASETS.build(loading.dataset)
            dataset.full_init()
            self._check_classes(dataset.metainfo, description)
            if images is not None and images < len(dataset):
                spread = np.linspace(0, len(dataset) - 1, images).round().astype(int)
                dataset.get_subset_(spread.tolist())
            self.size = len(dataset)
            self._loader = Runner.build_dataloader(dict(loading, dataset=dataset), seed=0)

    def _check_metrics(self) -> None:
        metrics = OneFormerEvaluator(self._cfg.test_evaluator).metrics
        scored = {getattr(metric, 'task', None) for metric in metrics}
        if missing := [task for task in self.tasks if task not in scored]:
            raise ValueError(
                f'{self.name} has no metric of the task {missing[0]!r} in test_evaluator, which '
                'the model predicts: give a config that has one'
            )

    def _pipeline_without_resize(self) -> list:
        """Transforms for images as they are: the exported model resizes."""
        steps = [
            step
            for step in self._cfg.test_dataloader.dataset.pipeline
            if str(step['type']).split('.')[-1] != 'ResizeShortEdge'
        ]
        for step in steps[1:]:
            kind = str(step['type']).split('.')[-1]
            if not kind.startswith(('Load', 'Pack')):
                raise ValueError(
                    f'the test pipeline of {self.name} has {kind}, which changes images before an '
                    'exported model sees them: leave it out'
                )
        return steps

    def _check_classes(self, metainfo: dict, description: ModelDescription) -> None:
        for key in ('classes', 'thing_classes'):
            own, theirs = (
                set(names) if key == 'thing_classes' else list(names)
                for names in (getattr(description, key), metainfo.get(key, ()))
            )
            if own != theirs:
                raise ValueError(
                    f'{key} of the test set of {self.name} are {_short(metainfo.get(key, ()))}, '
                    f'and of the model {_short(getattr(description, key))}: give a config with '
                    'the classes of the model'
                )

    def score(self, model: ExportedModel) -> tuple[Scores, dict[str, dict[str, Scores]]]:
        """Predict and score all images.

        Args:
            model: The exported model.

        Returns:
            PQ, AP and mIoU in percent by their names, those of the tasks, None where undefined; and
            by task and class its PQ, AP or IoU.
        """
        model.test_cfg['tasks'] = self.tasks
        with DefaultScope.overwrite_default_scope('mmdet'):
            evaluator = OneFormerEvaluator(self._cfg.test_evaluator)
        evaluator.dataset_meta = self._loader.dataset.metainfo
        bar = ProgressBar(self.size, file=sys.stderr)
        for batch in self._loader:
            evaluator.process(model.test_step(batch), batch)
            bar.update(len(batch['data_samples']))
        print(file=sys.stderr)
        metrics = evaluator.evaluate(self.size)
        per_class: dict[str, dict[str, Scores]] = {task: {} for task in self.tasks}
        for metric in evaluator.metrics:
            task = getattr(metric, 'task', None)
            for name, numbers in getattr(metric, 'per_class', {}).items():
                if task in per_class and _FOUND_BY[task] in numbers:
                    per_class[task][name] = _rounded(numbers[_FOUND_BY[task]])
        totals = {HEADLINE[task]: _rounded(metrics[HEADLINE[task]]) for task in self.tasks}
        return totals, per_class


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 2)


def _short(names: Sequence[str]) -> str:
    names = list(names)
    return f'{len(names)} ({", ".join(names[:5])}{", ..." if len(names) > 5 else ""})'
