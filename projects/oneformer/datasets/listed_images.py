"""The images that a JSON lists, by their id."""

from collections.abc import Iterable, Mapping
from functools import partial

from ..images.image_files import ImageTooLargeError, check_pixels
from .entries import FILE_NAME, ID, SIDE, complete
from .file_names import name_hint
from .findings import ERROR, WARNING, Finding, OnFinding


def images_by_id(
    images: Iterable[Mapping], ann_file: str, report: OnFinding, folder: str = ''
) -> dict:
    """Complete entries of ``images`` of a JSON by their id; faults and duplicates are reported."""
    by_id, id_of_file = {}, {}
    keys = dict(id=ID, file_name=FILE_NAME, height=SIDE, width=SIDE)
    hint = partial(name_hint, folder=folder)
    for image in complete(images, keys, 'image', ann_file, report, hint=hint):
        number, file_name = image['id'], image['file_name']
        try:
            check_pixels(image['height'], image['width'], f'{ann_file}: image id {number}')
        except ImageTooLargeError as error:
            report(Finding('absurd size', str(error), ann_file, number))
            continue
        before = by_id.setdefault(number, image)
        if before is not image:
            differ = before['file_name'] != file_name
            message = f'{ann_file} lists image id {number} twice, ' + (
                f'as {before["file_name"]} and {file_name}: give one another id'
                if differ
                else f'{file_name}: remove one entry'
            )
            report(
                Finding(
                    'image listed twice', message, ann_file, number, ERROR if differ else WARNING
                )
            )
        elif id_of_file.setdefault(file_name, number) != number:
            message = (
                f'{ann_file} lists image {file_name} as image id {id_of_file[file_name]} and '
                f'{number}: remove one, or it is seen twice as often as others'
            )
            report(Finding('image listed twice', message, ann_file, number, WARNING))
    return by_id
