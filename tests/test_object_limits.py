"""Every limit on the number of objects is named, with its setting, and defaults follow queries."""

import json

import echo
import numpy as np
import pytest
from evaluation_peer import CAT, DOG, META, SKY, evaluate, make_sample, segment
from mmdet.registry import MODELS
from mmengine.config import Config

from oneformer.object_limits import Limits, find_peaks, limit_notes, peaks_of_list
from oneformer.results.prediction import TellOnce

SHAPE = HEIGHT, WIDTH = 48, 64
NAMES = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))
PLACE = 'data/mine'
GRID = [(x, y) for y in range(0, 45, 4) for x in range(0, 60, 6)]  # 120 places of 4 x 3 pixels


def write_crowded(folder, *counts, dogs=0):
    """Instance labels of an image per count, the first objects of which are dogs."""
    images = [
        dict(id=i, file_name=f'{i}.png', height=HEIGHT, width=WIDTH)
        for i in range(1, len(counts) + 1)
    ]
    annotations = [
        dict(
            id=1000 * i + n, image_id=i, category_id=2 if n < dogs else 1, iscrowd=0, area=12,
            bbox=[x, y, 4, 3], segmentation=[echo.box_polygon(x, y, 4, 3)],
        )
        for i, count in enumerate(counts, 1)
        for n, (x, y) in enumerate(GRID[:count])
    ]  # fmt: skip
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    content = dict(images=images, annotations=annotations, categories=categories)
    for split in ('train', 'val'):
        echo.write_json(folder / f'{split}.json', content)
        for image in images:
            echo.write_image(folder / split / image['file_name'], echo.noise(SHAPE, image['id']))


def instance_config(config_dir, tmp_path, *lines):
    extra = '\n'.join(lines)
    return echo.write_config(config_dir, tmp_path / 'instance.py', 'instance', NAMES, extra)


def built(config, **options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'model.backbone.pretrained': False, **options})
    return MODELS.build(cfg.model)


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, 100),  # 30 queries: COCO's number, as before
        ({'model.panoptic_head.num_queries': 300}, 300),
        ({'model.panoptic_head.num_queries': 300, 'model.test_cfg.max_per_image': 7}, 7),
        ({'model.test_cfg': dict(tasks=('panoptic',), object_mask_thr=0.8, iou_thr=0.8)}, 100),
    ],
)
def test_instances_of_a_prediction_follow_the_number_of_queries(options, expected, config_dir):
    config = config_dir / 'oneformer_efficientnet-lite0_quickstart.py'
    assert built(config, **options).test_cfg['max_per_image'] == expected


@pytest.mark.parametrize('wrong', [0, -1, 2.5, True, '100'])
def test_a_number_of_instances_that_is_none_is_refused(wrong, config_dir):
    config = config_dir / 'oneformer_efficientnet-lite0_quickstart.py'
    with pytest.raises(ValueError, match=r'max_per_image is .*: it has to be a whole number'):
        built(config, **{'model.test_cfg.max_per_image': wrong})


def test_every_published_config_follows_a_raised_number_of_queries(config_dir):
    for path in sorted(config_dir.glob('oneformer_*.py')):
        cfg = Config.fromfile(path)
        if 'nuclei' not in path.name:  # which states a number of its own
            assert cfg.model.test_cfg.get('max_per_image') is None, path.name


def notes_of_check(run_tool, config, tmp_path, *options):
    out = tmp_path / 'checked.json'
    run_tool('check_dataset', config, '--out-json', out, '--split', 'train', *options)
    return json.loads(out.read_text())['train']['summary']['notes']


def test_the_check_names_every_limit_at_once(config_dir, tmp_path, run_tool):
    write_crowded(tmp_path / PLACE, 120, 110, 3)
    limits = "model['test_cfg'].update(max_per_image=50)"
    config = instance_config(config_dir, tmp_path, limits)
    notes = notes_of_check(run_tool, config, tmp_path)
    notes = [note for note in notes if 'no segment' not in note]
    assert len(notes) == 3
    assert notes[0].startswith(
        '2 of 3 images have more targets than the model has queries (30), image id 1 has 120: '
        'raise model.panoptic_head.num_queries (to 124 or more)'
    )
    assert notes[1].startswith(
        '2 of 3 images have more objects than are predicted (model.test_cfg.max_per_image=50), '
        'image id 1 has 120: raise it, or set it to None'
    )
    assert notes[2].startswith(
        '2 of 3 images have more objects of a class than AP counts detections '
        "(InstanceAP.max_dets=100), image id 1 has 120 of 'cat'"
    )


def test_with_the_advised_number_only_cocos_limit_is_left(config_dir, tmp_path, run_tool):
    write_crowded(tmp_path / PLACE, 120)
    config = instance_config(config_dir, tmp_path, "model['panoptic_head'] = dict(num_queries=124)")
    (note,) = [n for n in notes_of_check(run_tool, config, tmp_path) if 'no segment' not in n]
    assert 'InstanceAP.max_dets=100' in note and 'instance/AP_all' in note
    line = "val_evaluator = test_evaluator = [dict(type='InstanceAP', max_dets=120)]"
    config.write_text(f'{config.read_text()}\n{line}\n')
    assert not [n for n in notes_of_check(run_tool, config, tmp_path) if 'no segment' not in n]


def test_prompts_are_a_limit_too():
    peaks = find_peaks([(4, [0] * 28), (5, [0, 1])], [True, False])
    (note,) = limit_notes(Limits(queries=30, context=4), peaks, ('cat', 'sky'))
    assert 'there are images with more targets than prompts (26: ' in note
    assert 'image id 4 has 28: raise num_queries (to 32 or more)' in note
    assert not limit_notes(Limits(queries=32, context=4), peaks, ('cat', 'sky'))


def test_peaks_are_those_of_a_plain_count():
    rng = np.random.default_rng(0)
    is_thing = [True, False, True, False]
    for _ in range(50):
        data = [
            dict(
                img_id=i,
                segments_info=[
                    dict(label=int(rng.integers(4)), iscrowd=bool(rng.random() < 0.2))
                    for _ in range(rng.integers(12))
                ],
            )
            for i in range(8)
        ]
        labels = [[s['label'] for s in d['segments_info'] if not s['iscrowd']] for d in data]
        things = [[label for label in own if is_thing[label]] for own in labels]
        peaks = peaks_of_list(data, is_thing)
        assert peaks.targets.count == max(map(len, labels))
        assert peaks.things.count == max(map(len, things))
        assert peaks.of_class.count == max(own.count(k) for own in things for k in range(4))
        image = labels[peaks.targets.img_id] if peaks.targets.count else []
        assert len(image) == peaks.targets.count
    assert peaks_of_list([dict(img_id=1)], is_thing).targets.count == 0  # a test set


def run_test(run_tool, config, tmp_path, *options):
    out = tmp_path / 'metrics.json'
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    printed = run_tool(
        'test', config, weights, '--out-json', out, '--per-class', '--cfg-options', *echo.SMALL,
        *options,
    )  # fmt: skip
    return json.loads(out.read_text()), printed


def test_raised_queries_alone_let_all_objects_be_found_and_ap_all_counts_them(
    config_dir, tmp_path, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch)
    write_crowded(tmp_path / PLACE, 120, 120, dogs=20)
    config = instance_config(config_dir, tmp_path, "model['panoptic_head'] = dict(num_queries=200)")
    metrics, printed = run_test(run_tool, config, tmp_path)
    assert metrics['instance/AP'] == pytest.approx(100) and 'instance/AP_all' not in metrics
    write_crowded(tmp_path / PLACE, 120, 120)  # all of one class
    metrics, printed = run_test(run_tool, config, tmp_path)
    assert metrics['instance/AP_all'] == pytest.approx(100)
    assert metrics['instance/AP'] == pytest.approx(100 * 84 / 101, abs=0.01)  # recall of 100 / 120
    assert metrics['per_class']['instance']['cat']['AP_all'] == pytest.approx(100)
    assert "image id 1 has 120 of 'cat': instance/AP cannot reach 100" in printed
    assert "up to 120 objects of 'cat' and up to 120 detections of 'cat'" in printed
    assert 'queries' not in printed.split('Evaluation starts')[1]


def test_the_start_of_a_test_tells_of_a_limit_of_the_config(
    config_dir, tmp_path, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch)
    write_crowded(tmp_path / PLACE, 120)
    config = instance_config(config_dir, tmp_path, "model['panoptic_head'] = dict(num_queries=200)")
    metrics, printed = run_test(run_tool, config, tmp_path, 'model.test_cfg.max_per_image=60')
    assert 'more objects than are predicted (model.test_cfg.max_per_image=60)' in printed
    assert 'There are no more than 60 detections of a class' in printed
    assert metrics['instance/AP'] == metrics['instance/AP_all'] < 60


def test_the_start_of_training_tells_of_all_limits(config_dir, tmp_path, run_tool):
    write_crowded(tmp_path / PLACE, 5, 110)
    config = instance_config(config_dir, tmp_path)
    options = ['model.backbone.pretrained=False', 'train_dataloader.batch_size=2']
    printed = run_tool('train', config, '--dry-run', '--cfg-options', *options)
    assert (
        'train.json: there are images with more targets than the model has queries (30)' in printed
    )
    assert 'image id 2 has 110' in printed
    assert 'val.json: there are images with more objects of a class than AP counts' in printed
    options.append('model.panoptic_head.num_queries=200')
    printed = run_tool('train', config, '--dry-run', '--cfg-options', *options)
    assert 'queries (' not in printed and 'InstanceAP.max_dets=100' in printed


def squares(number, labels, side=2):
    """A map of squares in a row, their segments, and all of them as detections."""
    gt_map = np.kron(np.arange(1, number + 1)[None], np.ones((side, side), int))
    segments = [segment(label) for label in labels]
    found = [(s['label'], gt_map == k, 1 - k / 1000) for k, s in enumerate(segments, 1)]
    return gt_map, segments, found


def test_ap_all_is_that_of_unlimited_detections_and_only_where_it_differs():
    gt_map, segments, found = squares(6, [CAT, CAT, CAT, CAT, DOG, SKY])
    scores = evaluate('InstanceAP', [make_sample(gt_map, segments, found)], max_dets=3)
    free = evaluate('InstanceAP', [make_sample(gt_map, segments, found)], max_dets=99)
    assert scores['AP_all'] == pytest.approx(free['AP']) == pytest.approx(100)
    assert scores['AP'] == pytest.approx((100 + 100 * 76 / 101) / 2)
    assert 'AP_all' not in free and list(scores)[0] == 'AP'
    assert {k: v for k, v in free.items() if k != 'AP_all'}.keys() == free.keys()


def test_more_detections_than_max_dets_are_reported_too_and_first_id_stays():
    gt_map, segments, found = squares(4, [CAT, CAT, DOG, SKY])
    wrong = [(CAT, gt_map == 4, 0.999), (CAT, gt_map == 3, 0.998), *found]
    for first_id in (0, 1):
        samples = [make_sample(gt_map, segments, wrong)]
        scores = evaluate('InstanceAP', samples, max_dets=3, first_id=first_id)
        free = evaluate('InstanceAP', samples, max_dets=9, first_id=first_id)
        assert scores['AP_all'] == pytest.approx(free['AP']) and scores['AP'] < free['AP']


def test_crowds_are_not_objects_that_have_to_be_found():
    gt_map, segments, _ = squares(4, [CAT, CAT, CAT, CAT])
    for s in segments[1:]:
        s['iscrowd'] = True
    scores = evaluate('InstanceAP', [make_sample(gt_map, segments)], META, max_dets=2)
    assert 'AP_all' not in scores


def test_a_prediction_that_is_full_is_told_of_once(config_dir, tmp_path, run_tool, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'oneformer.results.prediction.print_log', lambda message, **_: lines.append(message)
    )
    for number in (1, 2):
        echo.write_image(tmp_path / f'images/{number}.png', echo.noise(SHAPE, number))
    config = instance_config(config_dir, tmp_path)
    weights = echo.save_weights(config, tmp_path / 'weights.pth', NAMES)
    common = ['predict', 'images', '--model', config, '--weights', weights, '--tasks', 'instance']
    run_tool(*common, '--max-per-image', 1, '--score-thr', 0.0001)
    (line,) = lines
    assert line.startswith('1.png has 1 instances that score 0.0001 or more')
    assert '--max-per-image' in line
    run_tool(*common, '--max-per-image', 1, '--score-thr', 0)
    run_tool(*common, '--score-thr', 0.9999)
    assert len(lines) == 1
    assert not TellOnce().told
