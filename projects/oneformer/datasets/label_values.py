"""The meaning of the values of label PNGs."""

from collections.abc import Collection, Mapping, Sequence

from mmengine.logging import print_log

from ..images.label_files import NUM_VALUES

AUTO = 'auto'
VOID = 255  # the value of AUTO

IgnoreIndex = int | str | None


def _read_keys(names: Mapping) -> dict:
    """The dict with whole numbers in place of texts that hold whole numbers; logs it."""
    texts = [key for key in names if isinstance(key, str) and key.strip().isdecimal()]
    if texts:
        print_log(f'label_classes has texts as values, which are read as numbers: {texts}')
    return {int(key) if key in texts else key: name for key, name in names.items()}


def _is_value(value) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= value < NUM_VALUES


def check_options(given: Collection[str], wrapped: bool) -> None:
    """Raise ValueError for options of a ``SemanticDataset`` that would have no effect.

    Args:
        given: Names of the options that say what values mean and which files there are.
        wrapped: Whether a dataset of mmsegmentation gives the meaning and the files.
    """
    if wrapped and given:
        raise ValueError(
            f'{", ".join(given)} of a SemanticDataset with dataset=... would be read by nothing, '
            "since mmsegmentation's dataset says that: move what it knows into dataset, and take "
            'out the rest; or take out dataset, and say data_root and data_prefix here'
        )
    instead = {'label_classes', 'ignore_index', 'reduce_zero_label'} & set(given)
    if 'label_colors' in given and instead:
        raise ValueError(
            'label_colors says what colours mean, so it takes the place of label_classes, '
            f'ignore_index and reduce_zero_label: take out {", ".join(sorted(instead))}'
        )


def png_values(
    names: Sequence[str | None] | Mapping[int, str | None],
    ignore_index: IgnoreIndex,
    reduce_zero_label: bool,
) -> dict[int, str | None]:
    """Map each value of a label PNG to its meaning.

    Args:
        names: Classes in the order of their values from 0, or by value; None for void.
        ignore_index: The value of void; None if there is none; ``AUTO`` for 255, unless a dict
            ``names`` says that 255 is a class.
        reduce_zero_label: Whether value 0 is void as well, and the sequence starts with value 1.

    Returns:
        Value to name; None is void.

    Raises:
        ValueError: If a key is not a value of a PNG, or a value is both void and a class.
    """
    by_value = isinstance(names, Mapping)
    names = _read_keys(names) if by_value else dict(enumerate(names, start=int(reduce_zero_label)))
    wrong = [value for value in names if not _is_value(value)]
    if wrong:
        raise ValueError(f'label_classes has {wrong}: a PNG holds values of 0 to {NUM_VALUES - 1}')
    if ignore_index == AUTO:
        ignore_index = None if by_value and names.get(VOID) is not None else VOID
    if ignore_index is not None and not _is_value(ignore_index):
        raise ValueError(
            f'ignore_index is {ignore_index!r}: it has to be the one value of label PNGs that is '
            f'void, 0 to {NUM_VALUES - 1}, or None if there is none. Further values of void are '
            'None in label_classes'
        )
    void = {ignore_index} - {None} | ({0} if reduce_zero_label else set())
    both = {value: names[value] for value in void if names.get(value) is not None}
    if both:
        raise ValueError(
            f'values of label PNGs are a class in label_classes (by default metainfo.classes) and '
            f'void by ignore_index or reduce_zero_label: {both}. Name them None, or correct these '
            '(ignore_index=None: no value is void by it)'
        )
    return {**names, **dict.fromkeys(void)}
