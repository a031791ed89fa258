"""Scores as published, and the files that are submitted, on COCO annotation and on drawings."""

import json

import numpy as np
import pytest
import torch
from evaluation_peer import (
    CAT,
    CLASSES,
    DOG,
    META,
    SKY,
    draw,
    evaluate,
    flawed_predictions,
    instance_json,
    make_sample,
    pycocotools_on_files,
    pycocotools_scores,
    random_scene,
    rle,
    scene_of,
    segment,
    slow_semantic_scores,
    write_panoptic,
)
from hotcoco.panoptic import pq_compute
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import DATASETS
from PIL import Image

from oneformer.metainfo import KNOWN_DATASETS


@pytest.fixture(scope='module')
def tiny_coco(shared_dir):
    """Four photographs with COCO's official panoptic annotation."""
    return shared_dir / 'data/coco_panoptic_tiny'


@pytest.fixture(scope='module')
def flawed(tiny_coco):
    """Metainfo and samples of these photographs, predictions are perturbed ground truth."""
    return flawed_predictions(tiny_coco)


def near(expected):
    return pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


def test_pq_of_photographs_equals_hotcocos_for_every_class(flawed, tmp_path):
    meta, samples = flawed
    scores = evaluate('PanopticQuality', samples, meta, classwise=True)
    per_class = scores.pop('per_class')
    judged = pq_compute(*write_panoptic([*map(scene_of, samples)], meta, tmp_path / 'files'))
    for suffix, split in (('', 'All'), ('_th', 'Things'), ('_st', 'Stuff')):
        for key in ('PQ', 'SQ', 'RQ'):
            assert scores.pop(f'{key}{suffix}') == near(100 * judged[split][key.lower()])
    assert not scores and 5 < 100 * judged['All']['pq'] < 95
    occurring = 0
    for name, row in zip(meta['classes'], (judged['per_class'][k + 1] for k in range(133))):
        if row['tp'] + row['fp'] + row['fn']:
            expected = {key: 100 * row[key.lower()] for key in ('PQ', 'SQ', 'RQ')}
            expected |= {key: row[key.lower()] for key in ('TP', 'FP', 'FN')}
            assert per_class.pop(name) == near(expected)
            occurring += 1
    assert not per_class and occurring > 20


def test_ap_of_photographs_equals_pycocotools_on_instance_files(flawed, tmp_path, capsys):
    meta, samples = flawed
    scores = evaluate('InstanceAP', samples, meta)
    assert capsys.readouterr().out == ''  # COCOeval is kept quiet
    assert scores == near(pycocotools_scores(samples, meta, tmp_path))
    assert 5 < scores['AP'] < 95


def test_miou_of_photographs_equals_a_plain_confusion_matrix(flawed):
    meta, samples = flawed
    scores = evaluate('SemanticIoU', samples, meta)
    assert scores == near(slow_semantic_scores(samples, meta))
    assert 5 < scores['mIoU'] < 95


def read_panoptic_results(root, folder):
    """Maps of label + INSTANCE_OFFSET * id, by image id, of result files read as a dataset."""
    dataset = DATASETS.build(
        dict(
            type='PanopticDataset',
            metainfo='coco',
            ann_file=str(folder / 'panoptic.json'),
            data_prefix=dict(img=f'{root}/images/', seg=f'{folder}/panoptic/'),
            pipeline=[dict(type='LoadPhoto'), dict(type='LoadSegmentMap')],
        )
    )
    maps = {}
    for result in dataset:
        codes = [len(dataset.metainfo['classes'])] + [
            segment['label'] + INSTANCE_OFFSET * k
            for k, segment in enumerate(result['segments_info'], 1)
        ]
        areas = np.bincount(result['gt_seg_map'].ravel(), minlength=len(codes))
        assert [segment['area'] for segment in result['segments_info']] == areas[1:].tolist()
        maps[result['img_id']] = torch.tensor(np.array(codes)[result['gt_seg_map']])[None]
    return maps


def test_written_panoptic_results_read_back_score_the_same(flawed, tiny_coco, tmp_path):
    meta, samples = flawed
    evaluate('PanopticFiles', samples, meta, out_dir=str(tmp_path))
    maps = read_panoptic_results(tiny_coco, tmp_path)
    # metainfo of these samples is in the order of the JSON, which is the original's
    assert meta['classes'] == KNOWN_DATASETS['coco']['classes']
    again = [
        dict(sample, pred_panoptic_seg=dict(sem_seg=maps[sample['img_id']])) for sample in samples
    ]
    scores, scores_again = (
        evaluate('PanopticQuality', group, meta, classwise=True) for group in (samples, again)
    )
    assert scores_again == scores and 5 < scores['PQ'] < 95


def test_written_instance_results_score_the_same_in_pycocotools(flawed, tmp_path):
    meta, samples = flawed
    evaluate('InstanceFiles', samples, meta, out_dir=str(tmp_path))
    truth, _ = instance_json(samples, meta)
    for annotation in truth['annotations']:
        annotation['category_id'] = meta['category_ids'][annotation['category_id'] - 1]
    for category in truth['categories']:
        category['id'] = meta['category_ids'][category['id'] - 1]
    (tmp_path / 'gt.json').write_text(json.dumps(truth))
    scores = pycocotools_on_files(tmp_path / 'gt.json', tmp_path / 'instance.json')
    assert scores == near(evaluate('InstanceAP', samples, meta))


def test_written_label_pngs_read_back_score_the_same(flawed, tmp_path):
    meta, samples = flawed
    evaluate('SemanticFiles', samples, meta, out_dir=str(tmp_path))
    again = []
    for sample in samples:
        picture = Image.open(tmp_path / f'semantic/{sample["img_id"]:012d}.png')
        assert picture.mode == 'L'
        labels = torch.tensor(np.array(picture).astype(int))[None]
        again.append(dict(sample, pred_sem_seg=dict(sem_seg=labels)))
    assert evaluate('SemanticIoU', again, meta) == evaluate('SemanticIoU', samples, meta)


def test_label_pngs_shift_for_ade20k_and_grow_to_16_bits(tmp_path):
    meta = dict(classes=tuple(f'class {i}' for i in range(256)), thing_classes=())
    sample = make_sample(draw('..'), [], meta=meta)
    sample['pred_sem_seg']['sem_seg'] = torch.tensor([[[0, 255]]])
    for shift, mode in ((False, 'L'), (True, 'I;16')):
        evaluate('SemanticFiles', [sample], meta, out_dir=str(tmp_path), reduce_zero_label=shift)
        picture = Image.open(tmp_path / 'semantic/1.png')
        assert picture.mode == mode
        assert np.array(picture).tolist() == [[shift, 255 + shift]]


@pytest.mark.parametrize('classes, shift, void', [(9, 0, 255), (9, 1, 0), (256, 0, 65535)])
def test_label_pngs_have_a_value_of_their_own_for_void(classes, shift, void, tmp_path):
    meta = dict(classes=tuple(f'class {i}' for i in range(classes)), thing_classes=())
    sample = make_sample(draw('..'), [], meta=meta)
    sample['pred_sem_seg']['sem_seg'] = torch.tensor([[[8, -1]]])
    writer = dict(out_dir=str(tmp_path), reduce_zero_label=bool(shift))
    evaluate('SemanticFiles', [sample], meta, **writer)
    assert np.array(Image.open(tmp_path / 'semantic/1.png')).tolist() == [[8 + shift, void]]


WRITERS = ('PanopticFiles', 'InstanceFiles', 'SemanticFiles')


@pytest.mark.parametrize('writer', WRITERS)
def test_images_of_one_name_are_an_error_and_not_overwritten_results(writer, tmp_path):
    meta = dict(META, category_ids=range(1, 6))
    samples = [make_sample(draw('11'), [segment(CAT)], img_id=i) for i in (1, 2)]
    samples[1]['img_path'] = 'elsewhere/1.png'
    with pytest.raises(ValueError, match=f'{writer}: several images are called 1'):
        evaluate(writer, samples, meta, out_dir=str(tmp_path))


@pytest.mark.parametrize('writer', WRITERS[:2])
def test_results_in_coco_format_need_category_ids(writer, tmp_path):
    sample = make_sample(draw('11'), [], [(CAT, draw('11') == 1, 0.9)])
    with pytest.raises(ValueError, match='image 1 .*has no category ids.*format_evaluator'):
        evaluate(writer, [sample], out_dir=str(tmp_path))
    meta = dict(META, category_ids=(None, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="image 1 .*class 'cat', which the JSON.*does not list"):
        evaluate(writer, [sample], meta, out_dir=str(tmp_path))


def scenes(number=20):
    """Random scenes whose image ids look like ADE20K's."""
    rng = np.random.default_rng(5)
    return [make_sample(*random_scene(rng), img_id=f'ADE_val_{i:08d}') for i in range(number)]


def official_file(path, samples, meta=META, first_id=1):
    """Write an instance file whose annotation differs from the panoptic map; returns its content.

    It has polygons, run-length codes of both kinds, and areas of its own.
    """
    truth, _ = instance_json(samples, meta, first_id)
    rng = np.random.default_rng(6)
    for number, annotation in enumerate(truth['annotations']):
        if number % 3 == 0:
            x, y = rng.integers(0, 20, 2).tolist()
            annotation['segmentation'] = [[x, y, x + 9, y, x + 9, y + 7.5, x, y + 7.5]]
            annotation['area'] = 80 if number % 2 else 2000
        elif number % 3 == 1:
            mask = np.zeros((24, 30), bool)
            mask[:, 3:9] = True
            annotation['segmentation'] = dict(size=[24, 30], counts=[72, 144, 504])
            assert rle(mask) != annotation['segmentation']
    path.write_text(json.dumps(truth))
    return truth


@pytest.mark.parametrize('first_id', [0, 1])
def test_ap_against_an_official_file_equals_pycocotools_on_it(first_id, tmp_path):
    samples = scenes()
    truth = official_file(tmp_path / 'gt.json', samples, first_id=first_id)
    assert len(truth['annotations']) > 30
    _, detections = instance_json(samples, META)
    (tmp_path / 'predictions.json').write_text(json.dumps(detections))
    expected = pycocotools_on_files(tmp_path / 'gt.json', tmp_path / 'predictions.json')
    # neither the order of the categories nor the numbers in the file matter
    truth['categories'].reverse()
    for annotation in truth['annotations']:
        annotation['id'] += 700
    (tmp_path / 'gt.json').write_text(json.dumps(truth))
    options = dict(ann_file=str(tmp_path / 'gt.json'), first_id=first_id)
    for sample in samples:
        sample.pop('gt_panoptic_seg')  # not needed then
    assert evaluate('InstanceAP', samples, **options) == near(expected)
    assert expected['AP'] > 0


def test_numbering_from_0_makes_the_first_object_a_miss_as_in_published_ap(tmp_path):
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    sample = make_sample(gt_map, segments, [(CAT, gt_map == 1, 0.9)])
    truth, _ = instance_json([sample], META)
    (tmp_path / 'gt.json').write_text(json.dumps(truth))
    for source in ({}, dict(ann_file=str(tmp_path / 'gt.json'))):
        assert evaluate('InstanceAP', [sample], first_id=1, **source)['AP'] == near(100)
        assert evaluate('InstanceAP', [sample], first_id=0, **source)['AP'] == 0


def test_ade20ks_instance_file_is_matched_by_names_and_aliases(tmp_path):
    meta = KNOWN_DATASETS['ade20k']
    names = dict(windowpane='window ', painting='painting, picture', ashcan='trash can', bed='bed')
    labels = [meta['classes'].index(name) for name in names.values()]
    gt_map = draw('1122', '3344')
    segments = [segment(label, meta=meta) for label in labels]
    prediction = [(label, gt_map == k, 0.9) for k, label in enumerate(labels, 1)]
    sample = make_sample(gt_map, segments, prediction, 'ADE_val_00000001', meta)
    truth, _ = instance_json([sample], meta)
    name_of = {label + 1: name for name, label in zip(names, labels)}
    truth['categories'] = [dict(id=i, name=name_of[i]) for i in sorted(name_of)]
    (tmp_path / 'gt.json').write_text(json.dumps(truth))
    scores = evaluate(
        'InstanceAP', [sample], meta, ann_file=str(tmp_path / 'gt.json'), classwise=True
    )
    assert scores['AP'] == near(100)
    assert set(scores['per_class']) == set(names.values())


@pytest.mark.parametrize('ids', [(139, '000000000139'), ('139', 139), (7, 7)])
def test_image_ids_match_as_numbers_and_as_strings(ids, tmp_path):
    gt_map = draw('11..')
    sample = make_sample(gt_map, [segment(CAT)], [(CAT, gt_map == 1, 0.9)], img_id=ids[0])
    truth, _ = instance_json([sample], META)
    truth['images'][0]['id'] = truth['annotations'][0]['image_id'] = ids[1]
    (tmp_path / 'gt.json').write_text(json.dumps(truth))
    scores = evaluate('InstanceAP', [sample], ann_file=str(tmp_path / 'gt.json'))
    assert scores['AP'] == near(100)


def broken(truth, fault):
    """Plant one fault in the content of an instance file."""
    if fault == 'name':
        truth['categories'][0]['name'] = 'unicorn'
    elif fault == 'stuff':
        truth['categories'].append(dict(id=99, name='sky'))
    elif fault == 'image':
        truth['images'][0]['id'] = truth['annotations'][0]['image_id'] = 'b'
    elif fault == 'size':
        truth['images'][0]['height'] = 9
    elif fault == 'category':
        truth['annotations'][0]['category_id'] = 98
    elif fault == 'code':
        truth['annotations'][0]['segmentation']['size'] = [5, 5]
    elif fault == 'kind':
        truth['annotations'][0]['segmentation'] = 'a box'
    elif fault == 'format':
        del truth['images']


@pytest.mark.parametrize(
    'fault, message',
    [
        ('name', r"gt\.json has categories.*\['unicorn'\]"),
        ('stuff', r"gt\.json has instances of \['sky'\].*thing_classes"),
        ('image', r"image a .*gt\.json has no image of id 'a'; its 1 ids are like 'b'"),
        ('size', r'image a .*gt\.json gives the image .*\(9, 4\), but it has \(1, 4\)'),
        ('category', r'gt\.json: annotation 1 has category_id 98'),
        ('code', r'image a .*annotation 1: its run-length code is of .*\[5, 5\]'),
        ('kind', r'image a .*annotation 1: its segmentation cannot be decoded'),
        ('format', r"gt\.json is not in COCO instance format: it lacks \['images'\]"),
    ],
)
def test_what_does_not_match_the_official_file_is_named(fault, message, tmp_path):
    gt_map = draw('11..')
    sample = make_sample(gt_map, [segment(CAT)], [(CAT, gt_map == 1, 0.9)], img_id='a')
    truth, _ = instance_json([sample], META)
    broken(truth, fault)
    (tmp_path / 'gt.json').write_text(json.dumps(truth))
    with pytest.raises(ValueError, match=message):
        evaluate('InstanceAP', [sample], ann_file=str(tmp_path / 'gt.json'))


def test_a_missing_official_file_is_named():
    with pytest.raises(FileNotFoundError, match=r'nowhere/gt\.json does not exist.*ann_file'):
        evaluate('InstanceAP', [make_sample(draw('1'), [segment(CAT)])], ann_file='nowhere/gt.json')


def test_objects_with_masks_of_their_own_may_overlap(tmp_path):
    gt_map = draw('11222', '11222')
    whole = draw('11111', '11111') == 1  # the cat goes on behind the dog
    segments = [
        dict(segment(CAT), segmentation=rle(whole), area=10),
        dict(segment(DOG), segmentation=[[2, 0, 5, 0, 5, 2, 2, 2]]),
    ]
    sample = make_sample(gt_map, segments, [(CAT, whole, 0.9), (DOG, gt_map == 2, 0.9)])
    assert evaluate('InstanceAP', [sample])['AP'] == near(100)
    for info in segments:
        del info['segmentation']
    assert evaluate('InstanceAP', [sample])['AP'] == near(50)  # the visible cat is 4 of 10 pixels


@pytest.mark.parametrize('reduce_zero_label, ignore_index', [(False, 255), (True, 255), (False, 5)])
def test_miou_against_official_pngs_equals_a_plain_confusion_matrix(
    reduce_zero_label, ignore_index, tmp_path
):
    samples = scenes()
    for sample in samples:
        gt_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
        values = np.full(gt_map.shape, ignore_index, np.uint8)
        for k, info in enumerate(sample['segments_info'], 1):
            values[gt_map == k] = info['label'] + reduce_zero_label
        if reduce_zero_label:
            values[gt_map == 0] = 0
        Image.fromarray(values).save(tmp_path / f'{sample["img_id"]}.png')
    expected = slow_semantic_scores(samples, META)
    for sample in samples:
        sample.pop('gt_panoptic_seg')
    options = dict(reduce_zero_label=reduce_zero_label, ignore_index=ignore_index)
    assert evaluate('SemanticIoU', samples, seg_prefix=str(tmp_path), **options) == near(expected)


def test_a_label_png_with_a_palette_is_read_by_its_numbers(tmp_path):
    gt_map = draw('1122')
    picture = Image.fromarray(np.where(gt_map == 1, CAT, SKY).astype(np.uint8), 'P')
    picture.putpalette([200, 10, 10] * 256)
    picture.save(tmp_path / '1.png')
    sample = make_sample(gt_map, [], [(CAT, gt_map == 1, 0.9), (SKY, gt_map == 2, 0.9)])
    assert evaluate('SemanticIoU', [sample], seg_prefix=str(tmp_path))['mIoU'] == 100


@pytest.mark.parametrize(
    'values, options, message',
    [
        (
            [[0, 5]],
            {},
            r'image 1 .*1\.png has 1 pixels .*such as 5: labels are 0 to 4, void is 255',
        ),
        ([[0, 6]], dict(reduce_zero_label=True), r'1\.png .*such as 6: labels are 1 to 5.* or 0'),
        ([[0, 255]], dict(ignore_index=65), r'1\.png .*such as 255.*void is 65'),
        ([[0, 1, 2]], {}, r'1\.png has \(height, width\) \(1, 3\), the image \(1, 2\)'),
    ],
)
def test_official_pngs_that_do_not_fit_are_named(values, options, message, tmp_path):
    Image.fromarray(np.array(values, np.uint8)).save(tmp_path / '1.png')
    with pytest.raises(ValueError, match=message):
        evaluate('SemanticIoU', [make_sample(draw('..'), [])], seg_prefix=str(tmp_path), **options)


def test_per_class_iou_leaves_out_classes_that_do_not_occur():
    gt_map = draw('1122')
    sample = make_sample(gt_map, [segment(CAT), segment(SKY)], [(CAT, gt_map == 1, 0.9)])
    per_class = evaluate('SemanticIoU', [sample], classwise=True)['per_class']
    assert per_class == {'cat': dict(IoU=50.0), 'sky': dict(IoU=0.0)}
    assert len(CLASSES) == 5
