"""Which class a name or a category of a file is, by names and aliases."""

from collections.abc import Iterable, Mapping, Sequence

from ..metainfo import closest
from .entries import FLAG, TEXT, WHOLE, complete
from .findings import Finding, OnFinding, refuse


def labels_by_name(
    names: Iterable[str], metainfo: Mapping, source: str, report: OnFinding = refuse
) -> dict[str, int | None]:
    """Look names up among the classes and their aliases.

    Args:
        names: Names as an annotation file spells them; blanks around a name do not matter.
        metainfo: Dict with ``classes`` and optionally ``aliases``, which maps other names to
            classes, or to None if they are to be left out.
        source: The file, for messages.
        report: Callback for one finding that lists all names that are neither.

    Returns:
        Name to label; None for a name that is left out or was reported.
    """
    label_of = {name.strip(): label for label, name in enumerate(metainfo['classes'])}
    for alias, name in metainfo.get('aliases', {}).items():
        label_of[alias.strip()] = None if name is None else label_of[name.strip()]
    names = list(names)
    unknown = [name for name in names if name.strip() not in label_of]
    if unknown:
        message = (
            f'{source} has categories that are not among the {len(metainfo["classes"])} classes of '
            f'the dataset: {unknown}{closest(unknown, label_of)}. Add them to metainfo.classes, or '
            'to metainfo.aliases with the name of their class, or with None to leave them out'
        )
        report(Finding('category is not a class', message, source, ', '.join(unknown)))
    return {name: label_of.get(name.strip()) for name in names}


def match_categories(
    categories: Sequence[Mapping], metainfo: Mapping, ann_file: str, report: OnFinding = refuse
) -> dict[int, int | None]:
    """Map category ids to labels by name, whatever their order in the JSON.

    Args:
        categories: Entries of the JSON, with ``id``, ``name`` and optionally ``isthing``.
        metainfo: Dict with ``classes``, ``thing_classes`` and optionally ``aliases``, which maps
            names used in JSON files to class names.
        ann_file: The JSON, for messages.
        report: Callback for names that are not classes, a thing that the JSON calls stuff or the
            reverse, and an id that two categories share.

    Returns:
        Category id to label; None for a category that is left out or was reported.
    """
    keys, optional = dict(id=WHOLE, name=TEXT), dict(isthing=FLAG)
    categories = complete(categories, keys, 'category', ann_file, report, optional)
    label_of = labels_by_name([c['name'] for c in categories], metainfo, ann_file, report)
    labels, things, confused = {}, metainfo['thing_classes'], []
    for category in categories:
        number, name = category['id'], category['name']
        label = label_of[name]
        if labels.setdefault(number, label) != label:
            message = (
                f'{ann_file} has two categories of id {number}, one of them {name}: give each '
                'an id of its own'
            )
            report(Finding('category id listed twice', message, ann_file, number))
        isthing = category.get('isthing')
        if None not in (label, isthing) and bool(isthing) != (metainfo['classes'][label] in things):
            confused.append(name)
    if confused:
        message = (
            f'{ann_file} and metainfo.thing_classes disagree whether these are things: '
            f'{confused}. Correct one of the two'
        )
        report(Finding('thing or stuff', message, ann_file, ', '.join(confused)))
    return labels
