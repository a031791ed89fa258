"""Datasets of mmsegmentation: the meaning of their values, and whether their files exist."""

import os.path as osp

from .file_pairs import describe_folder
from .label_values import png_values

_LOOKED_AT = 50  # pairs whose files are looked for, since a disk may be slow


def values_of_source(source) -> dict[int, str | None]:
    """Meaning of each value of label PNGs to a dataset of mmsegmentation; None is void."""
    classes = source.metainfo['classes']
    if source.label_map is None:
        return png_values(classes, source.ignore_index, source.reduce_zero_label)
    names = {
        old + int(source.reduce_zero_label): None
        if new == source.ignore_index or new >= len(classes)
        else classes[new]
        for old, new in source.label_map.items()
    }
    return png_values(names, source.ignore_index, source.reduce_zero_label)


def pairs_of_source(source) -> list[tuple[str, str]]:
    """Paths of image and label PNG for each sample.

    Args:
        source: A dataset of mmsegmentation that does not serialize its samples; its samples are
            deleted.

    Raises:
        ValueError: If it has no samples, or none of the first has its file.
    """
    samples, name = [source.get_data_info(i) for i in range(len(source))], type(source).__name__
    folder = source.data_prefix.get('img_path') or ''
    suffixes = f'img_suffix={source.img_suffix!r} and seg_map_suffix={source.seg_map_suffix!r}'
    if not samples:
        raise ValueError(
            f"mmsegmentation's {name} finds no image with {suffixes}: correct these, data_root or "
            f'data_prefix in dataset. {describe_folder(folder)}'
        )
    for key, what in (('img_path', 'image'), ('seg_map_path', 'label PNG')):
        paths = [sample[key] for sample in samples[:_LOOKED_AT]]
        if not any('://' in path or osp.exists(path) for path in paths):
            raise ValueError(
                f'{what} of {name} {paths[0]} does not exist, nor do the next {len(paths) - 1}, '
                f'with {suffixes}: correct these, data_root or data_prefix in dataset. '
                f'{describe_folder(osp.dirname(paths[0]))}'
            )
    source.data_list = []
    return [(sample['img_path'], sample['seg_map_path']) for sample in samples]
