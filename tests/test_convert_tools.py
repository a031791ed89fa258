"""From the files of annotation tools to a training, by tools/convert_labels.py."""

import json

import numpy as np
import pytest
import test_format_cvat as cvat
import test_format_label_studio as label_studio
import test_format_labelme as labelme
import test_format_supervisely as supervisely
import test_format_yolo as yolo
from interrupted import CONFIG
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO
from tool_labels import HEIGHT, WIDTH, fill, iou, rectangle, star, write_image

IMAGES = {'train/a.jpg': 'train', 'train/cam/b.jpg': 'train', 'val/a.jpg': 'val'}
STAR = star(60, 44, 36)
RING = rectangle(80, 10, 120, 50) & ~rectangle(90, 20, 110, 40)
RING[90, 5] = True  # a second piece, of one pixel
CVAT_LABELS = '<label><name>cat</name></label><label><name>dog</name></label>'


def write_yolo(root):
    for name in IMAGES:
        write_image(root / 'images' / name)
        label = (root / 'labels' / name).with_suffix('.txt')
        yolo.write(label, yolo.row(0, STAR), yolo.row(1, star(90, 60, 30)))
    entries = 'train: images/train\nval: images/val\n'
    (root / 'data.yaml').write_text(entries + yolo.NAMES)
    return root / 'data.yaml'


def write_labelme(root):
    for name in IMAGES:
        shapes = [labelme.shape('cat', STAR), labelme.mask_shape('dog', RING)]
        labelme.write((root / name).with_suffix('.json'), shapes)
    return root


def write_cvat(root):
    images = []
    for name, split in IMAGES.items():
        write_image(root / 'images' / name)
        shapes = [cvat.polygon('cat', STAR), cvat.mask('dog', RING, 1)]
        images.append((name.removeprefix(f'{split}/'), shapes, f'subset="{split.title()}"'))
    cvat.write(root / 'annotations.xml', images, CVAT_LABELS, 'project')
    return root


def write_label_studio(root):
    tasks = []
    for name in IMAGES:
        write_image(root / 'images' / name)
        results = [label_studio.polygon('cat', STAR), label_studio.brush('dog', RING, 'b')]
        tasks.append((f'/data/local-files/?d=media/{name}', results))
    label_studio.write(root / 'export.json', tasks)
    return root / 'export.json'


def write_supervisely(root):
    for name, split in IMAGES.items():
        figures = [supervisely.polygon('cat', STAR), supervisely.bitmap('dog', RING)]
        file = name.removeprefix(f'{split}/').replace('/', '_')
        supervisely.write(root, split, file, figures)
    (root / 'meta.json').write_text(json.dumps(dict(classes=supervisely.CLASSES)))
    return root


WRITERS = dict(
    yolo=write_yolo,
    labelme=write_labelme,
    cvat=write_cvat,
    label_studio=write_label_studio,
    supervisely=write_supervisely,
)


def masks_of(path):
    """Masks of each class in a COCO instance JSON, by the name of the image."""
    coco = COCO(str(path))
    found = {}
    for annotation in coco.anns.values():
        name = coco.imgs[annotation['image_id']]['file_name']
        label = coco.cats[annotation['category_id']]['name']
        assert annotation['iscrowd'] == 0
        found.setdefault(name, {})[label] = coco.annToMask(annotation).astype(bool)
    return found


@pytest.mark.parametrize('name', WRITERS)
def test_labels_of_a_tool_are_converted_checked_and_trained(name, tmp_path, config_dir, run_tool):
    source = WRITERS[name](tmp_path / 'source')
    out = tmp_path / 'out'
    divide = ['--split', 'train=0.7', 'val=0.3'] if name == 'label_studio' else []
    printed = run_tool('convert_labels', name, source, out, '--workers', 1, *divide)
    assert 'nothing is wrong' in printed
    exact = name != 'yolo'
    found = {}
    for split in ('train', 'val'):
        masks = masks_of(out / f'{split}.json')
        found.update(dict.fromkeys(masks, split))
        for by_class in masks.values():
            assert iou(by_class['cat'], fill(STAR)) >= 0.98
            if exact:
                assert np.array_equal(by_class['dog'], RING)
            else:
                assert iou(by_class['dog'], fill(star(90, 60, 30))) >= 0.98
    assert sorted(found.values()) == ['train', 'train', 'val']
    train(out, tmp_path, config_dir, run_tool)


def train(out, tmp_path, config_dir, run_tool):
    """Two iterations of the smallest model on the config of a conversion."""
    tiny = CONFIG.format(base=str(out / 'config.py'), data_root='', iters=2)
    config = tmp_path / 'tiny.py'
    kept = [
        line for line in tiny.split('\n') if not line.startswith(('data_root', 'val_', 'test_'))
    ]
    text = '\n'.join(kept).replace(
        'dataset=dict(data_root=data_root, pipeline', 'dataset=dict(pipeline'
    )
    config.write_text(text + "\nwork_dir = 'work'\n")
    assert Config.fromfile(config).train_dataloader.dataset.data_root == f'{out}/'
    run_tool('train', config)
    assert (tmp_path / 'work/iter_2.pth').exists()


def test_an_image_of_which_labels_are_broken_is_named_and_nothing_is_written(tmp_path, run_tool):
    source = write_yolo(tmp_path / 'source')
    label = tmp_path / 'source/labels/train/cam/b.txt'
    label.write_text(label.read_text() + '0 0.5 0.5 0.1 0.1\n')
    with pytest.raises(SystemExit) as error:
        run_tool('convert_labels', 'yolo', source, tmp_path / 'out', '--workers', 1)
    assert 'cam/b.txt: line 3 is a box' in str(error.value)
    assert not list((tmp_path / 'out').glob('*.json'))
    printed = run_tool(
        'convert_labels', 'yolo', source, tmp_path / 'out', '--workers', 1, '--boxes', 'skip',
        '--overwrite',
    )  # fmt: skip
    assert 'boxes' in printed
    assert len(json.loads((tmp_path / 'out/train.json').read_text())['annotations']) == 4
    assert (HEIGHT, WIDTH) == (96, 128)


@pytest.mark.parametrize('upper', ['cat', 'dog'])
def test_the_higher_z_order_wins_in_panoptic_and_instances_stay_whole(upper, tmp_path, run_tool):
    write_image(tmp_path / 'source/images/1.png')
    boxes = dict(cat=rectangle(10, 10, 50, 50), dog=rectangle(30, 30, 90, 90))
    shapes = [cvat.mask(label, mask, int(label == upper)) for label, mask in boxes.items()]
    for order in (1, -1):
        cvat.write(tmp_path / 'source/annotations.xml', [('1.png', shapes[::order])], CVAT_LABELS)
        common = ['cvat', tmp_path / 'source', '--workers', 1, '--split', 'train=1']
        out = tmp_path / f'instance{order}'
        run_tool('convert_labels', *common[:2], out, *common[2:])
        (found,) = masks_of(out / 'train.json').values()
        assert all(np.array_equal(found[label], mask) for label, mask in boxes.items())
        out = tmp_path / f'panoptic{order}'
        options = ['--to', 'panoptic', '--things', 'cat', 'dog']
        run_tool('convert_labels', *common[:2], out, *common[2:], *options)
        content = json.loads((out / 'train.json').read_text())
        names = {c['id']: c['name'] for c in content['categories']}
        ids = np.asarray(Image.open(out / 'segments/1.png')).astype(int) @ [1, 256, 65536]
        lower = dict(cat='dog', dog='cat')[upper]
        for segment in content['annotations'][0]['segments_info']:
            label = names[segment['category_id']]
            visible = boxes[label] & ~boxes[upper] if label == lower else boxes[label]
            assert np.array_equal(ids == segment['id'], visible)


def test_images_whose_names_differ_in_zeros_and_suffix_stay_apart(tmp_path, run_tool):
    names = ('0001.jpg', '1.jpg', '1.gif', 'a/1.png')
    for name in names:
        write_image(tmp_path / 'source/images' / name)
    boxes = {name: rectangle(k, k, 20 + 9 * k, 30) for k, name in enumerate(names, 1)}
    images = [(name, [cvat.mask('cat', mask)]) for name, mask in boxes.items()]
    cvat.write(tmp_path / 'source/annotations.xml', images, CVAT_LABELS)
    out = tmp_path / 'out'
    run_tool(
        'convert_labels', 'cvat', tmp_path / 'source', out, '--workers', 1, '--split', 'train=1'
    )
    found = masks_of(out / 'train.json')
    assert sorted(found) == sorted(names)
    assert all(np.array_equal(found[name]['cat'], mask) for name, mask in boxes.items())


def test_a_set_without_validation_trains(tmp_path, config_dir, run_tool):
    source = write_labelme(tmp_path / 'source')
    out = tmp_path / 'out'
    run_tool('convert_labels', 'labelme', source, out, '--workers', 1, '--split', 'train=1')
    assert not (out / 'val.json').exists()
    train(out, tmp_path, config_dir, run_tool)


def test_a_part_for_the_test_is_the_one_that_is_tested(tmp_path, run_tool):
    source = write_labelme(tmp_path / 'source')
    shares = ['--split', 'train=0.34', 'val=0.33', 'test=0.33']
    run_tool('convert_labels', 'labelme', source, tmp_path / 'out', '--workers', 1, *shares)
    config = Config.fromfile(tmp_path / 'out/config.py')
    names = [config[f'{part}_dataloader'].dataset.ann_file for part in ('train', 'val', 'test')]
    assert names == ['train.json', 'val.json', 'test.json']
