"""Entries of a JSON in COCO instance format: checked, and brought to the images they are of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets.entries import AREA, FLAG, ID, TEXT, WHOLE, complete, some_ids
from ..datasets.file_names import Folder
from ..datasets.listed_images import images_by_id
from ..datasets.polygons import Units, as_polygons
from .coco_json import CocoJson
from .collecting import Collected
from .frames import stored_size
from .reading import name_problems, some

LVIS_KEYS = NEGATIVE, INCOMPLETE = ('neg_category_ids', 'not_exhaustive_category_ids')
_SIZES = ('height', 'width')


@dataclass
class CocoImage:
    """What JSONs say of an image.

    Attributes:
        file: The JSON that lists it.
        size: (height, width) that it states, in pixels.
        objects: Annotations of it, each with the name of its ``category`` and the JSON's ``file``.
        searched: Names of the classes that were looked for; None if the JSON does not say.
        incomplete: Names of classes of which not all objects are annotated.
    """

    file: str
    size: tuple[int, int]
    objects: list[dict] = field(default_factory=list)
    searched: set[str] | None = None
    incomplete: set[str] = field(default_factory=set)


def category_names(json: CocoJson, found: Collected) -> dict[int, tuple[str, bool | None]]:
    """Name of each category id, and whether it is a thing, if the JSON says so.

    The parent class without objects that Roboflow adds to each dataset is left out.
    """
    file = str(json.path)
    entries = complete(
        json.content['categories'],
        dict(id=WHOLE, name=TEXT),
        'category',
        file,
        found,
        optional=dict(isthing=FLAG),
    )
    above = [e.get('supercategory') for e in entries if e.get('supercategory') != e['name']]
    used = _values(json.content['annotations'], 'category_id')
    kept = []
    for entry in entries:
        if entry['name'] in above and entry['id'] not in used and len(entries) > 1:
            found.note(
                f'{file}: category {entry["name"]!r} is only the super-category of others and has '
                'no annotation, as Roboflow adds it; it is left out'
            )
        else:
            kept.append(entry)
    for problem in name_problems([entry['name'] for entry in kept], file):
        found.error('class names', problem, file)
    names = {}
    for entry in kept:
        if entry['id'] in names:
            found.error(
                'category id listed twice',
                f'{file}: {names[entry["id"]][0]!r} and {entry["name"]!r} both are category id '
                f'{entry["id"]}: give each an id of its own',
                file,
            )
        thing = entry.get('isthing')
        names.setdefault(
            entry['id'], (entry['name'].strip(), None if thing is None else bool(thing))
        )
    return names


def _values(entries: Sequence, key: str) -> set:
    """Values of a key that may be ids."""
    return {e.get(key) for e in entries if isinstance(e, dict) and ID.fits(e.get(key))}


def _existing(json: CocoJson, found: Collected) -> list[Mapping]:
    """Images whose file exists, each with its size; the others are reported."""
    folder, file = Folder(str(json.folder)), str(json.path)
    entries = [e for e in json.content['images'] if isinstance(e, dict)]
    names = [entry.get('file_name', entry.get('coco_url')) for entry in entries]
    missing = [name for name in names if isinstance(name, str) and folder.find(name) is None]
    if missing:
        found.error(
            'missing images',
            f'{file}: {len(missing)} of its {len(entries)} images do not exist in {json.folder}: '
            f'{some(missing)}: put them there, or take them out of the JSON',
            file,
        )
    lost = set(missing)
    kept = [entry for entry, name in zip(entries, names) if str(name) not in lost]
    for entry in kept:
        if all(entry.get(key) is None for key in _SIZES) and isinstance(
            entry.get('file_name'), str
        ):
            try:
                size, _ = stored_size(json.folder / entry['file_name'])
            except (OSError, ValueError) as error:
                found.error('damaged image', str(error), file)
                continue
            entry.update(zip(_SIZES, size))
    return kept


def _names_of(ids: object, key: str, image: Mapping, names: Mapping, json: CocoJson, found) -> set:
    """Names of the category ids that an image lists, as LVIS does."""
    if ids is None:
        return set()
    wrong = ids if not isinstance(ids, list) else [n for n in ids if n not in list(names)]
    if not isinstance(ids, list) or wrong:
        found.error(
            'wrong list of classes',
            f'{json.path}: image id {image["id"]!r}: {key} has {wrong}, which are not category ids '
            f'of the JSON{some_ids(names)}: correct it',
            json.path,
        )
        return set()
    return {names[number][0] for number in ids}


def _segmentation_problem(annotation: Mapping, boxes: str | None, file: str, found) -> bool:
    """Report what is wrong with a segmentation; whether there is one, or a box to take for it."""
    number, segmentation = annotation.get('id', '?'), annotation.get('segmentation')
    if not segmentation:
        if boxes is None:
            found.error(
                'no segmentation',
                f'{file}: annotation {number} has no segmentation, only a box, which does not tell '
                "the pixels of an object: add it, or say --boxes keep to take the box's pixels, "
                '--boxes skip to do without the object',
                file,
            )
        elif boxes == 'keep' and not _is_box(annotation.get('bbox')):
            found.error(
                'wrong box',
                f'{file}: annotation {number} has no segmentation, and its bbox is '
                f'{annotation.get("bbox")!r}, not [left, top, width, height]: correct it',
                file,
            )
        return boxes == 'keep'
    try:
        as_polygons(segmentation)
    except ValueError as error:
        found.error('wrong segmentation', f'{file}: annotation {number}: {error}', file)
        return False
    return True


def _is_box(box: object) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(type(value) in (int, float) for value in box)
        and min(box[2:]) > 0
    )


def _records(
    images: Collection[Mapping], names: Mapping, json: CocoJson, found: Collected
) -> dict[str, CocoImage]:
    """Images without their objects, by the name of their file."""
    records: dict[str, CocoImage] = {}
    says = any(key in image for image in images for key in LVIS_KEYS)
    for image in images:
        size = image['height'], image['width']
        record = records.setdefault(image['file_name'], CocoImage(str(json.path), size))
        if says:
            absent, part = (
                _names_of(image.get(key), key, image, names, json, found) for key in LVIS_KEYS
            )
            record.searched = (record.searched or set()) | absent | part
            record.incomplete |= part
    return records


def read_entries(
    json: CocoJson,
    names: Mapping[int, tuple[str, bool | None]],
    boxes: str | None,
    found: Collected,
) -> tuple[dict[str, CocoImage], int]:
    """Images of a JSON by the name of their file, and the number of boxes that are left out.

    Args:
        json: The JSON.
        names: Classes of the JSON, see ``category_names``.
        boxes: ``'keep'``, ``'skip'``, or None to report annotations that are only boxes.
        found: Collector of the problems.
    """
    file = str(json.path)
    kept = _existing(json, found)
    images = images_by_id(kept, file, found, str(json.folder))
    every_id = _values(json.content['images'], 'id')
    records = _records(images.values(), names, json, found)
    left, units, seen = 0, Units(file), set()
    for annotation in complete(
        json.content['annotations'],
        dict(image_id=ID, category_id=WHOLE),
        'annotation',
        file,
        found,
        optional=dict(id=ID, iscrowd=FLAG, area=AREA),
    ):
        image = images.get(annotation['image_id'])
        if not _belongs(annotation, image, every_id, names, file, found):
            continue
        if not annotation.get('segmentation') and boxes == 'skip':
            left += 1
            continue
        if not _segmentation_problem(annotation, boxes, file, found):
            continue
        if annotation.get('segmentation'):
            units.see(
                annotation['segmentation'], {'id': '?', **annotation}, *map(image.get, _SIZES)
            )
        name = names[annotation['category_id']][0]
        record = records[image['file_name']]
        record.objects.append({**annotation, 'category': name, 'file': file})
        if record.searched is not None:
            record.searched.add(name)
        _note_same_id(annotation, seen, file, found)
    if finding := units.finding():
        found(finding)
    return records, left


def _note_same_id(annotation: Mapping, seen: set, file: str, found: Collected) -> None:
    number = annotation.get('id')
    if number is not None and number in seen:
        found.note(f'{file}: annotation id {number!r} occurs twice; both are converted')
    seen.add(number)


def _belongs(
    annotation: Mapping,
    image: Mapping | None,
    every_id: set,
    names: Mapping,
    file: str,
    found: Collected,
) -> bool:
    """Report an annotation of an image or a category that the JSON does not list."""
    number = annotation.get('id', '?')
    if annotation['category_id'] not in names:
        found.error(
            'category not listed',
            f'{file}: annotation {number} has category id {annotation["category_id"]}, which the '
            f'JSON does not list{some_ids(names)}: add the category, or correct the annotation',
            file,
        )
        return False
    if image is None:
        if annotation['image_id'] not in every_id:
            found.error(
                'image not listed',
                f'{file}: annotation {number} is of image id {annotation["image_id"]!r}, which the '
                f'JSON does not list{some_ids(every_id)}: add the image, or remove the annotation',
                file,
            )
        return False
    return True


def mask_codes(jsons: Sequence[CocoJson]) -> tuple[list[Path], int]:
    """JSONs, but for those of COCO itself, and their masks, if all of these are crowds.

    Returns:
        The files that have masks in run-length code, and how many masks; ``([], 0)`` if one of
        the masks is not a crowd.
    """
    files, count = [], 0
    for json in jsons:
        info = json.content.get('info')
        if isinstance(info, dict) and 'cocodataset.org' in str(info.get('url')):
            continue
        codes = [
            annotation.get('iscrowd')
            for annotation in json.content['annotations']
            if isinstance(annotation, dict) and isinstance(annotation.get('segmentation'), dict)
        ]
        if not all(flag == 1 for flag in codes):
            return [], 0
        if codes:
            files.append(json.path)
            count += len(codes)
    return files, count
