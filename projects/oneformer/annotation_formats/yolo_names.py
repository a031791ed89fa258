"""The names of YOLO's classes: in data.yaml, in a text file, or given by the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .reading import read_text, some

CONFIGS = ('data.yaml', 'data.yml', 'dataset.yaml', 'dataset.yml')
LISTS = ('classes.txt', 'obj.names', 'labels.txt')


@dataclass
class Names:
    """Classes, and the data.yaml.

    Attributes:
        by_number: Names by the numbers that label files have, sorted.
        file: Source of the names; None if the user gave them.
        config: Content of data.yaml; empty without.
        config_path: The data.yaml.
    """

    by_number: dict[int, str]
    file: Path | None
    config: Mapping[str, Any] = field(default_factory=dict)
    config_path: Path | None = None


def _config_in(folder: Path) -> tuple[Path | None, list[str]]:
    """The data.yaml of a folder."""
    usual = [folder / name for name in CONFIGS if (folder / name).is_file()]
    others = sorted(p for p in folder.iterdir() if p.suffix.lower() in ('.yaml', '.yml'))
    found = usual[:1] or others
    if len(found) > 1:
        listed = some(path.name for path in found)
        return None, [f'{folder} has {len(found)} YAML files, {listed}: give the one that is meant']
    return (found[0] if found else None), []


def _read_config(path: Path) -> tuple[dict, list[str]]:
    try:
        content = yaml.safe_load(read_text(path, 'dataset file'))
    except yaml.YAMLError as error:
        return {}, [f'{path} is not a YAML file, or a damaged one ({error}): mend it']
    if not isinstance(content, dict):
        return {}, [f'{path} holds {type(content).__name__}, not keys such as names and train']
    if 'kpt_shape' in content:
        return {}, [
            f'{path} has kpt_shape, so its labels are key points: export segmentation labels'
        ]
    return content, []


def _names_of_config(content: Mapping, path: Path) -> tuple[dict[int, str], list[str]]:
    found = content.get('names')
    if isinstance(found, list):
        names = dict(enumerate(found))
    elif isinstance(found, dict):
        try:
            names = {int(number): name for number, name in found.items()}
        except (TypeError, ValueError):
            return {}, [f'{path}: the keys of names are {some(found)}, not numbers of classes']
        if len(names) < len(found):
            return {}, [f'{path}: names has two keys for one number: {some(map(repr, found))}']
    else:
        return {}, [
            f'{path}: names is {found!r}, not a list or numbers with names: write names, or give '
            '--classes'
        ]
    problems = [
        f'{path}: YAML reads the name of class {number} as {name}: write it in quotes'
        for number, name in sorted(names.items())
        if isinstance(name, bool)
    ]
    # YAML takes some names for numbers
    names = {k: str(v) if isinstance(v, int | float) else v for k, v in sorted(names.items())}
    count = content.get('nc')
    if count is not None and count != len(names):
        problems.append(f'{path}: nc is {count!r}, but names has {len(names)}: correct one of them')
    return names, problems


def _names_of_list(path: Path) -> dict[int, str]:
    lines = [line.strip() for line in read_text(path, 'list of classes').splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return dict(enumerate(lines))


def find_names(path: Path, given: Sequence[str] | None) -> tuple[Names, list[str]]:
    """Find the names of classes.

    Args:
        path: A data.yaml, or a folder.
        given: The option ``--classes``: names, or a text file. It counts more than data.yaml.

    Returns:
        The names, and what is wrong.
    """
    config_path, problems = (path, []) if path.is_file() else _config_in(path)
    if path.is_file() and path.suffix.lower() not in ('.yaml', '.yml'):
        problems = [f'{path} is not a data.yaml: give that, or the folder of the images']
    if problems:
        return Names({}, None), problems
    config = {}
    if config_path is not None:
        config, problems = _read_config(config_path)
        if problems:
            return Names({}, None), problems
    if given:
        listed = Path(given[0]) if len(given) == 1 and Path(given[0]).is_file() else None
        names = _names_of_list(listed) if listed else dict(enumerate(given))
        return Names(names, listed, config, config_path), []
    if config_path is not None:
        names, problems = _names_of_config(config, config_path)
        return Names(names, config_path, config, config_path), problems
    listed = next((path / name for name in LISTS if (path / name).is_file()), None)
    if listed is None:
        return Names({}, None), [
            f'{path} has no data.yaml and no {LISTS[0]}: give the names of the classes by '
            '--classes CLASS ..., in the order of their numbers'
        ]
    return Names(_names_of_list(listed), listed), []
