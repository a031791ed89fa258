"""The task vocabulary of Sec. 3.1: a task is a word, and its token is a fixed string of ids."""

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
