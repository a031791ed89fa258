"""Objects that overlap: whole masks or the topmost, in any order, moved, counted and drawn."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from overlapping_objects import (
    HEIGHT,
    METAINFO,
    NESTED,
    NUCLEUS,
    SCENES,
    WIDTH,
    box,
    build,
    code,
    config_of,
    entry,
    load_steps,
    polygon,
    write_set,
)
from PIL import Image
from pycocotools import mask as mask_utils
from torch.utils.data import DataLoader

from oneformer.datasets import hidden_pixels, instance
from oneformer.inspection import browsing
from oneformer.inspection.checking import check_config
from oneformer.inspection.summary import summary_text
from oneformer.models.targets import batch_targets
from oneformer.tasks import Prompts

IS_THING = [False, True, True]


def masks_of(annotations):
    """Masks of annotations as pycocotools decodes them."""
    masks = []
    for annotation in annotations:
        segmentation = annotation['segmentation']
        if isinstance(segmentation, list) or isinstance(segmentation['counts'], list):
            segmentation = mask_utils.frPyObjects(segmentation, HEIGHT, WIDTH)
        masks.append(mask_utils.decode(segmentation).reshape(HEIGHT, WIDTH, -1).any(-1))
    return masks


def taught(sample):
    """Labels and masks that the criterion gets of a packed sample."""
    sample = sample['data_samples']
    sample.set_metainfo(dict(batch_input_shape=sample.gt_target_map.shape[-2:]))
    (targets,) = batch_targets([sample], IS_THING)
    return targets.labels.tolist(), targets.masks.numpy()


@pytest.mark.parametrize('scene', SCENES)
def test_whole_masks_are_taught(tmp_path, scene):
    objects = [a for a in SCENES[scene] if not a['iscrowd']]
    labels, masks = taught(build(write_set(tmp_path, SCENES[scene]))[0])
    assert labels == [a['category_id'] for a in objects]
    np.testing.assert_array_equal(masks, masks_of(objects))


@pytest.mark.parametrize('scene', SCENES)
def test_or_each_pixel_to_the_object_on_top(tmp_path, scene):
    annotations = SCENES[scene]
    dataset = build(write_set(tmp_path, annotations), overlaps='topmost')
    sample = dataset[0]
    assert 'regions' not in sample['data_samples'].gt_instances
    labels, masks = taught(sample)
    owner = np.zeros((HEIGHT, WIDTH), int)
    drawn = masks_of(annotations)
    heights = [(a['iscrowd'] == 0, -m.sum(), k) for k, (a, m) in enumerate(zip(annotations, drawn))]
    for k in sorted(range(len(drawn)), key=heights.__getitem__):
        owner[drawn[k]] = k + 1
    seen = [k for k, a in enumerate(annotations, 1) if not a['iscrowd'] and (owner == k).any()]
    assert labels == [annotations[k - 1]['category_id'] for k in seen]
    np.testing.assert_array_equal(masks, [owner == k for k in seen])


MOVES = dict(
    jitter=[dict(type='LargeScaleJitter', size=56, scale_range=(0.5, 2.0))],
    quickstart=[
        dict(type='ResizeShortEdge', short_edges=[40, 48, 60], max_size=200),
        dict(type='RandomCrop', crop_size=(40, 40), allow_negative_crop=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Pad', size=(44, 44), pad_val=dict(img=(128, 128, 128), seg=0)),
    ],
)


@pytest.mark.parametrize('moves', MOVES)
@pytest.mark.parametrize('scene', ['three_nested', 'chain', 'over_a_crowd', 'covered_by_two'])
def test_a_mask_is_moved_as_if_its_object_were_alone(tmp_path, scene, moves):
    annotations, pipeline = SCENES[scene], load_steps(*MOVES[moves])
    objects = [a for a in annotations if not a['iscrowd']]
    together = build(write_set(tmp_path / 'all', annotations), pipeline=pipeline)
    alone = [
        build(write_set(tmp_path / str(k), [a]), pipeline=pipeline) for k, a in enumerate(objects)
    ]
    with_overlaps = 0
    for seed in range(8):

        def load(dataset, seed=seed):
            np.random.seed(seed)
            return dataset[0]

        sample = load(together)
        with_overlaps += 'regions' in sample['data_samples'].gt_instances
        labels, masks = taught(sample)
        expected = [taught(load(dataset)) for dataset in alone]
        assert labels == [label for of_one, _ in expected for label in of_one]
        np.testing.assert_array_equal(masks, np.concatenate([m for _, m in expected]))
    assert with_overlaps


def test_a_crop_without_overlaps_gives_the_plain_map(tmp_path):
    write_set(tmp_path, [*NESTED, entry(polygon(2, 2, 8, 8), NUCLEUS)])
    for crop, overlap in (((0, 0, 12, 12), False), ((0, 0, 40, 40), True)):
        samples = {}
        for overlaps in ('full', 'topmost'):
            dataset = build(tmp_path, overlaps=overlaps, pipeline=load_steps()[:2])
            results = dataset[0]
            left, top, right, bottom = crop
            for key in ('img', 'gt_seg_map'):
                results[key] = results[key][top:bottom, left:right]
            for step in build(tmp_path, pipeline=load_steps()[2:]).pipeline.transforms:
                results = step(results)
            samples[overlaps] = results['data_samples']
        assert ('regions' in samples['full'].gt_instances) == overlap
        if not overlap:
            maps = [s.gt_target_map.sem_seg for s in samples.values()]
            assert torch.equal(*maps) and maps[0].unique().tolist() == [0, 1, 2]
            assert samples['full'].texts == samples['topmost'].texts


def test_without_overlaps_nothing_is_added(tmp_path):
    apart = [entry(polygon(2, 2, 20, 20)), entry(polygon(20, 2, 40, 20), NUCLEUS)]
    write_set(tmp_path, [*apart, entry(polygon(0, 0, 30, 30), iscrowd=1)])
    results = build(tmp_path, pipeline=load_steps()[:2])[0]
    assert 'region_segments' not in results and results['gt_seg_map'].max() == 3
    sample = build(tmp_path)[0]['data_samples']
    assert list(sample.gt_instances.keys()) == ['labels']
    assert sample.gt_target_map.sem_seg.unique().tolist() == [-1, 0, 1, 2]


ORDERS = [
    # a cell, a smaller nucleus across its border, and a still smaller cell on both
    ('smaller', (3, 2, 1)),
    ('later', (3, 2, 1)),
    ('earlier', (1, 2, 3)),
    (['nucleus', 'cell'], (3, 1, 2)),
    (['cell', 'nucleus'], (2, 3, 1)),
    (['nucleus'], (2, 3, 1)),
    (('cell',), (3, 1, 2)),
]


@pytest.mark.parametrize('on_top, order', ORDERS, ids=str)
@pytest.mark.parametrize('overlaps', ['full', 'topmost'])
def test_the_config_chooses_the_order(tmp_path, on_top, order, overlaps):
    annotations = [
        entry(polygon(4, 4, 40, 40)),
        entry(code(box(20, 10, 50, 30)), NUCLEUS),
        entry(code(box(30, 15, 45, 20), False)),
        entry(polygon(0, 0, 64, 48), iscrowd=1),
    ]
    write_set(tmp_path, annotations)
    wanted = np.full((HEIGHT, WIDTH), 4)
    for number in order[::-1]:
        wanted[masks_of(annotations)[number - 1]] = number
    options = dict(on_top=on_top, overlaps=overlaps)
    # what is scored
    sample = build(tmp_path, **options, pipeline=load_steps(teach=False))[0]['data_samples']
    np.testing.assert_array_equal(sample.gt_panoptic_seg.sem_seg[0].numpy(), wanted)
    labels, masks = taught(build(tmp_path, **options)[0])
    whole = masks_of(annotations)
    visible = {k: wanted == k for k in (1, 2, 3) if (wanted == k).any()}
    expected = {k: whole[k - 1] for k in (1, 2, 3)} if overlaps == 'full' else visible
    assert labels == [(1, 2, 1)[k - 1] for k in expected]
    np.testing.assert_array_equal(masks, list(expected.values()))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(overlaps='whole'), "overlaps is 'whole', but has to be one of .'full', 'topmost'"),
        (dict(overlaps=True), 'overlaps is True'),
        (dict(on_top='larger'), "on_top is 'larger', but has to be one of .'smaller', 'later'"),
        (dict(on_top='nucleus'), r"say on_top=\['nucleus'\] to have this class on top"),
        (dict(on_top=['cell', 'sky']), r"on_top has \['sky'\], .* of \['cell', 'nucleus'\]"),
        (dict(on_top=['cell', 'cell']), r"on_top lists \['cell'\] twice"),
        (dict(on_top=[]), 'on_top is empty'),
        (dict(on_top=7), r'on_top has \[7\]'),
        (dict(on_top=[['cell']]), r"on_top has \[\['cell'\]\]"),
    ],
    ids=str,
)
def test_wrong_options_are_named(tmp_path, options, message):
    write_set(tmp_path, NESTED)
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **options)


@pytest.mark.parametrize('scene', ['nested', 'partial', 'three_nested', 'over_a_crowd'])
def test_an_exact_learner_of_whole_masks_scores_100(tmp_path, scene):
    assert exact_learner(tmp_path, SCENES[scene], 'full') == pytest.approx([100, 100])


def test_an_exact_learner_of_topmost_masks_does_not(tmp_path):
    # the cell without its nucleus has 84 % of the cell: right at 7 of 10 thresholds
    assert exact_learner(tmp_path, NESTED, 'topmost') == pytest.approx([70, 100])


def exact_learner(folder, annotations, overlaps):
    """AP of the two classes for predictions that are what SampleTask taught."""
    both = [*annotations, *(dict(a, image_id=2) for a in annotations)]
    write_set(folder, both)
    train = build(folder, overlaps=overlaps)
    scored = build(folder, overlaps=overlaps, pipeline=load_steps(teach=False))
    metric = METRICS.build(dict(type='InstanceAP'))
    metric.dataset_meta = scored.metainfo
    for prediction, truth in zip(train, scored, strict=True):
        labels, masks = taught(prediction)
        sample = truth['data_samples']
        sample.pred_instances = InstanceData(
            labels=torch.tensor(labels),
            scores=torch.ones(len(labels)),
            masks=torch.from_numpy(masks),
        )
        metric.process(None, [sample.to_dict()])
    values = {}
    metric.tell_classes = values.update
    metric.compute_metrics(metric.results)
    return values['AP'][1:].tolist()


def test_overlaps_reach_the_model_through_workers(tmp_path):
    dataset = build(write_set(tmp_path, SCENES['chain'], images=3))
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate)
    samples = [sample for batch in loader for sample in batch['data_samples']]
    assert [len(sample.gt_instances.labels) for sample in samples] == [4, 0, 0]
    regions = samples[0].gt_instances.regions
    # each alone somewhere, and three overlaps of two
    assert regions.shape == (4, 7) and regions.sum(0).tolist() == [1] * 4 + [2] * 3
    assert regions.dtype == torch.bool


def test_sets_of_a_joint_training_have_their_own_rules(tmp_path):
    write_set(tmp_path, NESTED)
    sets = [config_of(tmp_path), config_of(tmp_path, overlaps='topmost', on_top=['cell'])]
    joint = DATASETS.build(dict(type='JointDataset', datasets=sets))
    cell, nucleus = masks_of(NESTED)
    np.testing.assert_array_equal(taught(joint[0])[1], [cell, nucleus])
    labels, masks = taught(joint[2])
    assert labels == [1]
    np.testing.assert_array_equal(masks, [cell])


def test_a_panoptic_picture_has_no_overlaps_whatever_its_json_says(tmp_path):
    write_set(tmp_path, [])
    (tmp_path / 'seg').mkdir()
    cell, nucleus = masks_of(NESTED)
    ids = np.where(nucleus, 2, np.where(cell, 1, 0)).astype(np.uint8)
    Image.fromarray(np.stack([ids, ids * 0, ids * 0], -1)).save(tmp_path / 'seg/1.png')
    segments = [
        dict(id=i, category_id=i, segmentation=a['segmentation']) for i, a in enumerate(NESTED, 1)
    ]
    content = json.loads((tmp_path / 'train.json').read_text())
    content['images'] = content['images'][:1]
    content['annotations'] = [dict(image_id=1, file_name='1.png', segments_info=segments)]
    (tmp_path / 'train.json').write_text(json.dumps(content))
    prefix = dict(img='train/', seg='seg/')
    dataset = build(tmp_path, type='PanopticDataset', data_prefix=prefix)
    labels, masks = taught(dataset[0])
    assert labels == [1, 2]
    np.testing.assert_array_equal(masks, [cell & ~nucleus, nucleus])


def grid(count=190):
    """Rows that cross columns, in more places than a map can number."""
    side = 2 * count
    masks = []
    for axis in (0, 1):
        for k in range(count):
            mask = np.zeros((side, side), bool)
            np.moveaxis(mask, axis, 0)[2 * k] = True
            masks.append(mask)
    return masks


@pytest.fixture
def crossing(tmp_path):
    """A set whose second image has too many overlaps."""
    masks = grid()
    side = len(masks[0])
    write_set(tmp_path, [*NESTED, *(entry(code(mask), image_id=2) for mask in masks)])
    content = json.loads((tmp_path / 'train.json').read_text())
    content['images'][1].update(height=side, width=side)
    (tmp_path / 'train.json').write_text(json.dumps(content))
    Image.new('RGB', (side, side)).save(tmp_path / 'train/2.png')
    return tmp_path, masks


def test_more_overlaps_than_a_map_can_number_are_named(crossing):
    folder, masks = crossing
    message = r'the 380 objects of image id 2 .*2\.png\) overlap in more ways than .*32767.*topmost'
    with pytest.raises(ValueError, match=message):
        build(folder)[1]
    dataset = build(folder, overlaps='topmost', pipeline=load_steps(teach=False))
    flat = dataset[1]['data_samples'].gt_panoptic_seg.sem_seg[0].numpy()
    assert (flat == 0).sum() == 190**2 and len(np.unique(flat)) == 1 + 190 + 190
    for overlaps, severity in (('full', 'error'), ('topmost', 'warning')):
        (found,) = checked(config_of(folder, overlaps=overlaps)).findings
        assert (found.kind, found.severity, found.id) == ('too many overlaps', severity, 2)


def checked(config):
    cfg = Config(dict(train_dataloader=dict(dataset=config)))
    return check_config(cfg, ['train'])['train']


WORST = [dict(a, image_id=2) for a in SCENES['three_nested']]


@pytest.mark.parametrize('compressed', [True, False, None])
def test_the_checker_counts_what_overlaps_hide(tmp_path, compressed):
    annotations = [*NESTED, *WORST, entry(polygon(0, 0, 9, 9), image_id=3)]
    annotations += [entry(code(box(0, 0, 20, 20)), image_id=1, iscrowd=1)]  # hides nothing
    if compressed is not None:
        masks = masks_of(annotations)
        for annotation, mask in zip(annotations, masks):
            annotation['segmentation'] = code(mask, compressed)
    write_set(tmp_path, annotations, images=4)
    for overlaps, rule in (('full', 'Whole masks are taught'), ('topmost', 'Each pixel is taught')):
        found = checked(config_of(tmp_path, overlaps=overlaps))
        assert [f.kind for f in found.findings] == ['empty image']  # the fourth
        whole, hidden = 2 * (44 * 36 + 16 * 16) + 6 * 8 + 81, 2 * 16 * 16 + 6 * 8
        overlaps_found = found.summary['overlaps']
        assert overlaps_found == dict(
            objects=3,
            of_objects=6,
            pixels=hidden,
            share=pytest.approx(hidden / whole),
            images=2,
            worst=dict(
                img_id=2,
                objects=2,
                pixels=16 * 16 + 6 * 8,
                share=pytest.approx((256 + 48) / (44 * 36 + 256 + 48)),
            ),
        )
        text = summary_text(dict(train=found))
        share = 100 * hidden / whole
        assert f'train: note: overlaps hide 560 pixels of 3 of 6 objects ({share:.1f} % of' in text
        assert 'in 2 of 4 images; most in image id 2: 304 pixels of 2 objects (16.1 %)' in text
        assert rule in text and "overlaps='full'" in text and "on_top='smaller'" in text


def test_sets_without_overlaps_say_nothing_of_them(tmp_path, tiny_set, config_dir):
    write_set(tmp_path, [NESTED[0], dict(NESTED[1], image_id=2)])
    found = checked(config_of(tmp_path))
    assert found.summary['overlaps'] is None and 'overlap' not in summary_text(dict(train=found))
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    panoptic = checked(dict(cfg.train_dataloader.dataset, data_root=str(tiny_set)))
    assert panoptic.summary['overlaps'] is None


@pytest.mark.parametrize('overlaps', ['full', 'topmost'])
def test_objects_that_others_cover_are_named(tmp_path, overlaps):
    twins = [dict(a, image_id=2) for a in SCENES['equal']]  # annotations 5 and 6
    crowd = entry(code(box(12, 12, 18, 18)), iscrowd=1)  # below annotation 1, number 7
    write_set(tmp_path, [*SCENES['covered_by_two'], *twins, crowd])
    found = {f.id: f for f in checked(config_of(tmp_path, overlaps=overlaps)).findings}
    assert sorted(found) == [1, 5, 7] and {f.severity for f in found.values()} == {'warning'}
    assert [found[k].kind for k in (1, 5, 7)] == [
        'instance without pixels',
        'equal masks',
        'instance without pixels',
    ]
    how = dict(
        full='lies wholly below others (2, 3): its mask is taught',
        topmost="is hidden by others (2, 3) and teaches nothing: say overlaps='full'",
    )
    assert how[overlaps] in found[1].message
    assert 'annotation 5 (cell) of image id 2 has the same pixels as annotation 6' in (
        found[5].message
    )
    assert 'is a crowd that others cover' in found[7].message
    segments = checked(config_of(tmp_path, overlaps=overlaps)).summary['segments']
    assert segments == (6 if overlaps == 'full' else 4)


def test_training_begins_with_what_overlaps_hide(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(instance, 'print_log', lambda text, **kwargs: lines.append(text))
    build(write_set(tmp_path, [*NESTED, *WORST]))
    build(tmp_path, overlaps='topmost', on_top=['cell', 'nucleus'])
    build(tmp_path, test_mode=True)
    build(write_set(tmp_path / 'apart', NESTED[:1]))
    # what cannot be decoded is for the loader to report
    build(write_set(tmp_path / 'faulty', [*NESTED, *WORST, entry([[1, 1, 5]])]))
    whole = 2 * (44 * 36 + 256) + 48
    start = f'train.json: in 2 of 2 images looked at objects overlap, which hides {560 / 37.28:.1f}'
    assert len(lines) == 3 and whole == 3728
    assert all(start in line for line in lines[:2])
    assert "(overlaps='full')" in lines[0] and "on_top=['cell', 'nucleus']" in lines[1]
    assert 'in 1 of 1 images looked at' in lines[2]


def test_the_first_look_at_a_large_set_takes_no_longer(monkeypatch):
    looked = []
    encode = hidden_pixels.encode_segmentation
    monkeypatch.setattr(
        hidden_pixels, 'encode_segmentation', lambda s, *size: looked.append(1) or encode(s, *size)
    )
    segments = [dict(a, iscrowd=False) for a in NESTED]
    images = [dict(height=HEIGHT, width=WIDTH, segments_info=segments)] * 40000
    hidden = hidden_pixels.estimate_hidden(images)
    assert len(looked) == 500 and hidden.images == hidden.overlapped == 250
    assert hidden.share == pytest.approx(100 * 256 / (44 * 36 + 256))


def test_pictures_show_the_topmost_and_outline_what_it_hides(tmp_path):
    write_set(tmp_path, SCENES['partial'])
    results = build(tmp_path, pipeline=load_steps()[:2])[0]
    results['img'][:] = 90
    colors = np.array([(0, 0, 0), (10, 20, 250), (250, 120, 0)], np.uint8)
    picture = browsing.draw_targets(results, Prompts(), colors)
    factor = -(-320 // HEIGHT)
    panel = picture[: HEIGHT * factor, (WIDTH * factor + 6) :]

    def shown(x, y):
        return panel[int((y + 0.5) * factor), int((x + 0.5) * factor)].astype(int)

    cell, nucleus = (abs(0.45 * 90 + 0.55 * colors[k] - 0) for k in (1, 2))
    assert abs(shown(8, 10) - cell).max() < 16 and abs(shown(45, 36) - nucleus).max() < 16
    # the cell is smaller (676 pixels to 600): the nucleus is on top of both
    assert abs(shown(24, 23) - nucleus).max() < 16
    border = panel[int(24.5 * factor), 29 * factor : 31 * factor]
    assert (border == 255).all(-1).any()  # where the cell ends below the nucleus


def test_overlapping_objects_train_and_are_scored(tmp_path, config_dir, run_tool):
    write_set(tmp_path, [*NESTED, *(dict(a, image_id=2) for a in SCENES['partial'])])
    lines = (config_dir / 'your_data/instance.py').read_text().splitlines()
    names = dict.fromkeys(('classes', 'thing_classes'), METAINFO['thing_classes'])
    lines[0] = f"_base_ = '{config_dir / 'oneformer_efficientnet-lite0_quickstart.py'}'"
    lines[1] = f'names = {names!r}'
    text = '\n'.join(lines).replace('data/mine/', f'{tmp_path}/')
    text = text.replace("'val.json'", "'train.json'").replace("img='val/'", "img='train/'")
    (tmp_path / 'mine.py').write_text(text)
    small = [
        'train_cfg.max_iters=2',
        'model.backbone.pretrained=False',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.pipeline.2.short_edges=[64]',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'train_dataloader.dataset.pipeline.5.size=(64,64)',
        'model.criterion.num_points=64',
        "train_dataloader.dataset.on_top=['nucleus']",
    ]
    run_tool('train', tmp_path / 'mine.py', '--cfg-options', *small)
    work_dir = tmp_path / 'work_dirs/my_instance'
    (log,) = work_dir.rglob('*.log')
    assert 'in 2 of 2 images looked at objects overlap' in log.read_text()
    assert "on_top=['nucleus'] decides" in log.read_text()
    test = ('--show-dir', 'pictures', '--out-json', 'scores.json', '--cfg-options', *small)
    run_tool('test', tmp_path / 'mine.py', work_dir / 'iter_2.pth', *test)
    assert json.loads((tmp_path / 'scores.json').read_text())['instance/AP'] is not None
