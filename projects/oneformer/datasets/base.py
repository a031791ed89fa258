"""What data sets of all kinds of labels have in common: classes by name, and what they can teach.

A data set answers three questions for its samples: which tasks its labels can teach, which classes
they annotate, and which unlabelled pixels are unknown and not background.
"""

from collections.abc import Collection, Iterable, Mapping

from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from ..metainfo import resolve_metainfo
from ..tasks import TASKS

IGNORABLE = ('void', 'crowd')


def labels_by_name(names: Iterable[str], metainfo: Mapping, source: str) -> dict[str, int]:
    """Look names up among the classes and their aliases.

    Args:
        names: As an annotation file spells them; blanks around a name do not matter.
        metainfo: With ``classes`` and optionally ``aliases``, which maps other names to classes.
        source: The file, for messages.

    Returns:
        Name to label.

    Raises:
        ValueError: For names that are neither, all of them named.
    """
    label_of = {name.strip(): label for label, name in enumerate(metainfo['classes'])}
    for alias, name in metainfo.get('aliases', {}).items():
        label_of[alias.strip()] = label_of[name.strip()]
    names = list(names)
    unknown = [name for name in names if name.strip() not in label_of]
    if unknown:
        raise ValueError(
            f'{source} has categories that are not among the {len(metainfo["classes"])} classes '
            f'of the data set: {unknown}. Add them to metainfo.classes, or to metainfo.aliases'
        )
    return {name: label_of[name.strip()] for name in names}


class SegmentDataset(BaseDetDataset):
    """Base of the data sets; a subclass reads one kind of labels in ``load_data_list``.

    Its samples carry, beside what ``load_data_list`` returns: ``classes``; ``labels_kind``, which
    tells ``LoadSegmentMap`` how to read them; ``tasks`` that they can teach; ``known_labels``, the
    classes that they annotate, or None if they annotate all; and ``ignore``.

    Args:
        metainfo: A dict with ``classes`` and ``thing_classes`` (names), optionally ``palette`` and
            ``aliases``; or the name of a benchmark, see ``metainfo.BENCHMARKS``. These are the
            classes of the *model*; the labels may annotate only some of them.
        ignore: Unlabelled pixels that may be anything, so that they count in neither matching nor
            mask losses: ``'void'``, ``'crowd'``, both or none. Others are background.
        **kwargs: Of mmdet's ``BaseDetDataset``.

    Attributes:
        is_thing: For each label whether it is a thing.

    Raises:
        ValueError: For an unknown word in ``ignore``.
    """

    labels_kind: str
    tasks: tuple[str, ...] = TASKS

    def __init__(
        self, *args, metainfo: Mapping | str, ignore: Collection[str] = (), **kwargs
    ) -> None:
        unknown = set(ignore) - set(IGNORABLE)
        if unknown:
            raise ValueError(f'ignore takes {IGNORABLE}, not {sorted(unknown)}')
        self.ignore = tuple(ignore)
        self.known_labels: tuple[int, ...] | None = None
        self.task_weights: Mapping[str, float] | None = None  # set by a JointDataset
        metainfo = resolve_metainfo(metainfo)
        self.is_thing = [name in metainfo['thing_classes'] for name in metainfo['classes']]
        super().__init__(*args, metainfo=metainfo, **kwargs)

    def get_data_info(self, idx: int) -> dict:
        """The sample ``idx`` with what all samples of the set share."""
        return dict(
            super().get_data_info(idx),
            classes=self._metainfo['classes'],
            labels_kind=self.labels_kind,
            tasks=self.tasks,
            task_weights=self.task_weights,
            known_labels=self.known_labels,
            ignore=self.ignore,
        )

    def note_annotated(self, labels: Iterable[int], source: str) -> None:
        """Remember which classes ``source`` annotates, and say which it does not."""
        labels, classes = sorted(set(labels)), self._metainfo['classes']
        if len(labels) == len(classes):
            return
        self.known_labels = tuple(labels)
        missing = [name for label, name in enumerate(classes) if label not in self.known_labels]
        print_log(
            f'{source} annotates {len(labels)} of {len(classes)} classes. Its photos teach nothing '
            f'about the others: {", ".join(missing)}',
            logger='current',
        )
