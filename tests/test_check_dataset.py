"""The checker: each planted fault is found and named, and clean sets give no finding."""

import functools
import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as mask_utils

from oneformer.inspection.checking import check_config

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'
METAINFO = dict(classes=('sky', 'cat', 'grass', 'dog'), thing_classes=('cat', 'dog'))


def edit(path, change):
    """Rewrite a JSON by a function that changes its content."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def checked(dataset, **cfg):
    """The outcome for a single training set."""
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), **cfg))
    return check_config(cfg, ['train'])['train']


def facts(outcome):
    """Severity, kind, end of the file's path and id of the findings."""
    return [(f.severity, f.kind, '/'.join(f.file.split('/')[-2:]), f.id) for f in outcome.findings]


def assert_found(outcome, expected):
    """These and no others are found, and their messages name file and id."""
    assert sorted(facts(outcome), key=str) == sorted(expected, key=str)
    for finding in outcome.findings:
        assert finding.file in finding.message
        # what cannot be read is named by its path
        unread = finding.kind.startswith(('missing', 'unreadable'))
        assert unread or str(finding.id) in finding.message


@pytest.fixture
def panoptic(tiny_set, tmp_path, config_dir):
    """A copy of the tiny set, and the config of its training part."""
    folder = tmp_path / 'set'
    shutil.copytree(tiny_set, folder)
    dataset = Config.fromfile(config_dir / QUICKSTART).train_dataloader.dataset
    return folder, dict(dataset, data_root=str(folder))


def plant_in_json(change):
    """A fault that ``change`` plants in the JSON; it returns what should be found."""

    @functools.wraps(change)
    def plant(folder):
        path, expected = folder / 'panoptic_train.json', []
        edit(path, lambda content: expected.extend(change(content)))
        return [(severity, kind, 'set/panoptic_train.json', id) for severity, kind, id in expected]

    return plant


def first_segment(content, isthing=None):
    """The first (annotation, segment), of a thing or of stuff, that is not a crowd."""
    kinds = {c['id']: c['isthing'] for c in content['categories']}
    return next(
        (annotation, segment)
        for annotation in content['annotations']
        for segment in annotation['segments_info']
        if isthing in (None, kinds[segment['category_id']]) and not segment['iscrowd']
    )


def image_is_missing(folder):
    (folder / 'train/000003.jpg').unlink()
    return [('error', 'missing file', 'train/000003.jpg', 3)]


def image_is_truncated(folder):
    path = folder / 'train/000003.jpg'
    path.write_bytes(path.read_bytes()[:900])
    return [('error', 'unreadable file', 'train/000003.jpg', 3)]


def png_is_missing(folder):
    (folder / 'panoptic_train/000003.png').unlink()
    return [('error', 'missing file', 'panoptic_train/000003.png', 3)]


def png_is_truncated(folder):
    path = folder / 'panoptic_train/000003.png'
    path.write_bytes(path.read_bytes()[:-20])
    return [('error', 'unreadable file', 'panoptic_train/000003.png', 3)]


def image_has_another_size(folder):
    path = folder / 'train/000003.jpg'
    image = cv2.imread(str(path))
    cv2.imwrite(str(path), image[:-1])
    return [
        ('error', 'sizes differ', 'set/panoptic_train.json', 3),
        ('error', 'sizes differ', 'panoptic_train/000003.png', 3),
    ]


def png_has_a_strange_id(folder):
    path = folder / 'panoptic_train/000003.png'
    png = cv2.imread(str(path))
    png[:2, :2] = (1, 2, 3)  # blue, green, red
    cv2.imwrite(str(path), png)
    # the segment that lay there has fewer pixels than its area, which stuff may
    return [('error', 'PNG id without segment', 'panoptic_train/000003.png', 3 + 2 * 256 + 65536)]


def png_shows_nothing(folder):
    path = folder / 'panoptic_train/000003.png'
    cv2.imwrite(str(path), cv2.imread(str(path)) * 0)
    edit(folder / 'panoptic_train.json', lambda c: c['annotations'][2].update(segments_info=[]))
    return [('warning', 'empty image', 'train/000003.jpg', 3)]


def thing_has_no_pixels(folder):
    content = json.loads((folder / 'panoptic_train.json').read_text())
    annotation, segment = first_segment(content, isthing=1)
    path = folder / 'panoptic_train' / annotation['file_name']
    png = cv2.imread(str(path)).astype(np.int64)
    png[png @ [65536, 256, 1] == segment['id']] = 0
    cv2.imwrite(str(path), png.astype(np.uint8))
    file = f'panoptic_train/{annotation["file_name"]}'
    return [('error', 'segment without pixels', file, segment['id'])]


@plant_in_json
def json_has_another_size(content):
    content['images'][2]['width'] += 1
    return [('error', 'sizes differ', 3)]


@plant_in_json
def image_lacks_its_height(content):
    del content['images'][2]['height']
    del content['annotations'][2]
    return [('error', 'incomplete entry', 3)]


@plant_in_json
def segment_ids_are_doubled(content):
    segments = content['annotations'][2]['segments_info']
    segments.append(segments[0])
    return [('error', 'segment ids', 3)]


@plant_in_json
def segment_id_is_out_of_range(content):
    content['annotations'][2]['segments_info'].append(dict(id=1 << 24, category_id=1))
    return [('error', 'segment ids', 3)]


@plant_in_json
def segment_has_an_unknown_category(content):
    segment = content['annotations'][2]['segments_info'][0]
    segment['category_id'] = 999
    return [('error', 'category not listed', segment['id'])]


@plant_in_json
def category_is_not_a_class(content):
    content['categories'].append(dict(id=77, name='dragon', isthing=1))
    return [('error', 'category is not a class', 'dragon')]


@plant_in_json
def category_id_is_doubled(content):
    content['categories'].append(dict(content['categories'][1], id=content['categories'][0]['id']))
    return [('error', 'category id listed twice', content['categories'][0]['id'])]


@plant_in_json
def json_calls_a_thing_stuff(content):
    category = next(c for c in content['categories'] if c['isthing'])
    category['isthing'] = 0
    return [('error', 'thing or stuff', category['name'])]


@plant_in_json
def thing_has_another_area(content):
    segment = first_segment(content, isthing=1)[1]
    segment['area'] += 1
    return [('warning', 'areas disagree', segment['id'])]


@plant_in_json
def stuff_has_less_area_than_pixels(content):
    segment = first_segment(content, isthing=0)[1]
    segment['area'] -= 1
    return [('warning', 'areas disagree', segment['id'])]


@plant_in_json
def stuff_has_more_area_than_things_can_hide(content):
    segment = first_segment(content, isthing=0)[1]
    segment['area'] += 10**6
    return [('warning', 'areas disagree', segment['id'])]


@plant_in_json
def image_has_two_annotations(content):
    content['annotations'].append(content['annotations'][2])
    return [('error', 'two annotations of an image', 3)]


@plant_in_json
def annotation_is_of_no_image(content):
    content['annotations'].append(dict(content['annotations'][2], image_id=99))
    return [('error', 'image not listed', 99)]


@plant_in_json
def image_is_not_annotated(content):
    del content['annotations'][2]
    return [('warning', 'image without annotation', 3)]


@plant_in_json
def image_is_listed_twice(content):
    content['images'].append(content['images'][2])
    return [('warning', 'image listed twice', 3)]


@plant_in_json
def two_images_share_an_id(content):
    content['images'].append(dict(content['images'][2], file_name='other.jpg'))
    return [('error', 'image listed twice', 3)]


@plant_in_json
def two_images_share_a_file(content):
    content['images'].append(dict(content['images'][2], id=99))
    content['annotations'].append(dict(content['annotations'][2], image_id=99))
    return [('warning', 'image listed twice', 99)]


@pytest.mark.parametrize(
    'plant',
    [
        image_is_missing,
        image_is_truncated,
        png_is_missing,
        png_is_truncated,
        image_has_another_size,
        png_has_a_strange_id,
        png_shows_nothing,
        thing_has_no_pixels,
        json_has_another_size,
        image_lacks_its_height,
        segment_ids_are_doubled,
        segment_id_is_out_of_range,
        segment_has_an_unknown_category,
        category_is_not_a_class,
        category_id_is_doubled,
        json_calls_a_thing_stuff,
        thing_has_another_area,
        stuff_has_less_area_than_pixels,
        stuff_has_more_area_than_things_can_hide,
        image_has_two_annotations,
        annotation_is_of_no_image,
        image_is_not_annotated,
        image_is_listed_twice,
        two_images_share_an_id,
        two_images_share_a_file,
    ],
)
def test_planted_faults_of_panoptic_labels_are_found(plant, panoptic):
    folder, dataset = panoptic
    expected = plant(folder)
    outcome = checked(dataset)
    assert_found(outcome, expected)


def box(top, left, side):
    """A square as a polygon."""
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def object_of(number, segmentation, area, **others):
    return dict(
        dict(id=number, image_id=1, category_id=3, iscrowd=0, area=area),
        segmentation=segmentation,
        **others,
    )


@pytest.fixture
def instance(tmp_path):
    """An image with a cat and a dog, and the config of its dataset."""
    folder = tmp_path / 'instance'
    (folder / 'img').mkdir(parents=True)
    cv2.imwrite(str(folder / 'img/a.jpg'), np.full((40, 60, 3), 90, np.uint8))
    content = dict(
        images=[dict(id=1, file_name='a.jpg', height=40, width=60)],
        annotations=[
            object_of(5, [box(2, 2, 20)], 400),
            object_of(9, [box(30, 48, 8)], 64, category_id=8),
        ],
        categories=[dict(id=8, name='dog'), dict(id=3, name='cat')],
    )
    (folder / 'a.json').write_text(json.dumps(content))
    dataset = dict(
        type='InstanceDataset',
        metainfo=METAINFO,
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img'),
    )
    return folder, dataset


def code(size, *counts):
    return dict(size=list(size), counts=list(counts))


def code_of_60x60():
    """A compressed code that has more pixels than it says."""
    counts = mask_utils.encode(np.ones((60, 60), np.uint8, order='F'))['counts']
    return dict(size=[40, 60], counts=counts.decode())


@pytest.mark.parametrize(
    'added, severity, kind',
    [
        (object_of(7, [[1, 1, 5, 5]], 9), 'error', 'wrong segmentation'),
        (object_of(7, code((9, 9), 0, 81), 81), 'error', 'wrong segmentation'),
        (object_of(7, code((40, 60), 7), 7), 'error', 'wrong segmentation'),
        (object_of(7, code_of_60x60(), 7), 'error', 'wrong segmentation'),
        (object_of(7, [], 9), 'error', 'no segmentation'),
        (object_of(7, [box(0, 40, 9)], 81, category_id=99), 'error', 'category not listed'),
        (object_of(7, [box(0, 40, 9)], 81, image_id=99), 'error', 'image not listed'),
        (object_of(5, [box(0, 40, 9)], 81), 'warning', 'annotation id listed twice'),
        (object_of(7, [box(0, 40, 9)], 810), 'warning', 'areas disagree'),
        (object_of(7, code((40, 60), 0, 5, 2395), 6), 'warning', 'areas disagree'),
        (object_of(7, [box(90, 90, 9)], 81), 'warning', 'instance without pixels'),
    ],
)
def test_planted_faults_of_instance_labels_are_found(added, severity, kind, instance):
    folder, dataset = instance
    assert not checked(dataset).findings
    edit(folder / 'a.json', lambda content: content['annotations'].append(added))
    expected = [(severity, kind, f'{folder.name}/a.json', added['id'])]
    assert_found(checked(dataset), expected)


def test_instances_of_stuff_and_hidden_ones_and_empty_images_are_found(instance):
    folder, dataset = instance
    name = f'{folder.name}/a.json'

    def plant(content):
        content['categories'].append(dict(id=4, name='grass'))
        content['images'].append(dict(content['images'][0], id=2, file_name='b.jpg'))
        # the smaller cover the larger
        content['annotations'] += [
            object_of(6, [box(2, 2, 10), box(12, 2, 10)], 200),
            object_of(7, [box(2, 12, 10), box(12, 12, 10)], 200),
        ]

    edit(folder / 'a.json', plant)
    shutil.copy(folder / 'img/a.jpg', folder / 'img/b.jpg')
    expected = [
        ('error', 'instances of stuff', name, 4),
        ('warning', 'instance without pixels', name, 5),
        ('warning', 'empty image', 'img/b.jpg', 2),
    ]
    assert_found(checked(dataset), expected)


@pytest.fixture
def semantic(tmp_path):
    """Two images with label PNGs of three classes, and the config of their dataset."""
    values = np.repeat([[0, 1, 2, 255]], 40, 0).repeat(15, 1).astype(np.uint8)
    folder = tmp_path / 'semantic'
    for part in ('img', 'seg'):
        (folder / part).mkdir(parents=True)
    for name in 'ab':
        cv2.imwrite(str(folder / f'img/{name}.jpg'), np.full((40, 60, 3), 90, np.uint8))
        cv2.imwrite(str(folder / f'seg/{name}.png'), values)
    dataset = dict(
        type='SemanticDataset',
        metainfo=METAINFO,
        data_root=str(folder),
        data_prefix=dict(img='img', seg='seg'),
        label_classes=('grass', 'sky', 'cat'),
    )
    return folder, dataset


def label_is_out_of_range(folder, dataset):
    path = str(folder / 'seg/b.png')
    values = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    values[:3, :3] = 7
    cv2.imwrite(path, values)
    return [('error', 'value is not a class', 'seg/b.png', 7)]


def label_png_has_another_size(folder, dataset):
    path = str(folder / 'seg/b.png')
    cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED)[1:])
    return [('error', 'sizes differ', 'seg/b.png', 'b')]


def label_png_is_coloured(folder, dataset):
    cv2.imwrite(str(folder / 'seg/b.png'), np.full((40, 60, 3), (9, 1, 1), np.uint8))
    return [('error', 'unreadable file', 'seg/b.png', 'b')]


def label_png_is_truncated(folder, dataset):
    path = folder / 'seg/b.png'
    path.write_bytes(path.read_bytes()[:60])
    return [('error', 'unreadable file', 'seg/b.png', 'b')]


def label_png_is_all_void(folder, dataset):
    cv2.imwrite(str(folder / 'seg/b.png'), np.full((40, 60), 255, np.uint8))
    return [('warning', 'empty image', 'img/b.jpg', 'b')]


def image_has_no_labels(folder, dataset):
    (folder / 'seg/b.png').unlink()
    return [('error', 'image without labels', 'img/b.jpg', 'b')]


def labels_have_no_image(folder, dataset):
    (folder / 'img/b.jpg').unlink()
    return [('error', 'labels without image', 'seg/b.png', 'b')]


def label_class_is_not_a_class(folder, dataset):
    dataset['label_classes'] = ('grass', 'sky', 'cat', 'dragon')
    return [('error', 'category is not a class', f'{folder.name}/seg', 'dragon')]


@pytest.mark.parametrize(
    'plant',
    [
        label_is_out_of_range,
        label_png_has_another_size,
        label_png_is_coloured,
        label_png_is_truncated,
        label_png_is_all_void,
        image_has_no_labels,
        labels_have_no_image,
        label_class_is_not_a_class,
    ],
)
def test_planted_faults_of_label_pngs_are_found(plant, semantic):
    folder, dataset = semantic
    assert not checked(dataset).findings
    expected = plant(folder, dataset)
    assert_found(checked(dataset), expected)


def test_a_value_of_the_wrong_kind_does_not_end_the_check(instance):
    folder, dataset = instance

    def plant(content):
        content['images'].append(dict(content['images'][0], id=2, height='forty'))
        content['annotations'].append(object_of(6, [box(0, 0, 9)], 81, image_id=2))

    edit(folder / 'a.json', plant)
    expected = [('wrong value', 2), ('image not listed', 6)]
    assert facts(checked(dataset)) == [('error', k, 'instance/a.json', id) for k, id in expected]


def test_images_of_a_test_set_without_annotations_are_checked(panoptic):
    folder, dataset = panoptic
    edit(folder / 'panoptic_train.json', lambda content: content.pop('annotations'))
    expected = image_is_truncated(folder)
    outcome = checked(dict(dataset, test_mode=True))
    assert_found(outcome, expected)
    assert (outcome.summary['images'], outcome.summary['tasks']) == (16, [])


def test_labels_of_a_wrapped_data_set_of_mmsegmentation_are_checked(semantic):
    folder, dataset = semantic
    source = dict(
        type='mmseg.BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='img', seg_map_path='seg'),
        metainfo=dict(classes=('grass', 'sky', 'cat')),
    )
    wrapped = dict(type='SemanticDataset', metainfo=METAINFO, dataset=source)
    assert not checked(wrapped).findings
    expected = label_is_out_of_range(folder, dataset)
    (folder / 'seg/a.png').unlink()
    assert_found(checked(wrapped), [*expected, ('error', 'missing file', 'seg/a.png', 'a')])


@pytest.mark.parametrize('content', ['{"images": [', '[1, 2]', '{"images": []}', None])
def test_a_file_that_is_not_an_annotation_is_a_finding(content, panoptic):
    folder, dataset = panoptic
    path = folder / 'panoptic_train.json'
    path.unlink() if content is None else path.write_text(content)
    outcome = checked(dataset)
    assert outcome.summary is None
    assert_found(outcome, [('error', 'unreadable labels', 'set/panoptic_train.json', None)])


def test_void_that_things_painted_over_stuff_is_not_a_fault(panoptic):
    """ADE20K's official file measures stuff before things lie on it."""
    folder, dataset = panoptic
    content = json.loads((folder / 'panoptic_train.json').read_text())
    annotation, thing = first_segment(content, isthing=1)
    stuff = next(
        s
        for s in annotation['segments_info']
        if not next(c for c in content['categories'] if c['id'] == s['category_id'])['isthing']
    )
    stuff['area'] += thing['area']
    (folder / 'panoptic_train.json').write_text(json.dumps(content))
    assert not checked(dataset).findings


def assert_clean(cfg, splits, sizes):
    """No finding, and datasets of these names and numbers of images."""
    outcomes = check_config(cfg, splits)
    assert {name: outcome.summary['images'] for name, outcome in outcomes.items()} == sizes
    assert not any(outcome.findings for outcome in outcomes.values())


def test_generated_sets_give_no_finding(tiny_set, config_dir):
    cfg = Config.fromfile(config_dir / QUICKSTART)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(tiny_set)
    assert_clean(cfg, ['train', 'val', 'test'], {'train': 16, 'val, test': 5})


def test_official_and_photographed_sets_give_no_finding(config_dir, shared_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_r50_coco.py')
    cfg.val_dataloader.dataset.update(
        data_root=str(shared_dir / 'data/coco_panoptic_tiny'),
        ann_file='panoptic_tiny.json',
        data_prefix=dict(img='images/', seg='panoptic/'),
    )
    assert_clean(cfg, ['val'], {'val': 4})
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_nuclei.py')
    cfg.val_dataloader.dataset.data_root = str(shared_dir / 'data/dsb2018_panoptic')
    assert_clean(cfg, ['val'], {'val': 107})


def test_the_summary_counts_what_the_labels_hold(panoptic):
    folder, dataset = panoptic
    content = json.loads((folder / 'panoptic_train.json').read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    per_class, crowds, per_image, void, pixels = {}, {}, [], 0, 0
    for annotation in content['annotations']:
        segments = annotation['segments_info']
        per_image.append(sum(not s['iscrowd'] for s in segments))
        for s in segments:
            counts = crowds if s['iscrowd'] else per_class
            counts[names[s['category_id']]] = counts.get(names[s['category_id']], 0) + 1
        png = cv2.imread(str(folder / 'panoptic_train' / annotation['file_name']))
        void += int((png == 0).all(-1).sum())
        pixels += png[..., 0].size
    summary = checked(dataset, model=dict(panoptic_head=dict(num_queries=3))).summary
    assert {k: c['segments'] for k, c in summary['classes'].items() if c['segments']} == per_class
    assert {k: c['crowds'] for k, c in summary['classes'].items() if c['crowds']} == crowds
    assert summary['segments_per_image'] == dict(
        mean=pytest.approx(np.mean(per_image)), max=max(per_image)
    )
    assert summary['void_share'] == pytest.approx(void / pixels)
    (note,) = summary['notes']
    many = sum(n > 3 for n in per_image)
    assert f'{many} of 16 images have more targets than the model has queries (3)' in note


def test_sets_of_a_joint_training_are_checked_one_by_one(panoptic, instance, semantic):
    (_, first), (cats, second), (folder, third) = panoptic, instance, semantic
    label_png_is_all_void(folder, third)
    edit(cats / 'a.json', lambda content: content['annotations'].pop())
    joint = dict(type='JointDataset', datasets=[dict(first), second, third])
    cfg = Config(dict(train_dataloader=dict(dataset=joint), val_dataloader=None))
    outcomes = check_config(cfg, ['train', 'val'])
    assert [
        (name, len(outcome.findings), outcome.summary['tasks'])
        for name, outcome in outcomes.items()
    ] == [
        ('train[0]', 0, ['panoptic', 'instance', 'semantic']),
        ('train[1]', 1, ['instance']),
        ('train[2]', 1, ['semantic']),
    ]
    second, third = outcomes['train[1]'].summary, outcomes['train[2]'].summary
    assert second['not_annotated'] == ['sky', 'grass'] and second['void_share'] is None
    assert second['notes'] == ['1 of 2 annotated classes have no segment: dog']
    assert third['not_annotated'] == ['dog']
    assert third['classes']['cat'] == dict(kind='thing', images=1, segments=1, crowds=0)
    assert third['void_share'] == pytest.approx((1 + 0.25) / 2)


def test_a_data_set_of_others_is_refused():
    with pytest.raises(ValueError, match='train is a CocoPanopticDataset, which is none of this'):
        checked(dict(type='CocoPanopticDataset', ann_file='a.json'))


def test_the_tool_names_faults_and_exits_with_1_only_on_errors(
    panoptic, run_tool, config_dir, tmp_path, capsys
):
    folder, _ = panoptic
    out = tmp_path / 'out.json'

    def check():
        code = 0
        try:
            printed = run_tool(
                'check_dataset', config_dir / QUICKSTART, '--workers', 2, '--out-json', out,
                '--split', 'train', 'val', '--cfg-options',
                *(f'{split}_dataloader.dataset.data_root={folder}' for split in ('train', 'val')),
            )  # fmt: skip
        except SystemExit as stop:
            code = stop.code
            printed = capsys.readouterr().out
        return code, printed

    code, printed = check()
    assert code == 0 and 'nothing is wrong with the labels' in printed
    thing_has_another_area(folder)
    code, printed = check()
    assert code == 0 and 'warning: areas disagree (1)\n  train: ' in printed
    assert printed.endswith('0 errors, 1 warnings\n')
    for path in (folder / 'val').iterdir():
        path.unlink()
    shutil.rmtree(folder / 'panoptic_train')
    code, printed = check()
    assert code == 1 and 'error: missing file (21)' in printed
    assert printed.count('train: panoptic PNG') == 5 and 'and 16 more, see --out-json' in printed
    written = json.loads(out.read_text())
    assert [f['id'] for f in written['val']['findings']] == [1, 2, 3, 4, 5]
    assert len(written['train']['findings']) == written['train']['summary']['images'] == 16
