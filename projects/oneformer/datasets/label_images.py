"""Read label images, a panoptic PNG or a label PNG, as maps of the segments of their sample."""

import io
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from ..images.image_files import read_file
from ..images.label_files import ColorLabelError, LabelImage, count_colors, load_label
from ..images.lossy_formats import refuse_lossy
from ..images.notes import frame_hint
from ..images.reading import decode_image
from .findings import Finding, OnFinding, refuse
from .label_hints import explain_colors, explain_ids, explain_values

UNLISTED_ID = 'PNG id without segment'  # kind of a finding
SEARCHED = (  # filled in by the checker, which knows the other images
    ' If the PNG is of another image, oneformer check names that'
)
Seen = Callable[[LabelImage, Mapping], None] | None  # gets a label PNG and its sample

NUM_IDS = 1 << 24  # ids in three bytes
_PNG = b'\x89PNG\r\n\x1a\n'
# bits and colour type in the header: RGB, RGBA, and palettes of up to 8 bits
_COLOR_PNGS = (b'\x08\x02', b'\x08\x06', *(bytes([bits, 3]) for bits in (1, 2, 4, 8)))
_index_of_id = None  # one table per process, cleaned after each use


def segment_indices(
    png: np.ndarray, ids: Sequence[int], void_ids: Sequence[int] = ()
) -> np.ndarray:
    """Replace segment ids by their position.

    Args:
        png: A panoptic PNG as OpenCV decodes it, blue first, uint8 of shape (H, W, 3). The id of a
            pixel is R + 256 G + 65536 B, and 0 is void.
        ids: The annotated ids.
        void_ids: Ids to take for void.

    Returns:
        Array of shape (H, W), int16: k for ``ids[k - 1]``, 0 for void, -1 for an id in neither.
    """
    global _index_of_id
    if _index_of_id is None:
        _index_of_id = np.full(NUM_IDS, -1, np.int16)
        _index_of_id[0] = 0
    # four bytes R, G, B, 255 are the number id - NUM_IDS, which counts from the end of the table
    id_map = cv2.cvtColor(png, cv2.COLOR_BGR2RGBA).view('<i4')[..., 0]
    used = [*void_ids, *ids]
    _index_of_id[used] = [0] * len(void_ids) + list(range(1, len(ids) + 1))
    try:
        return _index_of_id.take(id_map)  # twice as fast as an index
    finally:
        _index_of_id[used] = -1


def check_size(
    size: tuple[int, int], what: str, file: str, results: Mapping, report: OnFinding
) -> None:
    """Report labels whose (height, width) differs from that of the image."""
    if tuple(size) != tuple(results['ori_shape']):
        message = (
            f'{what} has (height, width) {tuple(size)}, but image {results["img_path"]} has '
            f'{tuple(results["ori_shape"])}: {frame_hint(size, results)}'
        )
        report(Finding('sizes differ', message, file, results['img_id']))


def _count_values(values: np.ndarray, what: str) -> tuple[int, str]:
    """The smallest of some values of pixels, and how many pixels have it and the others."""
    found, counts = np.unique(values, return_counts=True)
    text = f'{counts[0]} pixels of {what} {found[0]}'
    if len(found) > 1:
        some = ', '.join(map(str, found[1:6])) + (', ...' if len(found) > 6 else '')
        text += f' and {counts[1:].sum()} pixels of {len(found) - 1} others ({some})'
    return int(found[0]), text


def _grey_hint(data: bytes, path: str, what: str, results: Mapping) -> str:
    """The likely meaning of a panoptic PNG in grey, in words with the remedy, or ''."""
    try:
        values = set(np.unique(load_label(path, what).values).tolist()) - {0}
    except ValueError:
        return ''
    if values and values <= {segment['id'] for segment in results['segments_info']}:
        return (
            '. Its numbers are the ids of segments: write them in colour, as '
            'panopticapi.utils.id2rgb does'
        )
    if values and values <= set(results.get('category_ids') or ()):
        return (
            '. Its numbers are ids of categories, it looks like a semantic label PNG: paint each '
            'object with the id of its segment, or train on such PNGs by a SemanticDataset'
        )
    return ''


def _decode_panoptic(path: str, what: str, results: Mapping) -> tuple[np.ndarray, bytes]:
    """A panoptic PNG, blue first, uint8 of shape (H, W, 3), and the content of its file."""
    data = read_file(path, what)
    refuse_lossy(data, path, what)
    if data.startswith(_PNG) and data[24:26] not in _COLOR_PNGS:
        raise ValueError(
            f'{what} {path} is not in colour with 8 bits, so it cannot hold segment ids as '
            f'R + 256 G + 65536 B: replace the file{_grey_hint(data, path, what, results)}'
        )
    return decode_image(data, path, what), data


def _explain_ids(png: np.ndarray, data: bytes, results: Mapping) -> str:
    """Why the ids of a panoptic PNG are not listed, or an empty text."""
    image = Image.open(io.BytesIO(data))
    alpha = np.array(image)[..., 3] if image.mode == 'RGBA' else None
    hint = explain_ids(png, results, alpha)
    if not hint and image.mode == 'P':
        indices = set(np.unique(np.array(image)).tolist()) - {0}
        if indices and indices <= set(results.get('category_ids') or ()):
            hint = (
                'Its palette has the ids of categories as indices: it looks like a semantic label '
                'PNG. Paint each object with the id of its segment, or train on such PNGs by a '
                'SemanticDataset'
            )
    return hint


def read_panoptic_png(results: Mapping, report: OnFinding = refuse) -> np.ndarray:
    """Segment map of a ``PanopticDataset`` sample, see ``LoadSegmentMap``.

    Reports another size than that of the image, and ids that the JSON does not list.

    Raises:
        FileNotFoundError: If the PNG is missing.
        ValueError: If it is damaged, in grey, or compressed with loss.
    """
    path = results['seg_map_path']
    what = f'panoptic PNG of image {results["img_path"]},'
    png, data = _decode_panoptic(path, what, results)
    check_size(png.shape[:2], f'panoptic PNG {path}', path, results, report)
    ids = [segment['id'] for segment in results['segments_info']]
    segment_map = segment_indices(png, ids, results['void_ids'])
    unknown = segment_map < 0
    if unknown.any():
        first, text = _count_values(png[unknown] @ np.array([65536, 256, 1]), 'segment id')
        hint = _explain_ids(png, data, results)
        remedy = hint or f'Add the segment to the JSON, or paint it with 0 (void).{SEARCHED}'
        report(
            Finding(
                UNLISTED_ID,
                f'panoptic PNG {path} has {text}, which its segments_info does not list. {remedy}',
                path,
                first,
            )
        )
        segment_map[unknown] = 0
    return segment_map


def _no_class(values: np.ndarray, path: str, results: Mapping) -> Finding:
    """The finding about the values of a label PNG that mean no class."""
    meaning = results['segment_of_value']
    first, text = _count_values(values[meaning[values] < 0], 'value')
    meant = np.flatnonzero(meaning >= 0).tolist()
    message = (
        f'label PNG {path} has {text}, which means no class (the {len(meant)} values from '
        f'{meant[0]} to {meant[-1]} do): check label_classes, ignore_index and '
        f'reduce_zero_label of the dataset.{explain_values(values, results)}'
    )
    return Finding('value is not a class', message, path, first)


def read_label_png(results: Mapping, report: OnFinding = refuse, seen: Seen = None) -> np.ndarray:
    """Segment map of a ``SemanticDataset`` sample, see ``LoadSegmentMap``.

    Reports another size than that of the image, and values or colours that are not classes.

    Raises:
        FileNotFoundError: If the PNG is missing.
        ValueError: If it is damaged, compressed with loss, or in colour without ``label_colors``.
    """
    path = results['seg_map_path']
    what = f'label PNG of image {results["img_path"]},'
    if results.get('label_colors') is not None:
        return _read_label_colors(results, report)
    try:
        label = load_label(path, what)
    except ColorLabelError as error:
        hint = explain_colors(error.colors, results)
        raise ColorLabelError(f'{error}.{hint}', error.colors) from error
    if seen is not None:
        seen(label, results)
    check_size(label.values.shape, f'label PNG {path}', path, results, report)
    segment_map = results['segment_of_value'].take(label.values)
    unknown = segment_map < 0
    if unknown.any():
        report(_no_class(label.values, path, results))
        segment_map[unknown] = 0
    return segment_map


def _read_label_colors(results: Mapping, report: OnFinding) -> np.ndarray:
    """Segment map of a sample whose label image has a colour for each class."""
    path, colors = results['seg_map_path'], results['label_colors']
    what = f'label PNG of image {results["img_path"]},'
    data = read_file(path, what)
    refuse_lossy(data, path, what)
    png = decode_image(data, path, what)
    check_size(png.shape[:2], f'label PNG {path}', path, results, report)
    segment_map = colors.segments[segment_indices(png, colors.codes)]
    unknown = segment_map < 0
    if unknown.any():
        found, counts = count_colors(png[unknown][:, ::-1])
        rest = f' and {counts[1:].sum()} pixels of others, such as {found[1]}' if found[1:] else ''
        message = (
            f'label PNG {path} has {counts[0]} pixels of colour (R, G, B) {found[0]}{rest}, '
            'which label_colors does not list: add it there, with None for void. Export '
            'without smooth edges, if these are mixtures of listed colours'
        )
        report(Finding('colour is not a class', message, path, str(found[0])))
        segment_map[unknown] = 0
    return segment_map
