"""PQ, AP and mIoU against vernier, one more judge, in Rust like hotcoco, but of all three."""

import json
from pathlib import Path

import numpy as np
import pytest
import vernier
from evaluation_peer import (
    META,
    evaluate,
    flawed_predictions,
    make_sample,
    pycocotools_scores,
    random_scene,
    scene_of,
    write_panoptic,
)
from pycocotools import mask as mask_utils
from vernier import panoptic, semantic

STRICT = dict(parity_mode='strict')  # its word for: as panopticapi, pycocotools and mmseg
SPLITS = (('', ''), ('_th', '_things'), ('_st', '_stuff'))
VOID = 255


@pytest.fixture(scope='module')
def drawn():
    """Metainfo and samples of drawings with void, crowds and segments without pixels."""
    rng = np.random.default_rng(7)
    return META, [make_sample(*random_scene(rng), img_id=k) for k in range(80)]


@pytest.fixture(scope='module')
def photographs(shared_dir):
    """Metainfo and samples of four photographs with COCO's own annotation."""
    return flawed_predictions(shared_dir / 'data/coco_panoptic_tiny')


@pytest.fixture(params=['drawn', 'photographs'])
def scored(request):
    return request.getfixturevalue(request.param)


def near(expected):
    return pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


def read_set(file, folder):
    """Id maps by image, segments as JSON, and categories of a set in COCO panoptic format."""
    content = json.loads(Path(file).read_text())
    maps, segments = {}, {}
    for annotation in content['annotations']:
        image = annotation['image_id']
        maps[image] = panoptic.decode_label_map_png(Path(folder) / annotation['file_name'])
        segments[image] = annotation['segments_info']
    return maps, json.dumps(segments).encode(), json.dumps(content.get('categories')).encode()


def test_panoptic_quality_of_every_class_is_verniers(scored, tmp_path):
    meta, samples = scored
    files = write_panoptic([*map(scene_of, samples)], meta, tmp_path / 'files')
    truth, predicted = (read_set(*paths) for paths in zip(files[:2], files[2:]))
    judged = panoptic.Evaluator(**STRICT).evaluate(
        panoptic.Dataset.from_arrays(*truth),
        panoptic.Predictions.from_arrays(*predicted[:2]),
    )
    scores = evaluate('PanopticQuality', samples, meta, classwise=True)
    per_class = scores.pop('per_class')
    assert scores == near(
        {
            f'{key}{suffix}': 100 * getattr(judged, f'{key.lower()}{split}')
            for key in ('PQ', 'SQ', 'RQ')
            for suffix, split in SPLITS
        }
    )
    assert 5 < scores['PQ'] < 95
    of_class = {meta['classes'][k - 1]: row for k, row in judged.per_class().items()}
    assert len(per_class) >= 5
    for name, row in per_class.items():
        judged_class = of_class[name]
        for key in ('PQ', 'SQ', 'RQ'):
            assert row[key] == near(100 * getattr(judged_class, key.lower())), name
        for key in ('TP', 'FP', 'FN'):
            assert row[key] == getattr(judged_class, f'n_{key.lower()}'), name


def verniers_evaluation(truth, predicted, kind):
    """Its COCOeval, which wants a box of every object, as a list, but takes areas as they are."""
    for record in (*truth.anns.values(), *predicted.anns.values()):
        record['bbox'] = mask_utils.toBbox(record['segmentation']).tolist()
    return vernier.COCOeval(truth, predicted, kind)


def test_average_precision_is_verniers(scored, tmp_path):
    meta, samples = scored
    judged = pycocotools_scores(samples, meta, tmp_path, verniers_evaluation)
    for backend in ('pycocotools', 'hotcoco'):
        scores = evaluate('InstanceAP', samples, meta, backend=backend)
        assert scores == near(judged)
    assert 5 < scores['AP'] < 95


def test_semantic_iou_is_verniers(scored):
    meta, samples = scored
    truth, predicted = {}, {}
    for k, sample in enumerate(samples):
        labels = np.array([VOID, *(info['label'] for info in sample['segments_info'])], np.uint8)
        truth[k] = labels[sample['gt_panoptic_seg']['sem_seg'][0].numpy()]
        predicted[k] = sample['pred_sem_seg']['sem_seg'][0].numpy().astype(np.uint8)
    judged = semantic.Evaluator(**STRICT).evaluate(
        semantic.Dataset.from_arrays(truth, len(meta['classes']), ignore_label=VOID),
        semantic.Predictions.from_arrays(predicted),
    )
    scores = evaluate('SemanticIoU', samples, meta, classwise=True)
    whole = zip(
        ('mIoU', 'fwIoU', 'mACC', 'pACC'), ('miou', 'fwiou', 'mean_accuracy', 'pixel_accuracy')
    )
    for key, name in whole:
        assert scores[key] == near(100 * getattr(judged, name)), key
    of_class = judged.per_class()
    found = scores['per_class']
    assert len(found) >= 5
    for name, row in found.items():
        assert row['IoU'] == near(100 * of_class[meta['classes'].index(name)].iou), name
    assert 5 < scores['mIoU'] < 95
