"""From COCO's JSONs and from masks to a training, by tools/convert_labels.py."""

import json

import numpy as np
import pytest
import test_coco_formats as coco_formats
import test_huggingface_format as huggingface
import test_mask_formats as masks
from format_scenes import NAMES, scene, write_json
from PIL import Image
from pycocotools.coco import COCO
from test_convert_tools import train

THINGS = ('cat', 'dog')
SPLIT = ['--split', 'train=0.5', 'val=0.5']


def write_coco(folder):
    write_json(folder / 'a.json', coco_formats.coco())
    coco_formats.write_images(folder)
    return SPLIT


def write_lvis(folder):
    content = coco_formats.lvis()
    write_json(folder / 'lvis_v1.json', content)
    coco_formats.write_images(folder / 'train2017')
    return SPLIT


def write_both(folder):
    coco_formats.with_pngs(folder)
    pngs = ['--label-pngs', folder / 'labels', '--label-classes', folder / 'classes.txt']
    return ['--to', 'panoptic', *pngs, *SPLIT]


def write_voc(folder):
    masks.labelmap(masks.voc(folder, border=False))
    masks.write_lists(folder, train=['0'], val=['1'])
    return ['--to', 'panoptic', '--things', *THINGS]


def write_colors(folder):
    masks.color_set(folder)
    return []


def write_bdd(folder):
    masks.bdd(folder)
    return []


def write_huggingface(folder):
    huggingface.panoptic(folder)
    return ['--to', 'panoptic', '--things', *THINGS, *SPLIT]


WRITERS = dict(
    coco=write_coco,
    lvis=write_lvis,
    voc=write_voc,
    color_masks=write_colors,
    bdd100k=write_bdd,
    huggingface=write_huggingface,
)
PANOPTIC = dict(voc=write_voc, bdd100k=write_bdd, huggingface=write_huggingface, coco=write_both)


def seed_of(name):
    """The seed of the scene of an image: 0.jpg and 1.jpg, but 1.jpg and 2.jpg of COCO's."""
    return int(name.rpartition('/')[2][0])


def convert(name, write, tmp_path, run_tool):
    options = write(tmp_path / 'source')
    out = tmp_path / 'out'
    arguments = ['convert_labels', name, tmp_path / 'source', out, '--workers', 1, *options]
    return out, run_tool(*arguments)  # which fails if the check of the result finds errors


@pytest.mark.parametrize('name', WRITERS)
def test_labels_are_converted_checked_and_trained(name, tmp_path, config_dir, run_tool):
    out, printed = convert(name, WRITERS[name], tmp_path, run_tool)
    assert 'nothing is wrong' in printed or name in ('lvis', 'bdd100k')  # which have unused classes
    train(out, tmp_path, config_dir, run_tool)


@pytest.mark.parametrize('name', PANOPTIC)
def test_panoptic_pngs_hold_every_pixel_of_the_source(name, tmp_path, run_tool):
    out, _ = convert(name, PANOPTIC[name], tmp_path, run_tool)
    seen = set()
    for split in ('train', 'val'):
        content = json.loads((out / f'{split}.json').read_text())
        label_of = {c['id']: (c['name'], c['isthing']) for c in content['categories']}
        for image, annotation in zip(content['images'], content['annotations']):
            seed = seed_of(image['file_name']) - (name == 'coco')
            seen.add(seed)
            names, objects = scene(seed)
            if name == 'bdd100k':
                names = np.vectorize(masks.BDD_NAMES.get)(names)
            if name == 'voc':
                names = np.where(objects > 0, names, 'background')
            if name == 'huggingface':
                names[-1] = ''
            rgb = np.asarray(Image.open(out / 'segments' / annotation['file_name'])).astype(int)
            ids = rgb @ [1, 256, 65536]
            assert (ids[names == ''] == 0).all() and (ids[names != ''] > 0).all()
            things = 0
            for segment in annotation['segments_info']:
                label, isthing = label_of[segment['category_id']]
                mask = ids == segment['id']
                (number,) = set(objects[mask]) if isthing else {0}
                expected = objects == number if number else (names == label) & (objects == 0)
                np.testing.assert_array_equal(mask, expected)
                assert set(names[mask]) == {label}
                assert segment['iscrowd'] == int(name == 'huggingface' and number == 3)
                things += isthing
            assert things == 3
    assert seen == {0, 1}


def test_colours_become_numbers_of_classes(tmp_path, run_tool):
    out, _ = convert('color_masks', write_colors, tmp_path, run_tool)
    for seed, split in enumerate(('train', 'val')):
        label = np.asarray(Image.open(out / f'labels/{split}/{seed}.png'))
        np.testing.assert_array_equal(np.array(NAMES)[label], scene(seed)[0].astype(str))
    assert (out / 'train.txt').read_text() == 'train/0.jpg\n'


def test_what_was_looked_for_survives(tmp_path, run_tool):
    out, _ = convert('lvis', write_lvis, tmp_path, run_tool)
    for split in ('train', 'val'):
        content = json.loads((out / f'{split}.json').read_text())
        names = {c['id']: c['name'] for c in content['categories']}
        assert list(names.values()) == ['cat', 'dog', 'bear', 'owl']
        for image in content['images']:
            lists = [[names[i] for i in image[key]] for key in coco_formats.LVIS_KEYS]
            assert lists == [['bear'], ['cat']]  # dog and owl are in none: not looked for


def test_ignored_objects_are_crowds_in_an_instance_json_and_void_elsewhere(tmp_path, run_tool):
    source = masks.bdd(tmp_path / 'source', attributes=(0, 0, 1, 0))
    common = ['convert_labels', 'bdd100k', source]
    out = tmp_path / 'instance'
    run_tool(*common, out, '--workers', 1, '--to', 'instance')
    coco = COCO(str(out / 'train.json'))
    crowds = {coco.cats[a['category_id']]['name']: a['iscrowd'] for a in coco.anns.values()}
    assert crowds == dict(person=0, car=1)
    _, objects = scene()
    for kind, folder in (('panoptic', 'segments'), ('semantic', 'labels')):
        out = tmp_path / kind
        run_tool(*common, out, '--workers', 1, '--to', kind)
        pixels = np.asarray(Image.open(out / folder / 'train/0.png'))
        void = pixels.sum(-1) == 0 if kind == 'panoptic' else pixels == 255
        np.testing.assert_array_equal(void, objects == 2)


def test_a_changed_table_is_read_anew(tmp_path, run_tool):
    out, _ = convert('color_masks', write_colors, tmp_path, run_tool)
    table = tmp_path / 'source/label_colors.txt'
    table.write_text(table.read_text().replace('sky', 'heaven'))
    arguments = ['convert_labels', 'color_masks', tmp_path / 'source', out, '--workers', 1]
    with pytest.raises(SystemExit, match='--overwrite'):
        run_tool(*arguments)
    assert 'heaven' in run_tool(*arguments, '--overwrite')
