"""COCO's JSONs as other tools write them, LVIS, and JSONs with label PNGs beside them."""

import numpy as np
import pytest
from format_scenes import (
    HEIGHT,
    NAMES,
    NUMBERS,
    WIDTH,
    box_of,
    class_map,
    code_of,
    objects_of,
    outline,
    problems_of,
    read_all,
    scene,
    source_of,
    write_image,
    write_json,
    write_png,
)
from PIL import Image

ANIMALS = ('cat', 'dog')
LVIS_KEYS = ('neg_category_ids', 'not_exhaustive_category_ids')


def coco(names=('1.jpg', '2.jpg'), masks=False, **changes):
    """A JSON of images with the seeds 0, 1, ...; each has three animals."""
    images, annotations = [], []
    for seed, name in enumerate(names):
        images.append(dict(id=seed + 5, file_name=name, height=HEIGHT, width=WIDTH))
        classes, objects = scene(seed)
        for number in (1, 2, 3):
            mask = objects == number
            left, top, right, bottom = box_of(mask)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=seed + 5,
                    category_id=ANIMALS.index(classes[mask][0]) + 7,
                    bbox=[left, top, right - left, bottom - top],
                    area=int(mask.sum()),
                    iscrowd=int(masks),
                    segmentation=code_of(mask) if masks else [outline((left, top, right, bottom))],
                )
            )
    categories = [dict(id=k, name=name) for k, name in enumerate(ANIMALS, 7)]
    content = dict(images=images, annotations=annotations, categories=categories)
    return {**content, **changes}


def write_images(folder, names=('1.jpg', '2.jpg')):
    for seed, name in enumerate(names):
        write_image(folder / name, seed)


def check_objects(annotated, seed=0, crowd=False):
    classes, objects = scene(seed)
    found = objects_of(annotated)
    assert len(found) == 3
    for number, (name, is_crowd, mask) in enumerate(found, 1):
        assert (name, is_crowd) == (classes[objects == number][0], crowd)
        np.testing.assert_array_equal(mask, objects == number)


@pytest.mark.parametrize('masks', [False, True])
def test_polygons_and_codes_are_the_pixels_that_were_drawn(tmp_path, masks):
    content = coco(masks=masks)
    for annotation in content['annotations']:
        annotation['iscrowd'] = 0
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    source = source_of('coco', tmp_path / 'a.json')
    for seed, annotated in enumerate(read_all(source).values()):
        check_objects(annotated, seed)
        assert annotated.searched is None and not annotated.losses
    assert [c.name for c in source.categories] == list(ANIMALS)


def test_uncompressed_codes_and_several_polygons_of_an_object_are_read(tmp_path):
    content = coco()
    first, second, third = content['annotations'][:3]
    _, objects = scene()
    mask = objects == 1
    flat = np.concatenate([[0], mask.ravel('F'), [0]])
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)), [mask.size]])).tolist()
    first['segmentation'] = dict(size=[HEIGHT, WIDTH], counts=runs)
    second['segmentation'].append(third['segmentation'][0])
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    found = objects_of(read_all(source_of('coco', tmp_path))['1.jpg'])
    np.testing.assert_array_equal(found[0][2], mask)
    np.testing.assert_array_equal(found[1][2], (objects == 2) | (objects == 3))


def test_masks_of_which_all_are_crowds_have_to_be_explained(tmp_path):
    write_json(tmp_path / 'annotations/instances_default.json', coco(masks=True))
    write_images(tmp_path / 'images')
    text = problems_of(source_of('coco', tmp_path))
    assert 'instances_default.json' in text and '(6) has iscrowd=1' in text
    assert '--crowds objects' in text and '--crowds crowds' in text
    for crowds in ('objects', 'crowds'):
        found = read_all(source_of('coco', tmp_path, crowds=crowds))
        check_objects(found['1.jpg'], 0, crowds == 'crowds')


def test_crowds_of_coco_itself_need_no_explanation(tmp_path):
    content = coco(masks=True, info=dict(url='http://cocodataset.org'))
    write_json(tmp_path / 'annotations/instances_val2017.json', content)
    write_images(tmp_path / 'val2017')
    source = source_of('coco', tmp_path)
    check_objects(read_all(source)['1.jpg'], crowd=True)
    assert {image.split for image in source.find()[0]} == {'val'}


def test_folders_of_roboflow_become_the_parts_of_the_set(tmp_path):
    above = dict(id=0, name='animals', supercategory='none')
    for folder in ('train', 'valid', 'test'):
        content = coco()
        for category in content['categories']:
            category['supercategory'] = 'animals'
        content['categories'].insert(0, above)
        write_json(tmp_path / folder / '_annotations.coco.json', content)
        write_images(tmp_path / folder)
    source = source_of('coco', tmp_path)
    images, problems = source.find()
    assert not problems
    assert {image.name: image.split for image in images} == {
        f'{folder}/{name}': split
        for folder, split in (('train', 'train'), ('valid', 'val'), ('test', 'test'))
        for name in ('1.jpg', '2.jpg')
    }
    assert [c.name for c in source.categories] == list(ANIMALS)
    assert "'animals' is only the super-category" in ' '.join(source.notes())
    check_objects(source.read(images[1]), 1)


def test_several_jsons_find_their_images_and_join_their_classes(tmp_path):
    dogs = coco(['3.jpg'], categories=[dict(id=8, name='cat'), dict(id=7, name='horse')])
    write_json(tmp_path / 'annotations/train.json', coco())
    write_json(tmp_path / 'annotations/val.json', dogs)
    write_images(tmp_path / 'images/train')
    write_images(tmp_path / 'images/val', ['3.jpg', '1.jpg'])
    source = source_of('coco', tmp_path)
    found = read_all(source)
    assert list(found) == ['train/1.jpg', 'train/2.jpg', 'val/3.jpg']
    assert [c.name for c in source.categories] == ['cat', 'dog', 'horse']
    assert [name for name, _, _ in objects_of(found['val/3.jpg'])] == ['horse', 'cat', 'horse']
    # what a JSON does not list was not looked for
    assert found['val/3.jpg'].searched == ['cat', 'horse']
    assert found['train/1.jpg'].searched == ['cat', 'dog']
    assert 'count as not annotated' in ' '.join(source.notes())


def test_two_jsons_of_the_same_images_are_joined(tmp_path):
    for name, category in (('cats', 7), ('dogs', 8)):
        content = coco()
        kept = [a for a in content['annotations'] if a['category_id'] == category]
        write_json(tmp_path / f'{name}.json', {**content, 'annotations': kept})
    write_images(tmp_path)
    found = objects_of(read_all(source_of('coco', tmp_path))['1.jpg'])
    assert [name for name, _, _ in found] == ['cat', 'cat', 'dog']
    write_json(tmp_path / 'dogs.json', coco())
    assert 'is in' in problems_of(source_of('coco', tmp_path))
    assert not problems_of(source_of('coco', tmp_path, ann_files=['dogs.json']))


def test_other_jsons_beside_the_instances_are_left_out_and_told(tmp_path):
    write_json(tmp_path / 'annotations/instances_train.json', coco())
    captions = dict(images=[], annotations=[dict(caption='a cat')])
    write_json(tmp_path / 'annotations/captions_train.json', captions)
    points = coco()
    for annotation in points['annotations']:
        annotation['keypoints'] = []
    write_json(tmp_path / 'annotations/person_keypoints_train.json', points)
    write_images(tmp_path / 'train2017')
    source = source_of('coco', tmp_path)
    check_objects(read_all(source)['1.jpg'])
    notes = ' '.join(source.notes())
    assert 'captions_train.json has no list of categories' in notes
    assert 'person_keypoints_train.json has key points' in notes


def test_smaller_objects_lie_above_larger_ones(tmp_path):
    content = coco(['1.jpg'])
    whole = dict(content['annotations'][0], id=99, category_id=8)
    whole['segmentation'] = [outline((0, 0, WIDTH, HEIGHT))]
    content['annotations'].append(whole)
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path, ['1.jpg'])
    names = class_map(read_all(source_of('coco', tmp_path))['1.jpg'])
    classes, objects = scene()
    np.testing.assert_array_equal(names, np.where(objects > 0, classes, 'dog'))


def test_other_keys_of_annotations_are_kept(tmp_path):
    content = coco()
    content['annotations'][0].update(score=0.5, attributes=dict(occluded=True))
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    region = read_all(source_of('coco', tmp_path))['1.jpg'].regions[0]
    assert region.extra == dict(score=0.5, attributes=dict(occluded=True))


def test_labels_on_stored_pixels_are_turned_as_the_image_is(tmp_path):
    write_json(tmp_path / 'a.json', coco(['1.jpg']))
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / '1.jpg', exif=exif)
    annotated = read_all(source_of('coco', tmp_path))['1.jpg']
    assert (annotated.height, annotated.width) == (WIDTH, HEIGHT)
    _, objects = scene()
    for number, (_, _, mask) in enumerate(objects_of(annotated), 1):
        np.testing.assert_array_equal(mask, np.rot90(objects == number, -1))
    assert annotated.losses[0].kind == 'labels turned upright'


def no_segmentation(content):
    content['annotations'][1]['segmentation'] = []


def unknown_category(content):
    content['annotations'][1]['category_id'] = 3


def unknown_image(content):
    content['annotations'][1]['image_id'] = 77


def same_names(content):
    content['categories'][1]['name'] = 'Cat'


def missing_file(content):
    content['images'][1]['file_name'] = '9.jpg'


def points_as_dicts(content):
    content['annotations'][1]['segmentation'] = [[dict(x=1, y=2)]]


def shares(content):
    for annotation in content['annotations']:
        annotation['segmentation'] = [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]]


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (no_segmentation, ('annotation 2 has no segmentation', '--boxes keep')),
        (unknown_category, ('annotation 2 has category id 3', 'add the category')),
        (unknown_image, ('annotation 2 is of image id 77', 'add the image')),
        (same_names, ("named 'cat' and 'Cat'", 'rename one')),
        (missing_file, ('1 of its 2 images do not exist', '9.jpg', 'take them out')),
        (points_as_dicts, ('annotation 2', 'has dicts', 'write a list of polygons')),
        (shares, ('within 0 to 1', 'Multiply each x')),
    ],
)
def test_what_is_wrong_with_a_json_is_named(tmp_path, change, words):
    content = coco()
    change(content)
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    text = problems_of(source_of('coco', tmp_path))
    assert all(word in text for word in ('a.json', *words)), text


@pytest.mark.parametrize(
    ('where', 'key'),
    [
        ('annotations', 'id'),
        ('annotations', 'image_id'),
        ('annotations', 'category_id'),
        ('annotations', 'iscrowd'),
        ('images', 'id'),
        ('images', 'file_name'),
        ('images', 'height'),
        ('images', 'neg_category_ids'),
        ('categories', 'id'),
        ('categories', 'name'),
    ],
)
@pytest.mark.parametrize('value', [[1], {'a': [2]}, 1.5, float('nan')])
def test_values_of_any_kind_are_named_with_their_key(tmp_path, where, key, value):
    content = coco()
    content[where][0][key] = value
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    text = problems_of(source_of('coco', tmp_path))
    assert 'a.json' in text and key in text and 'correct it' in text, text


@pytest.mark.parametrize(
    ('segmentation', 'words'),
    [
        ([[1, 2, 3, 4]], 'a polygon is 4 numbers'),
        ([[1, 2, 3, 4, 5, float('nan')]], 'not a finite number'),
        (dict(size=[3, 4], counts=[12]), 'is of (height, width) [3, 4]'),
        (dict(size=[HEIGHT, WIDTH], counts=[12]), 'has 12 pixels'),
    ],
)
def test_a_broken_segmentation_is_named_when_it_is_read(tmp_path, segmentation, words):
    content = coco()
    content['annotations'][1]['segmentation'] = segmentation
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    source = source_of('coco', tmp_path)
    images, problems = source.find()
    assert not problems
    with pytest.raises(ValueError, match='a.json: annotation 2 of 1.jpg') as error:
        source.read(images[0])
    assert words in str(error.value)


def test_boxes_are_filled_or_left_out_by_choice(tmp_path):
    content = coco()
    no_segmentation(content)
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path)
    check_objects(read_all(source_of('coco', tmp_path, boxes='keep'))['1.jpg'])
    source = source_of('coco', tmp_path, boxes='skip')
    assert len(read_all(source)['1.jpg'].regions) == 2
    assert '1 annotations are only boxes' in ' '.join(source.notes())


def test_an_image_for_training_and_validation_is_refused(tmp_path):
    write_json(tmp_path / 'train.json', coco())
    write_json(tmp_path / 'val.json', coco())
    write_images(tmp_path)
    text = problems_of(source_of('coco', tmp_path))
    assert '1.jpg is listed for train by' in text and 'and for val by' in text


def test_images_that_lie_nowhere_or_in_two_folders_are_named(tmp_path):
    write_json(tmp_path / 'json/a.json', coco())
    assert 'say where they are with --images' in problems_of(source_of('coco', tmp_path))
    write_images(tmp_path / 'one')
    write_images(tmp_path / 'two')
    text = problems_of(source_of('coco', tmp_path))
    assert 'lie in each of' in text and '--images' in text
    source = source_of('coco', tmp_path, images=tmp_path / 'two')
    check_objects(read_all(source)['1.jpg'])
    assert source.image_folder == tmp_path / 'two'


def lvis():
    content = coco()
    for image in content['images']:
        name = image.pop('file_name')
        image['coco_url'] = f'http://images.example.org/train2017/{name}'
        image.update(neg_category_ids=[9], not_exhaustive_category_ids=[7])
    content['categories'] += [dict(id=9, name='bear'), dict(id=10, name='owl')]
    content['annotations'] = [a for a in content['annotations'] if a['category_id'] == 7]
    return content


def test_lvis_says_what_was_looked_for(tmp_path):
    write_json(tmp_path / 'lvis_v1_train.json', lvis())
    write_images(tmp_path / 'train2017')
    source = source_of('lvis', tmp_path)
    annotated = read_all(source)['train2017/1.jpg']
    assert annotated.searched == ['cat', 'bear']  # neither dog nor owl
    assert annotated.incomplete == ['cat']
    assert {image.split for image in source.find()[0]} == {'train'}
    assert not any('not taken into account' in note for note in source.notes())


def test_lvis_without_its_lists_is_refused(tmp_path):
    write_json(tmp_path / 'a.json', coco())
    write_images(tmp_path)
    assert 'convert it as coco' in problems_of(source_of('lvis', tmp_path))


def test_lists_of_lvis_with_wrong_ids_are_named(tmp_path):
    content = lvis()
    content['images'][1]['neg_category_ids'] = [9, 44]
    write_json(tmp_path / 'a.json', content)
    write_images(tmp_path / 'train2017')
    text = problems_of(source_of('lvis', tmp_path))
    assert 'image id 6: neg_category_ids has [44]' in text


# with label PNGs


def with_pngs(folder, folders=True):
    """Objects of two images in a JSON, and sky, grass, cat and dog in label PNGs."""
    write_json(folder / 'a.json', coco())
    write_images(folder / 'images')
    for seed in (0, 1):
        names, _ = scene(seed)
        write_png(folder / f'labels/{seed + 1}.png', np.vectorize(NUMBERS.get)(names))
    (folder / 'classes.txt').write_text('\n'.join(NAMES))
    return dict(label_pngs=folder / 'labels', label_classes=folder / 'classes.txt')


def test_stuff_of_label_pngs_and_objects_of_a_json_become_one(tmp_path):
    source = source_of('coco', tmp_path / 'a.json', **with_pngs(tmp_path))
    for seed, annotated in enumerate(read_all(source).values()):
        names, objects = scene(seed)
        np.testing.assert_array_equal(class_map(annotated), names)
        things = [mask for name, crowd, mask in objects_of(annotated) if name in ANIMALS]
        assert len(things) == 3 and not annotated.losses
        for number, mask in enumerate(things, 1):
            np.testing.assert_array_equal(mask, objects == number)
    assert {c.name: c.is_thing for c in source.categories} == dict(
        cat=True, dog=True, sky=False, grass=False
    )


def test_pixels_of_things_that_no_object_covers_become_a_crowd_and_are_told(tmp_path):
    options = with_pngs(tmp_path)
    content = coco()
    del content['annotations'][2]  # the second cat of the first image
    write_json(tmp_path / 'a.json', content)
    annotated = read_all(source_of('coco', tmp_path / 'a.json', **options))['1.jpg']
    crowds = [(name, int(mask.sum())) for name, crowd, mask in objects_of(annotated) if crowd]
    assert crowds == [('cat', 20)]
    (loss,) = annotated.losses
    assert "20 pixels of 'cat' are in no object of the JSON" in loss.message
    np.testing.assert_array_equal(class_map(annotated), scene()[0])


def test_label_pngs_of_other_names_or_sizes_are_named(tmp_path):
    options = with_pngs(tmp_path)
    path = tmp_path / 'labels/2.png'
    path.rename(tmp_path / 'labels/7.png')
    source = source_of('coco', tmp_path / 'a.json', **options)
    assert '1 of 2 images have no label PNG' in problems_of(source)
    assert 'are of no image of the JSON and are left out: 7.png' in ' '.join(source.notes())
    write_png(path, np.zeros((HEIGHT, WIDTH + 1)))
    source = source_of('coco', tmp_path / 'a.json', **options)
    images, _ = source.find()
    with pytest.raises(ValueError, match='2.png: it is for an image of 61 x 40 pixels'):
        source.read(images[1])
    write_png(path, np.full((HEIGHT, WIDTH), 9))
    with pytest.raises(ValueError, match='2.png has the numbers 9 in 2400 pixels'):
        source.read(images[1])
    del options['label_classes']
    assert 'give both' in problems_of(source_of('coco', tmp_path / 'a.json', **options))
