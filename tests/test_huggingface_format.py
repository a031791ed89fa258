"""Folders of image segmentation as Hugging Face's datasets have them."""

import json

import numpy as np
import pytest
from format_scenes import (
    HEIGHT,
    NAMES,
    NUMBERS,
    WIDTH,
    class_map,
    objects_of,
    problems_of,
    read_all,
    scene,
    source_of,
    write_image,
    write_json,
    write_png,
)
from PIL import Image

THINGS = ('cat', 'dog')


def id2label(folder, first=0):
    write_json(folder / 'id2label.json', {str(k): n for k, n in enumerate(NAMES, first)})


def label_map(seed=0, first=0):
    return np.vectorize(NUMBERS.get)(scene(seed)[0]) + first


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(json.dumps, rows)) + '\n')


def semantic(folder, **names):
    """Two parts with a metadata.jsonl each."""
    for split, seed in (('train', 0), ('validation', 1)):
        write_image(folder / f'{split}/{seed}.jpg', seed)
        write_png(folder / f'{split}/{seed}_label.png', label_map(seed))
        row = dict(file_name=f'{seed}.jpg', label_file_name=f'{seed}_label.png')
        write_rows(folder / f'{split}/metadata.jsonl', [row])
    id2label(folder)
    return folder


def test_label_maps_of_metadata_keep_every_pixel(tmp_path):
    source = source_of('huggingface', semantic(tmp_path))
    found = read_all(source)
    assert list(found) == ['train/0.jpg', 'validation/1.jpg']
    for seed, annotated in enumerate(found.values()):
        np.testing.assert_array_equal(class_map(annotated), scene(seed)[0])
    assert [image.split for image in source.find()[0]] == ['train', 'val']
    assert [c.name for c in source.categories] == list(NAMES)


def test_folders_without_metadata_are_paired_by_name_and_255_is_void(tmp_path):
    values = label_map()
    values[:3] = 255
    write_image(tmp_path / 'images/train/0.jpg')
    write_png(tmp_path / 'annotations/train/0.png', values)
    id2label(tmp_path)
    source = source_of('huggingface', tmp_path)
    annotated = read_all(source)['0.jpg']
    expected = scene()[0]
    expected[:3] = ''
    np.testing.assert_array_equal(class_map(annotated), expected)
    assert [image.split for image in source.find()[0]] == ['train']


def test_reduced_labels_are_read_by_choice_and_proposed(tmp_path):
    write_image(tmp_path / 'images/0.jpg')
    values = label_map(first=1)
    values[0] = 0
    write_png(tmp_path / 'masks/0.png', values)
    id2label(tmp_path)
    source = source_of('huggingface', tmp_path)
    images, _ = source.find()
    with pytest.raises(ValueError, match='has the numbers 4 in .*, say --reduce-labels'):
        source.read(images[0])
    annotated = read_all(source_of('huggingface', tmp_path, reduce_labels=True))['0.jpg']
    expected = scene()[0]
    expected[0] = ''
    np.testing.assert_array_equal(class_map(annotated), expected)


def panoptic(folder, changes=lambda row: None, suffix='.jsonl'):
    """RGB PNGs of ids, and segments_info with the classes of id2label."""
    rows = []
    for seed in (0, 1):
        names, objects = scene(seed)
        numbers = np.where(objects > 0, 70000 + 300 * objects, np.where(names == 'sky', 9, 300))
        numbers[-1] = 0
        write_image(folder / f'image/{seed}.jpg', seed)
        rgb = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], -1)
        write_png(folder / f'mask/{seed}.png', rgb)
        infos = [
            dict(id=int(k), category_id=NUMBERS[names[numbers == k][0]], iscrowd=int(k == 70900))
            for k in np.unique(numbers)
            if k
        ]
        row = dict(image=f'image\\{seed}.jpg', mask=f'mask/{seed}.png', segments_info=infos)
        changes(row)
        rows.append(row)
    write_rows(folder / 'metadata.jsonl', rows)
    id2label(folder)
    return folder


def test_panoptic_pngs_keep_objects_and_crowds(tmp_path):
    source = source_of('huggingface', panoptic(tmp_path))
    for seed, annotated in enumerate(read_all(source).values()):
        names, objects = scene(seed)
        names[-1] = ''
        np.testing.assert_array_equal(class_map(annotated), names)
        found = [o for o in objects_of(annotated) if o[0] in THINGS]
        assert [(n, crowd) for n, crowd, _ in found] == [
            ('cat', False), ('dog', False), ('cat', True)]  # fmt: skip
        for number, (_, _, mask) in enumerate(found, 1):
            np.testing.assert_array_equal(mask, objects == number)


def test_things_are_those_that_segments_call_so(tmp_path):
    def change(row):
        for segment in row['segments_info']:
            segment['isthing'] = NAMES[segment['category_id']] in THINGS

    source = source_of('huggingface', panoptic(tmp_path, change))
    read_all(source)
    assert {c.name: c.is_thing for c in source.categories} == {n: n in THINGS for n in NAMES}


def no_segments(row):
    del row['segments_info'][0]


def unknown_class(row):
    row['segments_info'][0]['category_id'] = 8


def same_id(row):
    row['segments_info'][0]['id'] = row['segments_info'][1]['id']


def no_file(row):
    row['mask'] = row['mask'].replace('mask/1', 'mask/5')


def two_masks(row):
    row['label_file_name'] = 'x.png'


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (unknown_class, ('line 1, segment 0: category_id 8 is not in', 'id2label.json')),
        (same_id, ('is listed twice',)),
        (no_file, ('1 files that rows name do not exist', 'mask/5.png')),
        (two_masks, ("has masks in ['label_file_name', 'mask']", '--mask-column')),
        (lambda row: row.pop('image'), ('line 1 names no image',)),
        (lambda row: row.pop('mask'), ('line 1 names no mask', '--mask-column')),
        (lambda row: row.update(mask=[3]), ('line 1: mask is [3], not the name of a file',)),
    ],
)
def test_what_is_wrong_with_rows_is_named(tmp_path, change, words):
    text = problems_of(source_of('huggingface', panoptic(tmp_path, change)))
    assert all(word in text for word in words), text


def test_ids_that_are_not_listed_are_named(tmp_path):
    source = source_of('huggingface', panoptic(tmp_path, no_segments))
    images, _ = source.find()
    with pytest.raises(ValueError, match=r'0.png has the ids 9 in \d+ pixels, which segments_info'):
        source.read(images[0])


def test_broken_metadata_and_missing_tables_are_named(tmp_path):
    semantic(tmp_path)
    (tmp_path / 'train/metadata.jsonl').write_text('{"file_name": \n')
    assert 'metadata.jsonl, line 1 is not an object' in problems_of(
        source_of('huggingface', tmp_path)
    )
    (tmp_path / 'id2label.json').unlink()
    assert 'has no id2label.json: say which by --id2label' in problems_of(
        source_of('huggingface', tmp_path)
    )


def test_csv_metadata_and_grey_ids_are_read(tmp_path):
    names, objects = scene()
    write_image(tmp_path / '0.jpg')
    Image.fromarray(np.where(objects == 2, 260, 7).astype(np.uint16)).save(tmp_path / '0.png')
    infos = json.dumps([dict(id=7, category_id=1), dict(id=260, category_id=3)])
    text = 'file_name,mask,segments_info\n0.jpg,0.png,"' + infos.replace('"', '""') + '"\n'
    (tmp_path / 'metadata.csv').write_text(text)
    id2label(tmp_path)
    found = class_map(read_all(source_of('huggingface', tmp_path))['0.jpg'])
    np.testing.assert_array_equal(found, np.where(objects == 2, 'dog', 'grass'))
    assert found.shape == (HEIGHT, WIDTH)
