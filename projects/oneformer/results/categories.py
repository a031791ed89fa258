"""The classes of predictions, and their names in result files."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..metainfo import is_thing


@dataclass(frozen=True)
class Categories:
    """Classes by their labels.

    Attributes:
        names: Names of the classes of the model.
        is_thing: Whether each is a thing.
        ids: Category ids in result files, None for a class that these cannot name.
        written: Names in result files.
    """

    names: tuple[str, ...] = ()
    is_thing: tuple[bool, ...] = ()
    ids: tuple[int | None, ...] = ()
    written: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset_meta: Mapping) -> 'Categories':
        """The classes of a model.

        Args:
            dataset_meta: Dict with ``classes``, ``thing_classes``, ``category_ids``, and
                ``category_names`` if result files have other names of the classes.
        """
        names = tuple(dataset_meta['classes'])
        return cls(
            names,
            tuple(is_thing(dataset_meta).tolist()),
            tuple(dataset_meta['category_ids']),
            tuple(dataset_meta.get('category_names') or names),
        )

    def entries(self, only_things: bool = False) -> list[dict]:
        """``categories`` of a COCO JSON, with ``id``, ``name``, ``supercategory``, ``isthing``."""
        return [
            dict(id=number, name=name, supercategory='', isthing=int(isthing))
            for number, name, isthing in zip(self.ids, self.written, self.is_thing)
            if number is not None and (isthing or not only_things)
        ]
