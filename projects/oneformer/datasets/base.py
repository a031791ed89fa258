"""The common base of datasets: classes by name, and the tasks that their labels can teach.

A dataset answers three questions for its samples: which tasks its labels can teach, which classes
they annotate, and which unlabelled pixels are unknown and not background.
"""

import os.path as osp
from collections.abc import Collection, Iterable, Mapping, Sequence

from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from oneformer_runtime.depth import ValueRange

from ..host.garbage import nothing_collected
from ..host.seeding import SeededSamples
from ..images.result_names import name_below, result_stems
from ..images.rules import ImageRules
from ..metainfo import is_thing, resolve_metainfo
from ..object_limits import Peaks, peaks_of_list
from ..tasks import TASKS
from .coco_files import read_coco
from .file_names import Folder
from .findings import ERROR, Finding, OnFinding, Said, refuse
from .searched_classes import count_searches
from .settings import require_folders, require_text
from .targets_found import TargetsFound, count_targets, missing_targets
from .written_ids import category_of_label

IGNORABLE = ('void', 'crowd')
CROWDS = ('ignore', 'objects')


def refuse_other_loader(rules: ImageRules, pipeline: Iterable) -> None:
    """ValueError for rules that the loader of a pipeline would not follow."""
    kinds = [str(step.get('type')) for step in pipeline if isinstance(step, Mapping)]
    other = [kind for kind in kinds if kind.split('.')[-1] == 'LoadImageFromFile']
    if other and rules.chosen():
        raise ValueError(
            f'the dataset says {rules.chosen()}, which {other[0]} in its pipeline does not know: '
            "write dict(type='LoadPhoto') in its place"
        )


class SegmentDataset(SeededSamples, BaseDetDataset):
    """Base of the datasets; a subclass reads one kind of labels in ``load_data_list``.

    Its samples carry, beside what ``load_data_list`` returns: ``image_name``, the path below the
    folder of the images, and ``image_stem``, which names results (see ``result_names``);
    ``classes``; ``ann_file``; ``labels_kind``, which tells ``LoadSegmentMap`` how to read them;
    ``tasks`` that they can teach; ``known_labels``, the classes that they annotate, or None if they
    annotate all; ``ignore``; and ``image_rules``, by which ``LoadPhoto`` reads their images.
    ``searched_labels`` is there only where the JSON says what was looked for in the image: those of
    its ``known_labels`` of which everything is annotated.

    Args:
        metainfo: A dict with ``classes`` and ``thing_classes`` (names), optionally ``palette`` and
            ``aliases``; or the name of a dataset, see ``metainfo.KNOWN_DATASETS``. These are the
            classes of the *model*; the labels may annotate only some of them.
        ignore: Unlabelled pixels that may be anything, so that they count in neither matching nor
            mask losses: ``'void'``, ``'crowd'``, both or none. Others are background.
        orientation: ``'upright'`` or ``'stored'``: the frame that labels are drawn in where a file
            has an EXIF orientation, see ``ImageRules``.
        value_range: Range of values of images with more than 8 bits, see ``ImageRules``.
        report: Callback for each ``Finding`` in the labels. By default the first error is raised,
            and warnings are logged, one line per file and kind; if ``report`` returns, the dataset
            leaves out the faulty part.
        crowds: Meaning of ``iscrowd=1``: a crowd (``'ignore'``), or a mask from a brush
            (``'objects'``), as in CVAT's files, so that it is an object like all others.
        needs_targets: Whether training without a single target in the whole dataset is an error;
            False for a dataset of images without objects.
        **kwargs: Arguments of mmdet's ``BaseDetDataset``.

    Attributes:
        is_thing: Whether each label is a thing, as a sequence by label.
        peaks: The images with most objects, as far as the labels' JSON tells.
        targets_found: Counts of what the dataset annotates, once loaded; None without labels.

    Raises:
        ValueError: If ``ignore``, ``crowds`` or ``filter_cfg`` has an unknown word, if rules are
            not valid, or if a setting has to be a text and is not.
    """

    labels_kind: str
    tasks: tuple[str, ...] = TASKS
    filters: tuple[str, ...] = ()
    folders: tuple[str, ...] = ('img', 'seg')  # keys that data_prefix must have

    def __init__(
        self,
        *args,
        metainfo: Mapping | str,
        ignore: Collection[str] = (),
        orientation: str | None = None,
        value_range: ValueRange | None = None,
        report: OnFinding = refuse,
        crowds: str = 'ignore',
        needs_targets: bool = True,
        **kwargs,
    ) -> None:
        self._check_settings(args, kwargs)
        if crowds not in CROWDS:
            raise ValueError(f'crowds takes {CROWDS}, not {crowds!r}')
        unknown = set(ignore) - set(IGNORABLE)
        if unknown:
            raise ValueError(f'ignore takes {IGNORABLE}, not {sorted(unknown)}')
        unknown = set(kwargs.get('filter_cfg') or ()) - set(self.filters)
        if unknown:
            raise ValueError(
                f'filter_cfg of a {type(self).__name__} takes {list(self.filters)}, not '
                f'{sorted(unknown)}: take it out, or say filter_cfg=None where it is inherited'
            )
        self.ignore = tuple(ignore)
        self.image_rules = ImageRules(orientation, value_range)
        refuse_other_loader(self.image_rules, kwargs.get('pipeline') or ())
        self.report = Said() if report is refuse else report
        self.crowds = crowds
        self.needs_targets = needs_targets
        self.targets_found: TargetsFound | None = None
        self.known_labels: tuple[int, ...] | None = None
        self.namesakes: frozenset[str] = frozenset()  # names that keep their suffix in results
        self.peaks = Peaks()
        self.task_weights: Mapping[str, float] | None = None  # set by a JointDataset
        metainfo = resolve_metainfo(metainfo)
        self.is_thing = is_thing(metainfo).tolist()
        super().__init__(*args, metainfo=metainfo, **kwargs)

    def _check_settings(self, args: Collection, kwargs: Mapping) -> None:
        """Raise ValueError for paths that are not texts."""
        for name, value in (*zip(['ann_file'], args), *kwargs.items()):
            if name in ('ann_file', 'data_root'):
                require_text(value, name)
        keys = [key for key in self.folders if key != 'seg' or not kwargs.get('test_mode')]
        if keys and 'data_prefix' in kwargs:
            require_folders(kwargs['data_prefix'], keys, type(self).__name__)

    def full_init(self) -> None:
        """Load the labels, count what they teach, and log the warnings."""
        if self._fully_initialized:
            return
        serialize, self.serialize_data = self.serialize_data, False
        try:
            with nothing_collected():
                super().full_init()
                for finding in self.findings_of_teaching():
                    self.report(finding)
        finally:
            self.serialize_data = serialize
            if isinstance(self.report, Said):
                self.report.say()
        if serialize:
            self.data_bytes, self.data_address = self._serialize_data()

    def findings_of_teaching(self) -> Iterable[Finding]:
        """Findings about what the loaded samples cannot teach."""
        self.targets_found = found = count_targets(self.data_list)
        if found is None:
            return ()
        found.searches = count_searches(self.data_list, self.annotated_labels)
        return missing_targets(self, found)

    def get_data_info(self, idx: int) -> dict:
        """The sample ``idx`` with its name and the values that all samples share."""
        info = super().get_data_info(idx)
        name = name_below(info['img_path'], self.image_folder)
        return dict(
            info,
            image_name=name,
            image_stem=name if name in self.namesakes else osp.splitext(name)[0],
            classes=self._metainfo['classes'],
            ann_file=self.ann_file,
            labels_kind=self.labels_kind,
            tasks=self.tasks,
            task_weights=self.task_weights,
            known_labels=info.get('known_labels', self.known_labels),
            ignore=self.ignore,
            image_rules=self.image_rules,
        )

    @property
    def annotated_labels(self) -> Sequence[int]:
        """The classes that the dataset annotates."""
        classes = range(len(self._metainfo['classes']))
        return classes if self.known_labels is None else self.known_labels

    @property
    def image_folder(self) -> str:
        """The folder below which images have their names."""
        return self.data_prefix.get('img') or ''

    def note_images(self, data_list: list[dict]) -> list[dict]:
        """Remember the images with most objects, and the names that differ in the suffix only.

        Returns:
            The list.
        """
        self.peaks = peaks_of_list(data_list, self.is_thing)
        names = [name_below(data['img_path'], self.image_folder) for data in data_list]
        pairs = zip(names, result_stems(names))
        self.namesakes = frozenset(n for n, stem in pairs if n == stem and osp.splitext(n)[1])
        return data_list

    def image_name(self, image: Mapping) -> str:
        """Path of an image below its folder, from an entry in ``images``."""
        return image['file_name']

    def image_of(self, image: Mapping) -> dict:
        """A sample without labels, from an entry in ``images``."""
        return dict(
            img_id=image['id'],
            img_path=osp.join(self.data_prefix['img'], self.image_name(image)),
            height=image['height'],
            width=image['width'],
        )

    def segment_of(self, label: int, entry: Mapping) -> dict:
        """A segment of a sample, from an entry of a JSON."""
        segment = dict(
            id=entry['id'],
            label=label,
            category=self._metainfo['classes'][label],
            isthing=self.is_thing[label],
            iscrowd=bool(entry.get('iscrowd', False)) and self.crowds == 'ignore',
        )
        return dict(segment, area=entry['area']) if 'area' in entry else segment

    def report_json(
        self, kind: str, number: int | str, message: str, severity: str = ERROR
    ) -> None:
        """Report a finding in the JSON; the message starts with the name of the JSON."""
        self.report(Finding(kind, f'{self.ann_file}{message}', self.ann_file, number, severity))

    def read_json(self, optional: Collection[str] = ()) -> dict:
        """Read the JSON, in which lists that are optional may be missing (None).

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is not valid JSON, or lacks one of COCO's three lists.
        """
        folders = {key: Folder(self.data_prefix.get(key, '')) for key in self.folders}
        return read_coco(self.ann_file, self.labels_kind, self.report, folders, optional)

    def note_categories(self, content: Mapping, label_of: Mapping[int, int | None]) -> None:
        """Remember the classes that the JSON annotates, and its category ids for result files."""
        self.note_annotated(label_of.values(), self.ann_file)
        self._metainfo['category_ids'] = category_of_label(
            content, label_of, self._metainfo, self.ann_file
        )

    def note_annotated(self, labels: Iterable[int | None], source: str) -> None:
        """Remember the classes that ``source`` annotates, and log those that it does not."""
        labels, classes = sorted(set(labels) - {None}), self._metainfo['classes']
        if len(labels) == len(classes):
            return
        self.known_labels = tuple(labels)
        missing = [name for label, name in enumerate(classes) if label not in self.known_labels]
        print_log(
            f'{source} annotates {len(labels)} of {len(classes)} classes. Its images teach nothing '
            f'about the others: {", ".join(missing)}',
            logger='current',
        )
