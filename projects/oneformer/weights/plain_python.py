"""Values in the text of a Python config, read as data: nothing in the text is ever run."""

import ast
from collections.abc import Collection

_MAX_LETTERS = 1 << 20  # what mmengine writes has some ten thousand
_SHOWN = 60  # letters of a refused piece in a message


class NotPlainError(ValueError):
    """A text that is more than assignments of plain values."""


def read_assignments(text: str) -> dict[str, ast.expr]:
    """The names that a text assigns, each with what stands on the right, unread.

    Raises:
        NotPlainError: If it is too long, no Python, or has other statements than ``NAME = ...``.
    """
    if len(text) > _MAX_LETTERS:
        raise NotPlainError(f'it has {len(text)} letters, more than the {_MAX_LETTERS} of a config')
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, 'msg', None) or type(error).__name__
        raise NotPlainError(f'it is not plain Python ({reason})') from None
    assigned = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if not isinstance(statement, ast.Assign) or len(targets) != 1 or not names:
            raise NotPlainError(
                f'line {statement.lineno} is `{_shown(statement)}`, not NAME = VALUE'
            )
        assigned[names[0]] = statement.value
    return assigned


def plain_value(node: ast.expr, where: str, without: Collection[str] = ()):
    """The value of an expression of numbers, texts, True, False, None, and containers of these.

    Dicts may be written as ``dict(key=value)``, ``{'key': value}``, and ``dict({...})``, which is
    mmengine's way with keys that are not names.

    Args:
        node: Node that ``read_assignments`` gave.
        where: What it is, for messages.
        without: Keys that are left out of dicts at any depth, whatever they hold.

    Raises:
        NotPlainError: For anything else, such as a name, a call or a sum.
    """
    try:
        return _value(node, where, frozenset(without))
    except RecursionError:
        raise NotPlainError(f'{where} is nested too deep') from None
    except TypeError as error:  # a list as key or in a set
        raise NotPlainError(f'{where} cannot be a value ({error})') from None


def entries(node: ast.expr | None) -> dict[str, ast.expr]:
    """Keys and unread values of a dict however it is written, empty for anything else.

    Raises:
        NotPlainError: If a key is not a plain value.
    """
    try:
        return dict(_pairs(node, 'a dict', frozenset()) or [])
    except TypeError as error:  # a list as key
        raise NotPlainError(f'a dict cannot be a value ({error})') from None


def _value(node: ast.expr, where: str, without: frozenset[str]):
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = getattr(node.operand, 'value', None)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_value(item, f'{where}[{i}]', without) for i, item in enumerate(node.elts))
    if (pairs := _pairs(node, where, without)) is not None:
        return {
            key: _value(value, f'{where}.{key}', without)
            for key, value in pairs
            if key not in without
        }
    raise NotPlainError(f'{where} is `{_shown(node)}`, not a plain value')


def _pairs(node: ast.expr | None, where: str, without: frozenset[str]) -> list[tuple] | None:
    """Keys and unread values of a dict however it is written, None for anything else."""
    if isinstance(node, ast.Dict):
        named = [key for key in node.keys if key is not None]
        if len(named) < len(node.keys):
            return None  # **another
        keys = [_value(key, f'a key of {where}', without) for key in named]
        return list(zip(keys, node.values))
    if not isinstance(node, ast.Call) or getattr(node.func, 'id', None) != 'dict':
        return None
    if any(keyword.arg is None for keyword in node.keywords):
        return None
    pairs: list[tuple] = [(keyword.arg, keyword.value) for keyword in node.keywords]
    if not node.args:
        return pairs
    if len(node.args) == 1 and not pairs and isinstance(node.args[0], ast.Dict):
        return _pairs(node.args[0], where, without)
    return None


def _shown(node: ast.AST) -> str:
    """The beginning of a piece of the text, on one line."""
    try:
        text = ' '.join(ast.unparse(node).split())
    except RecursionError:
        return '...'
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
