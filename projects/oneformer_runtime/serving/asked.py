"""What a request asks for: its query and its headers, checked."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..description import TASKS
from ..orientation import ORIENTATIONS
from .errors import ApiError
from .predictors import Facts, Options

FORMATS = ('json', 'png')
_SHARES = ('score_thr', 'object_mask_thr', 'iou_thr')
NAMES = ('tasks', *_SHARES, 'max_per_image', 'orientation', 'format')


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        options: Options of the prediction.
        format: ``'json'`` or ``'png'``.
    """

    options: Options
    format: str


def _bad(detail: str, remedy: str) -> ApiError:
    return ApiError(400, 'bad_option', detail, remedy)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f'{text[:40]}...')


def read_query(items: Iterable[tuple[str, str]], accept: str, facts: Facts) -> Asked:
    """What a query asks for.

    Args:
        items: Names and values of the query.
        accept: Header Accept, which chooses where ``format`` is not given.
        facts: Facts of the model.

    Raises:
        ApiError: For names and values that are not known or out of range.
    """
    given: dict[str, list[str]] = {}
    for name, value in items:
        if name not in NAMES:
            similar = difflib.get_close_matches(name[:40], NAMES, n=1)
            hint = f'did you mean {similar[0]}?' if similar else f'there are {", ".join(NAMES)}'
            raise _bad(f'there is no option {_short(name)}', hint)
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if len(values) > 1 and name != 'tasks':
            raise _bad(f'{name} is given {len(values)} times', 'give it once')
    single = {name: values[0] for name, values in given.items()}
    options = Options(
        _tasks(given.get('tasks'), facts),
        **{name: _share(name, single[name]) for name in _SHARES if name in single},
        max_per_image=_count(single.get('max_per_image'), facts.thresholds.max_per_image),
        orientation=_choice('orientation', single.get('orientation'), ORIENTATIONS),
    )
    chosen = _choice('format', single.get('format'), FORMATS) or _accepted(accept)
    if chosen == 'png':
        _check_one_map(options.tasks)
    return Asked(options, chosen)


def _tasks(values: Sequence[str] | None, facts: Facts) -> tuple[str, ...]:
    if values is None:
        return tuple(facts.default_tasks)
    words = [word.strip() for value in values for word in value.split(',')]
    for word in words:
        if word not in facts.tasks:
            reason = 'this model does not predict it' if word in TASKS else 'there is none'
            raise ApiError(
                400,
                'unknown_task',
                f'the task {_short(word)} is asked for, and {reason}',
                f'name one or more of {",".join(facts.tasks)}, with commas between them',
            )
    return tuple(dict.fromkeys(words))


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise _bad(f'{name} is {_short(text)}', 'give a number from 0 to 1')
    return value


def _count(text: str | None, most: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch('[0-9]{1,9}', text) or not 1 <= int(text) <= most:
        raise _bad(
            f'max_per_image is {_short(text)}',
            f'give a whole number from 1 to {most}, which is what the model gives at most',
        )
    return int(text)


def _choice(name: str, text: str | None, words: Sequence[str]) -> str | None:
    if text is not None and text not in words:
        raise _bad(f'{name} is {_short(text)}', f'choose one of {", ".join(words)}')
    return text


def _accepted(accept: str) -> str:
    """``'png'`` if a header Accept names it and not JSON."""
    kinds = {part.split(';')[0].strip().lower() for part in accept.split(',')}
    return 'png' if 'image/png' in kinds and not kinds & {'application/json', '*/*'} else 'json'


def _check_one_map(tasks: Sequence[str]) -> None:
    if len(tasks) != 1 or tasks[0] == 'instance':
        raise _bad(
            f'a PNG of {", ".join(tasks)} is asked for',
            'a PNG holds one map: say tasks=panoptic or tasks=semantic; instances may overlap and '
            'come as JSON',
        )


def notes_on_tasks(tasks: Sequence[str], facts: Facts) -> list[str]:
    """A note on tasks that the model may not have learnt."""
    others = [task for task in tasks if task not in facts.default_tasks]
    if not others:
        return []
    usual = ', '.join(facts.default_tasks)
    return [
        f'{", ".join(others)} is asked for, but the tasks of this model are {usual}: it may not '
        'have been trained for that'
    ]


def takes_gzip(headers: Mapping[str, str]) -> bool:
    """Whether a client takes answers in gzip's format."""
    for part in headers.get('accept-encoding', '').lower().split(','):
        name, _, weight = part.partition(';')
        if name.strip() == 'gzip':
            return not re.fullmatch(r'\s*q\s*=\s*0(\.0*)?\s*', weight)
    return False
