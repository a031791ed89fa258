"""Sec. 3.1, tasks and texts: a task is a word, and an image has a prompt per target.

The token of a task is a fixed string of ids. Behind the prompts of its targets an image has a
filler, which names its task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

TASKS = ('panoptic', 'instance', 'semantic')

CONTEXT_LENGTH = 77  # of task strings and of prompts, zero-padded

_SOT, _EOT = 49406, 49407
_THE_TASK_IS = (518, 10549, 533)
_WORD_IDS = dict(panoptic=(1072, 24755), instance=(34572,), semantic=(29119, 1550))

# CLIP's byte-pair ids of "the task is {task}". They are constants, so that inference needs no
# tokenizer; tests/test_text.py checks them against the tokenizer.
TASK_TOKEN_IDS = {
    task: (_SOT, *_THE_TASK_IS, *ids, _EOT) + (0,) * (CONTEXT_LENGTH - 5 - len(ids))
    for task, ids in _WORD_IDS.items()
}


def check_task(task: str) -> str:
    """Return ``task`` if it is a task word, else raise ``ValueError`` naming the choices."""
    if task not in TASKS:
        raise ValueError(f'unknown task {task!r}: choose one of {", ".join(TASKS)}')
    return task


def indefinite_article(word: str) -> str:
    """'an' before a vowel, else 'a'."""
    return 'an' if word[:1].lower() in tuple('aeiou') else 'a'


@dataclass(frozen=True)
class Prompts:
    """How classes and tasks are put into words. The defaults are the original's.

    Attributes:
        template: Prompt of a target, with ``{name}`` and, if wanted, ``{article}``. The original
            says "a" before vowels too ("a photo with a airplane").
        filler: Prompt of a query that no target claims, with ``{task}`` and, if wanted,
            ``{article}``, which there is right ("an instance photo").
        synonyms: Other names of a class, of which one is drawn for each target; list the class
            itself to keep it among them.

    Raises:
        ValueError: If a template lacks its field or has an unknown one, or synonyms are not lists.
    """

    template: str = 'a photo with a {name}'
    filler: str = '{article} {task} photo'
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, needed in (('template', 'name'), ('filler', 'task')):
            text = getattr(self, key)
            try:
                known = f'{{{needed}}}' in text
                text.format(article='a', **{needed: ''})
            except (KeyError, IndexError, ValueError):
                known = False
            if not known:
                raise ValueError(
                    f'prompts.{key} must contain {{{needed}}}, and may contain {{article}}, but '
                    f'nothing else in braces: {text!r}'
                )
        for name, others in self.synonyms.items():
            if isinstance(others, str) or not others:
                raise ValueError(f'prompts.synonyms of {name!r} must be a list of names')

    def targets(self, labels: Sequence[int], classes: Sequence[str]) -> list[str]:
        """Prompts of the targets in the order of classes, one per target.

        Args:
            labels: Classes of the targets, in any order.
            classes: Names of all classes.

        Raises:
            ValueError: For synonyms of what is not a class.
        """
        unknown = sorted(set(self.synonyms) - set(classes))
        if unknown:
            raise ValueError(f'prompts.synonyms names what is not a class: {unknown}')
        prompts = []
        for label in sorted(labels):
            name = classes[label]
            if name in self.synonyms:
                name = str(np.random.choice(self.synonyms[name]))
            prompts.append(self.template.format(name=name, article=indefinite_article(name)))
        return prompts

    def filler_of(self, task: str) -> str:
        """The filler of a task; ValueError for a word that is not a task."""
        return self.filler.format(task=check_task(task), article=indefinite_article(task))
