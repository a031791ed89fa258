"""The classes of predictions, and what result files call them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Categories:
    """Classes by their labels.

    Attributes:
        names: Of the classes of the model.
        things: Whether each is a thing.
        ids: Category ids in result files, None for a class that these cannot name.
        written: Names in result files.
    """

    names: tuple[str, ...] = ()
    things: tuple[bool, ...] = ()
    ids: tuple[int | None, ...] = ()
    written: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset_meta: Mapping) -> 'Categories':
        """Those of a model.

        Args:
            dataset_meta: With ``classes``, ``thing_classes``, ``category_ids``, and
                ``category_names`` if result files call the classes otherwise.
        """
        names = tuple(dataset_meta['classes'])
        things = set(dataset_meta['thing_classes'])
        return cls(
            names,
            tuple(name in things for name in names),
            tuple(dataset_meta['category_ids']),
            tuple(dataset_meta.get('category_names') or names),
        )

    def entries(self, only_things: bool = False) -> list[dict]:
        """``categories`` of a COCO JSON, with ``id``, ``name``, ``supercategory``, ``isthing``."""
        return [
            dict(id=number, name=name, supercategory='', isthing=int(isthing))
            for number, name, isthing in zip(self.ids, self.written, self.things)
            if number is not None and (isthing or not only_things)
        ]
