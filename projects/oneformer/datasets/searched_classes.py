"""Which classes were looked for in an image, where its entry in a JSON says so.

In federated labels, such as those of LVIS, annotators look for other classes in each image. What
was looked for and not found is absent there; what was not looked for is unknown.
"""

import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .entries import some_ids
from .findings import ERROR, WARNING, Finding, OnFinding

SEARCHED = 'searched_category_ids'
NEGATIVE, NOT_EXHAUSTIVE = 'neg_category_ids', 'not_exhaustive_category_ids'  # of LVIS
KEYS = frozenset((SEARCHED, NEGATIVE, NOT_EXHAUSTIVE))


class Known(NamedTuple):
    """Classes that the labels of an image cover.

    Attributes:
        known: Labels that were looked for, or of which something is annotated.
        searched: Labels among these of which everything is annotated. Of the other known labels,
            only what is annotated is known.
    """

    known: tuple[int, ...]
    searched: tuple[int, ...]


@dataclass
class SearchCounts:
    """Number of images in which classes were looked for.

    Attributes:
        images: Number of images in which everything of a label is annotated, by label.
        partly: Number of images in which some of a label is annotated, but not all, by label.
    """

    images: Counter = field(default_factory=Counter)
    partly: Counter = field(default_factory=Counter)

    def never(self, labels: Iterable[int]) -> list[int]:
        """Labels among these that were looked for nowhere, and of which nothing is annotated."""
        return [label for label in labels if not self.images[label] and not self.partly[label]]


def count_searches(data_list: Collection[Mapping], annotated: Iterable[int]) -> SearchCounts | None:
    """Count the images in which classes were looked for; None if no image says it.

    Args:
        data_list: Samples of a dataset.
        annotated: Labels that images without the keys annotate.
    """
    named = [data for data in data_list if 'searched_labels' in data]
    if not named:
        return None
    others = len(data_list) - len(named)
    counts = SearchCounts(Counter(dict.fromkeys(annotated, others)))
    for data in named:
        counts.images.update(data['searched_labels'])
        counts.partly.update(set(data['known_labels']).difference(data['searched_labels']))
    return counts


class Searches:
    """The search information of the images of a JSON.

    An image with ``neg_category_ids`` was searched for these and for the categories that are
    annotated in it, as LVIS means it; one with ``searched_category_ids`` for those. In an image
    without either everything was looked for. Categories of ``not_exhaustive_category_ids``, and
    annotated ones that were not looked for, are known where they are annotated and unknown
    elsewhere. Of several categories that are one class all have to be looked for.

    Args:
        images: Entries of the JSON by image id.
        label_of: Category id to label, None for what is left out.
        ann_file: The JSON, for messages.
        report: Callback for values that are not lists, category ids that the JSON does not list,
            and contradictory keys.
    """

    def __init__(
        self, images: Mapping, label_of: Mapping[int, int | None], ann_file: str, report: OnFinding
    ) -> None:
        self.label_of, self.ann_file, self.report = label_of, ann_file, report
        self.found: dict[Any, set[int]] = {}  # annotated categories of the images that say it
        self.lists: dict[Any, dict[str, set[int]]] = {}
        for img_id, image in images.items():
            if not KEYS.isdisjoint(image) and any(image.get(key) is not None for key in KEYS):
                self.lists[img_id] = self._read(img_id, image)
                self.found[img_id] = set()
        if any(NEGATIVE in lists for lists in self.lists.values()):
            self._tell_mixed(images)
        self._numbers: dict[int, set[int]] = {}  # categories of each label
        for number, label in label_of.items():
            if label is not None:
                self._numbers.setdefault(label, set()).add(number)

    def __len__(self) -> int:
        """Number of images that say what was looked for."""
        return len(self.lists)

    def see(self, img_id: int | str, category_id: int) -> None:
        """Note that an object of a category is annotated in an image."""
        if img_id in self.found:
            self.found[img_id].add(category_id)

    def keys_of(self, img_id: int | str) -> dict:
        """The keys ``known_labels`` and ``searched_labels`` of a sample, once all was seen.

        Empty for an image without this information.
        """
        known = self.known_of(img_id)
        if known is None:
            return {}
        return dict(known_labels=known.known, searched_labels=known.searched)

    def known_of(self, img_id: int | str) -> Known | None:
        """The classes that the labels of an image cover, once all annotations were seen.

        None for an image without this information.
        """
        if img_id not in self.lists:
            return None
        lists, annotated = self.lists[img_id], self.found[img_id]
        self._tell_contradictions(img_id, lists, annotated)
        if SEARCHED in lists or NEGATIVE in lists:
            searched = lists.get(SEARCHED, set()) | lists.get(NEGATIVE, set())
            searched |= annotated if NEGATIVE in lists else set()
        else:
            searched = set(self.label_of)
        searched = searched - lists.get(NOT_EXHAUSTIVE, set())
        complete = {k for k in self._labels(searched) if self._numbers[k] <= searched}
        partly = self._labels(annotated)
        known = Known(tuple(sorted(complete | partly)), tuple(sorted(complete)))
        if not known.known:
            self._tell(
                'nothing searched',
                img_id,
                'was searched for no class, and has no annotation: it teaches and scores nothing. '
                f'List what was looked for in {SEARCHED}, or remove the image',
            )
        return known

    def _labels(self, numbers: Iterable[int]) -> set[int]:
        """Labels of categories, without what is left out."""
        return {self.label_of.get(number) for number in numbers} - {None}

    def _read(self, img_id: int | str, image: Mapping) -> dict[str, set[int]]:
        """The lists of an image, without their faulty parts."""
        lists = {}
        for key in sorted(KEYS):
            value = image.get(key)
            if value is None:
                continue
            if type(value) is not list:
                text = f'has {key} {reprlib.repr(value)}, not a list of category ids: correct it'
                self._tell('wrong value', img_id, text, ERROR)
                continue
            lists[key] = {n for n in value if type(n) is int and n in self.label_of}
            wrong = [n for n in value if type(n) is not int or n not in self.label_of]
            if wrong:
                shown = reprlib.repr(wrong[0] if len(wrong) == 1 else wrong)
                message = (
                    f'has {shown} in its {key}, which the JSON does not list as a category'
                    f'{some_ids(self.label_of)}: add the category, or take it out'
                )
                self._tell('category not listed', img_id, message, ERROR)
        return lists

    def _tell(self, kind: str, img_id: int | str, text: str, severity: str = WARNING) -> None:
        message = f'{self.ann_file}: image id {img_id!r} {text}'
        self.report(Finding(kind, message, self.ann_file, img_id, severity))

    def _tell_contradictions(self, img_id: int | str, lists: Mapping, annotated: set) -> None:
        """Warn of classes that are annotated, and listed as absent or as not looked for."""
        both = sorted(annotated & lists.get(NEGATIVE, set()))
        if both:
            self._tell(
                'absent and annotated',
                img_id,
                f'lists categories {both} in {NEGATIVE}, as absent, and has annotations of them: '
                'they are read as looked for and found. Take them out of the one or the other',
            )
        if SEARCHED not in lists or NEGATIVE in lists:
            return
        others = annotated - lists[SEARCHED] - lists.get(NOT_EXHAUSTIVE, set())
        others = sorted(n for n in others if self.label_of.get(n) is not None)
        if others:
            self._tell(
                'annotated but not searched',
                img_id,
                f'has annotations of categories {others}, which its {SEARCHED} does not list: '
                'these objects are taught, and that there may be more of them is assumed. List '
                'the categories if all of their objects are annotated',
            )

    def _tell_mixed(self, images: Mapping) -> None:
        """Warn of images without LVIS's list in a file that has it."""
        without = [
            img_id
            for img_id, image in images.items()
            if image.get(NEGATIVE) is None and image.get(SEARCHED) is None
        ]
        if without:
            self._tell(
                'image without negative list',
                without[0],
                f'has no {NEGATIVE}, unlike others (so {len(without)} of {len(images)} images): '
                'everything is taken as looked for there. Write an empty list where only what is '
                'annotated was looked for',
            )
