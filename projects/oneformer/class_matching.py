"""Which class of one label set is which of another, by their names.

The rule: a class has several names, and those that come first are the stronger ones:

1. the name as it is written;
2. the same without regard to case, hyphens, underscores and repeated or outer blanks;
3. the other names that ``metainfo.aliases`` gives it, in their order;
4. each of several names that commas part, as in ADE20K's "sidewalk, pavement";
5. all of these without COCO's endings "-stuff", "-other" and "-merged".

A name belongs to the class that has it by the strongest of these; where two classes have it equally
strongly, to none. Classes of two sets are the same if one name belongs to both. Of several such
names the one that is stronger for the target decides, so one class may be the same as two of the
other set: "sidewalk, pavement" as "sidewalk" and as "pavement".
"""

import re
from collections.abc import Iterator, Mapping

_COCO_ENDINGS = re.compile(r'([-_ ](stuff|other|merged))+$', re.IGNORECASE)


def normalise(name: str) -> str:
    """Spell a class name in the way that spellings are compared."""
    return ' '.join(re.split(r'[\s_-]+', name.casefold())).strip()


def names_by_strength(metainfo: Mapping) -> Iterator[list[list[str]]]:
    """For each of the five steps and each class the names it has, see the module.

    Args:
        metainfo: Dict with ``classes`` and optionally ``aliases``, other name -> class or None.
    """
    classes = metainfo['classes']
    yield [[name] for name in classes]
    yield [[normalise(name)] for name in classes]
    aliases: dict[str, list[str]] = {name: [] for name in classes}
    for alias, name in metainfo.get('aliases', {}).items():
        if name is not None:  # such categories are left out of the dataset
            aliases[name].append(alias)
    yield [[normalise(alias) for alias in aliases[name]] for name in classes]
    yield [[normalise(part) for part in name.split(',')] for name in classes]
    spellings = [[name, *aliases[name], *name.split(',')] for name in classes]
    yield [[normalise(_COCO_ENDINGS.sub('', name)) for name in names] for names in spellings]


def owners(metainfo: Mapping) -> dict[str, int | None]:
    """The label that each name belongs to, None for a name that two classes claim."""
    owner: dict[str, int | None] = {}
    for names_of in names_by_strength(metainfo):
        claims: dict[str, int | None] = {}
        for label, names in enumerate(names_of):
            for name in names:
                claims[name] = label if claims.get(name, label) == label else None
        owner = {**claims, **owner}
    return owner


def match_classes(source: Mapping, target: Mapping) -> list[int | None]:
    """Find the classes of one label set in another.

    Args:
        source: Metainfo with ``classes`` and optionally ``aliases``.
        target: Metainfo with the same keys.

    Returns:
        For each class of ``target`` the label of the same class in ``source``, or None.
    """
    theirs, ours = owners(source), owners(target)
    matches: list[int | None] = [None] * len(target['classes'])
    for names_of in names_by_strength(target):
        for label, names in enumerate(names_of):
            if matches[label] is None:
                found = [theirs.get(name) for name in names if ours[name] == label]
                matches[label] = next((row for row in found if row is not None), None)
    return matches
