"""Rules by which image files become input of a model: options of datasets and of the loader."""

import copy
from collections.abc import Mapping, Sequence

from oneformer_runtime.orientation import STORED
from oneformer_runtime.rules import DEFAULT, LABELS, ImageRules

__all__ = ['DEFAULT', 'LABELS', 'ImageRules', 'complete_steps', 'rules_of_config', 'rules_of_step']


def rules_of_step(step: Mapping) -> ImageRules:
    """The rules that the first transform of a pipeline states: ``LoadPhoto``, or mmdet's loader."""
    if step.get('color_type') == 'color_ignore_orientation':
        return ImageRules(orientation=STORED)
    return ImageRules(step.get('orientation'), step.get('value_range'))


def rules_of_config(dataset: Mapping) -> ImageRules:
    """The rules of a dataset's config: those of its pipeline's loader, else its own.

    A dataset that wraps or joins others has the rules of the first where it states none.
    """
    rules = ImageRules(dataset.get('orientation'), dataset.get('value_range'))
    if steps := dataset.get('pipeline'):
        rules = rules_of_step(steps[0]).over(rules)
    inner = (dataset.get('datasets') or [dataset.get('dataset')])[0]
    return rules.over(rules_of_config(inner)) if isinstance(inner, Mapping) else rules


def settle_rules(pipeline: Sequence[dict], dataset: Mapping) -> None:
    """Write the rules of a dataset's config into the loader of its pipeline, in place.

    Prediction builds the pipeline without the dataset. mmdet's loaders have no rules.
    """
    if str(pipeline[0]['type']).split('.')[-1] == 'LoadPhoto':
        pipeline[0].update(rules_of_config(dataset).chosen())


def complete_steps(pipeline: Sequence[Mapping], dataset: Mapping) -> list:
    """Copies of the transforms of a dataset's config, see ``settle_rules``."""
    steps: list = copy.deepcopy(list(pipeline))
    if steps:
        settle_rules(steps, dataset)
    return steps
