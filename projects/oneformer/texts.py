"""Sec. 3.1, the text list of an image: one prompt per target, then a filler that names the task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .tasks import check_task


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
        synonyms: For a class other names, of which one is drawn for each target; list the class
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


def text_list(texts: Sequence[str], filler: str, num_texts: int) -> list[str]:
    """Pad an image's prompts to ``num_texts``; as in the original, what exceeds it is dropped.

    Args:
        texts: Prompts of the targets.
        filler: The image's.
        num_texts: Number of queries that have a text.
    """
    kept = list(texts[:num_texts])
    return kept + [filler] * (num_texts - len(kept))
