"""Sec. 3.2, the text list of an image: one prompt per target, then padding that names the task."""

from collections.abc import Sequence

from .tasks import check_task


def target_texts(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    """Prompts of the targets in the order of classes, one per target: "a photo with a {class}".

    Args:
        labels: Classes of the targets, in any order.
        classes: Names of all classes.
    """
    return [f'a photo with a {classes[label]}' for label in sorted(labels)]


def padding_text(task: str) -> str:
    """The prompt of a query that no target claims: "a semantic photo", "an instance photo", ..."""
    article = 'an' if check_task(task) == 'instance' else 'a'
    return f'{article} {task} photo'


def text_list(texts: Sequence[str], task: str, num_texts: int) -> list[str]:
    """Pad an image's prompts to ``num_texts``; as in the original, what exceeds it is dropped.

    Args:
        texts: What ``target_texts`` returned.
        task: The image's task word.
        num_texts: Number of queries that have a text.

    Raises:
        ValueError: For a word that is not a task.
    """
    kept = list(texts[:num_texts])
    return kept + [padding_text(task)] * (num_texts - len(kept))
