"""Which of the user's own numbers result files have where several mean one class."""

import json
import logging

import cv2
import echo
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SHAPE = HEIGHT, WIDTH = 48, 64
NAMES = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'), aliases=dict(kitten='cat'))
BOXES = ((2, 2, 14, 20), (20, 4, 16, 30), (40, 10, 20, 20))
PLACE = 'data/mine'


def coco(categories, category_of_box=(1, 2, 3), images=2):
    """Images with a box of each of three categories."""
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.png', height=HEIGHT, width=WIDTH)
            for i in range(1, images + 1)
        ],
        annotations=[
            dict(
                id=10 * i + k, image_id=i, category_id=category_of_box[k], iscrowd=0,
                bbox=list(box), area=box[2] * box[3], segmentation=[echo.box_polygon(*box)],
            )
            for i in range(1, images + 1)
            for k, box in enumerate(BOXES)
        ],
        categories=[dict(id=number, name=name) for number, name in categories.items()],
    )  # fmt: skip


def write_instances(folder, content, split='val'):
    echo.write_json(folder / f'{split}.json', content)
    for image in content['images']:
        echo.write_image(folder / split / image['file_name'], echo.noise(SHAPE, image['id']))


def instance_set(folder, names=NAMES, split='val', **others):
    config = dict(
        type='InstanceDataset', metainfo=names, data_root=str(folder), pipeline=[],
        ann_file=f'{split}.json', data_prefix=dict(img=split),
    )  # fmt: skip
    return DATASETS.build({**config, **others})


def scores_of_user(truth, results):
    """AP of pycocotools, and for each category id with ground truth its AP, in percent."""
    truth = COCO(str(truth))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    per_class = {}
    for k, category in enumerate(evaluation.params.catIds):
        precision = evaluation.eval['precision'][:, :, k, 0, 2]
        if (precision > -1).any():
            per_class[category] = 100 * precision[precision > -1].mean()
    return 100 * evaluation.stats[0], per_class


INSTANCE_FILES = "format_evaluator = [dict(type='InstanceFiles')]"


def run_test(run_tool, config, weights, tmp_path):
    """Metrics of the tool, with the result files in the folder ``results``."""
    out = tmp_path / 'metrics.json'
    run_tool(
        'test', config, weights, '--out-dir', tmp_path / 'results', '--out-json', out,
        '--per-class', '--cfg-options', *echo.SMALL,
    )  # fmt: skip
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    'categories, expected',
    [
        ({1: 'cat', 2: 'kitten', 3: 'dog'}, 1),  # the alias comes last and decides nothing
        ({2: 'kitten', 3: 'dog', 7: 'cat '}, 7),
        ({1: 'kitten', 2: 'Cat', 3: 'dog'}, 2),  # alike but for the case
    ],
)
def test_a_class_is_written_as_the_category_of_its_name(tmp_path, categories, expected, caplog):
    names = dict(NAMES, aliases=dict(kitten='cat', Cat='cat'))
    used = [next(n for n, name in categories.items() if name == 'kitten')] * 2 + [3]
    write_instances(tmp_path, coco(categories, used))
    dataset = instance_set(tmp_path, names)
    assert dataset.metainfo['category_ids'] == (expected, 3)


@pytest.mark.parametrize(
    'used, expected', [((4, 9, 9), 9), ((4, 4, 9), 4), ((3, 3, 3), 4)]
)  # most annotations; with as many the lowest id
def test_without_such_a_category_the_one_with_most_annotations(tmp_path, used, expected):
    names = dict(NAMES, aliases=dict(kitten='cat', tom='cat'))
    write_instances(tmp_path, coco({9: 'kitten', 4: 'tom', 3: 'dog'}, used))
    assert instance_set(tmp_path, names).metainfo['category_ids'] == (expected, 3)


def test_the_log_says_which_once_and_what_own_scoring_misses(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'oneformer.datasets.written_ids.print_log',
        lambda message, logger, level: lines.append((level, message)),
    )
    categories = {1: 'cat', 2: 'kitten', 3: 'dog'}
    write_instances(tmp_path, coco(categories, (1, 2, 3)))
    instance_set(tmp_path)
    ((level, line),) = lines
    assert level == logging.WARNING
    assert "class 'cat' stands for the categories 1 ('cat', 2 annotations), 2 ('kitten', 2" in line
    assert 'call it category 1.' in line and "2 annotations of 'kitten' (2) count as missed" in line
    lines.clear()
    write_instances(tmp_path, coco(categories, (1, 1, 3)))
    instance_set(tmp_path)
    ((level, line),) = lines
    assert level == logging.INFO and line.endswith('call it category 1')


@pytest.mark.parametrize(
    'categories, used',
    [
        ({1: 'cat', 2: 'kitten', 3: 'dog'}, (1, 1, 3)),
        ({1: 'kitten', 2: 'dog', 5: 'cat'}, (5, 5, 2)),
    ],
)
def test_the_users_own_scoring_gives_the_numbers_of_the_tool(
    categories, used, tmp_path, config_dir, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch, drop=[1])
    folder = tmp_path / PLACE
    write_instances(folder, coco(categories, used))
    config = echo.write_config(
        config_dir, tmp_path / 'instance.py', 'instance', NAMES, INSTANCE_FILES
    )
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    metrics = run_test(run_tool, config, weights, tmp_path)
    average, per_class = scores_of_user(folder / 'val.json', tmp_path / 'results/instance.json')
    assert metrics['instance/AP'] == pytest.approx(average) and 60 < average < 90
    own = {name: row['AP'] for name, row in metrics['per_class']['instance'].items()}
    assert own == pytest.approx(dict(cat=per_class[used[0]], dog=per_class[used[2]]))


def test_after_merging_a_set_with_both_categories_scores_as_the_tool(
    tmp_path, config_dir, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch, drop=[0])
    folder = tmp_path / PLACE
    content = coco({1: 'cat', 2: 'kitten', 3: 'dog'}, (1, 2, 3))
    write_instances(folder, content)
    config = echo.write_config(
        config_dir, tmp_path / 'instance.py', 'instance', NAMES, INSTANCE_FILES
    )
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    metrics = run_test(run_tool, config, weights, tmp_path)
    average, _ = scores_of_user(folder / 'val.json', tmp_path / 'results/instance.json')
    assert average < metrics['instance/AP'] - 5
    for annotation in content['annotations']:  # what the log advises
        annotation['category_id'] = {2: 1}.get(annotation['category_id'], annotation['category_id'])
    echo.write_json(tmp_path / 'merged.json', content)
    average, _ = scores_of_user(tmp_path / 'merged.json', tmp_path / 'results/instance.json')
    assert metrics['instance/AP'] == pytest.approx(average)


def panoptic_set(folder, names, categories, used, split='val'):
    """Write a panoptic set of one image with a segment of each of three categories."""
    ids = np.zeros(SHAPE, np.uint8)
    for k, (x, y, width, height) in enumerate(BOXES, 1):
        ids[y : y + height, x : x + width] = k
    echo.write_image(folder / f'{split}_segments/1.png', np.stack([ids * 0, ids * 0, ids], -1))
    content = coco(categories, images=1)
    infos = [dict(id=k, category_id=number) for k, number in enumerate(used, 1)]
    content['annotations'] = [dict(image_id=1, file_name='1.png', segments_info=infos)]
    write_instances(folder, content, split)
    return DATASETS.build(
        dict(
            type='PanopticDataset', metainfo=names, data_root=str(folder), pipeline=[],
            ann_file=f'{split}.json', data_prefix=dict(img=split, seg=f'{split}_segments'),
        )
    )  # fmt: skip


def test_stuff_of_a_panoptic_file_is_written_as_the_category_of_most_segments(
    tmp_path, config_dir, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch)
    names = dict(
        classes=('ground', 'dog'),
        thing_classes=('dog',),
        aliases=dict(grass='ground', sand='ground'),
    )
    categories = {1: 'grass', 2: 'sand', 3: 'dog'}
    dataset = panoptic_set(tmp_path / PLACE, names, categories, (2, 2, 3))
    assert dataset.metainfo['category_ids'] == (2, 3)
    config = echo.write_config(config_dir, tmp_path / 'panoptic.py', 'panoptic', names)
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    run_test(run_tool, config, weights, tmp_path)
    content = json.loads((tmp_path / 'results/panoptic.json').read_text())
    (annotation,) = content['annotations']
    assert {info['category_id'] for info in annotation['segments_info']} == {2, 3}
    assert [(c['id'], c['name']) for c in content['categories']] == [(2, 'ground'), (3, 'dog')]


def test_predictions_have_the_ids_of_training_and_free_ones_for_other_classes(
    tmp_path, config_dir, run_tool, monkeypatch, caplog
):
    names = dict(NAMES, classes=('cat', 'dog', 'sky'))
    write_instances(tmp_path / PLACE, coco({4: 'kitten', 2: 'dog', 3: 'cat'}, (4, 4, 2)), 'train')
    meta = instance_set(tmp_path / PLACE, names, 'train').metainfo
    assert meta['category_ids'] == (3, 2, None)
    config = echo.write_config(config_dir, tmp_path / 'instance.py', 'instance', names)
    weights = echo.save_weights(config, tmp_path / 'weights.pth', meta)
    run_tool(
        'predict', tmp_path / PLACE / 'train', '--model', config, '--weights', weights,
        '--out-dir', tmp_path / 'out', '--score-thr', 0, '--tasks', 'panoptic', 'instance',
    )  # fmt: skip
    content = json.loads((tmp_path / 'out/panoptic.json').read_text())
    ids = {category['name']: category['id'] for category in content['categories']}
    assert ids == dict(cat=3, dog=2, sky=4)
    records = json.loads((tmp_path / 'out/instance.json').read_text())
    assert {record['category_id'] for record in records} == {2, 3}


def label_png_set(folder, values, split='val', **options):
    echo.write_image(folder / split / 'a.jpg', echo.noise(SHAPE))
    png = np.full(SHAPE, values[0], np.uint8)
    png[:, 20:40], png[:, 40:] = values[1], values[2]
    echo.write_image(folder / f'{split}_labels/a.png', png)
    return dict(
        type='SemanticDataset', metainfo=dict(classes=('road', 'car', 'sky'), thing_classes=()),
        data_root=str(folder), data_prefix=dict(img=split, seg=f'{split}_labels'), **options,
    )  # fmt: skip


STREETS = {7: 'street', 9: 'road', 26: 'car', 23: 'sky'}
LANES = {5: 'lane', 2: 'street', 1: 'car', 0: 'sky'}
HIGHEST = {1: 'road', 2: 'car', 255: 'sky'}


@pytest.mark.parametrize(
    'options, values, written, void',
    [
        (dict(), (0, 1, 2), (0, 1, 2), 255),
        (dict(reduce_zero_label=True), (1, 2, 3), (1, 2, 3), 0),
        (dict(label_classes=STREETS), (7, 26, 23), (9, 26, 23), 255),
        (dict(label_classes=LANES), (5, 1, 0), (2, 1, 0), 255),
        (dict(label_classes=HIGHEST, ignore_index=254), (1, 2, 255), (1, 2, 255), 254),
        (dict(label_classes={3: 'road', 300: 'car', 1: 'sky'}), (3, 3, 1), (3, 300, 1), 255),
    ],
)
def test_label_pngs_have_the_values_of_the_users_own(
    options, values, written, void, tmp_path, config_dir, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch)
    names = dict(
        classes=('road', 'car', 'sky'), thing_classes=(), aliases=dict(street='road', lane='road')
    )
    dataset = dict(label_png_set(tmp_path / PLACE, values, **options), metainfo=names, pipeline=[])
    meta = DATASETS.build(dataset).metainfo
    assert (meta['label_values'], meta['void_value']) == (written, void)
    # the base's rule for datasets without values of their own changes nothing
    extra = f"""test_dataloader['dataset'].update({options!r})
format_evaluator = [dict(type='SemanticFiles', reduce_zero_label=True)]"""
    config = echo.write_config(config_dir, tmp_path / 'semantic.py', 'semantic', names, extra)
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    run_test(run_tool, config, weights, tmp_path)
    png = cv2.imread(str(tmp_path / 'results/semantic/a.png'), cv2.IMREAD_UNCHANGED)
    truth = cv2.imread(str(tmp_path / PLACE / 'val_labels/a.png'), cv2.IMREAD_UNCHANGED)
    meant = {value: own for own, value in zip(written, values)}
    if 300 in written:
        meant[3] = 3  # the picture has no car
    assert np.array_equal(png, np.vectorize(meant.get)(truth))


def test_a_class_without_a_value_gets_a_free_one(tmp_path):
    from oneformer.evaluation.writers import SemanticWriter

    options = dict(label_classes={1: 'road', 2: None, 9: 'car'}, ignore_index=40)
    dataset = DATASETS.build(dict(label_png_set(tmp_path, (1, 9, 9), **options), pipeline=[]))
    writer = SemanticWriter(str(tmp_path), dataset.metainfo)
    assert writer.values().tolist() == [1, 9, 41]
    assert writer.void_of(writer.values(), np.uint8) == 40


def test_sets_of_a_joint_training_share_the_numbers_of_the_first_that_has_one(
    tmp_path, monkeypatch
):
    lines = []
    monkeypatch.setattr(
        'oneformer.datasets.written_ids.print_log',
        lambda message, logger, level=logging.INFO: lines.append(message),
    )
    names = dict(classes=('cat', 'dog', 'sky'), thing_classes=('cat', 'dog'))
    write_instances(tmp_path / 'a', coco({5: 'cat'}, (5, 5, 5)))
    panoptic_set(tmp_path / 'b', names, {1: 'cat', 2: 'dog', 5: 'sky'}, (1, 2, 5))
    labels = label_png_set(tmp_path / 'c', (1, 2, 2), label_classes={1: 'cat', 2: 'sky'})
    sets = [
        labels,
        dict(type='InstanceDataset', data_root=str(tmp_path / 'a'), data_prefix=dict(img='val')),
        dict(
            type='PanopticDataset', data_root=str(tmp_path / 'b'),
            data_prefix=dict(img='val', seg='val_segments'),
        ),
    ]  # fmt: skip
    for config in sets[1:]:
        config['ann_file'] = 'val.json'
    sets = [dict(config, metainfo=names, pipeline=[]) for config in sets]
    meta = DATASETS.build(dict(type='JointDataset', datasets=sets)).metainfo
    assert meta['category_ids'] == (5, 2, None)  # 5 is taken
    assert meta['label_values'] == (1, None, 2) and meta['void_value'] == 255
    (line,) = [line for line in lines if 'JointDataset' in line]
    assert "'cat' is 5 there and 1 in datasets[2]" in line


def test_training_warns_where_validation_has_other_ids(tmp_path, config_dir, run_tool):
    folder = tmp_path / PLACE
    write_instances(folder, coco({1: 'cat', 2: 'dog', 3: 'kitten'}, (1, 2, 2)), 'train')
    write_instances(folder, coco({4: 'cat', 2: 'dog', 3: 'kitten'}, (4, 2, 2)), 'val')
    config = echo.write_config(config_dir, tmp_path / 'instance.py', 'instance', NAMES)
    printed = run_tool(
        'train', config, '--dry-run', '--cfg-options', 'model.backbone.pretrained=False',
        'train_dataloader.batch_size=2',
    )  # fmt: skip
    assert "category_ids of training and validation differ: 'cat' is 1 in training and 4" in printed


def test_an_official_instance_file_may_have_categories_that_are_left_out(
    tmp_path, config_dir, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch)
    names = dict(NAMES, aliases=dict(kitten=None))
    folder = tmp_path / PLACE
    write_instances(folder, coco({1: 'cat', 2: 'kitten', 3: 'dog'}))
    config = echo.write_config(config_dir, tmp_path / 'instance.py', 'instance', names)
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    cfg = Config.fromfile(config)
    cfg.official_evaluator = [dict(type='InstanceAP', ann_file=str(folder / 'val.json'))]
    cfg.dump(tmp_path / 'official.py')
    out = tmp_path / 'metrics.json'
    run_tool(
        'test', tmp_path / 'official.py', weights, '--official', '--out-json', out,
        '--cfg-options', *echo.SMALL,
    )  # fmt: skip
    assert json.loads(out.read_text())['instance/AP'] == pytest.approx(100)
