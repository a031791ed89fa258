"""AP by hotcoco is AP by pycocotools, to the last digit."""

import importlib.util

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS

from oneformer.evaluation import average_precision
from oneformer.evaluation.average_precision import class_precisions
from oneformer.evaluation.data_sample import coco_record
from oneformer.evaluation.mask_codes import encode_masks

THINGS = np.array([True, True, False, True, True])


def drawn_image(rng, objects, spurious):
    """Boxes as objects, some of them crowds, and detections that are moved, misnamed or doubled."""
    masks = torch.zeros(objects + spurious, 60, 80, dtype=torch.bool)
    for mask in masks:
        y, x = rng.integers(0, 50), rng.integers(0, 70)
        height, width = rng.integers(0, 60, 2)  # also of no area, and at all of COCO's sizes
        mask[y : y + height, x : x + width] = True
    moved = torch.roll(masks, int(rng.integers(-4, 5)), 1)
    labels = rng.choice(np.flatnonzero(THINGS), len(masks))
    annotations = [
        dict(category_id=int(label), iscrowd=int(rng.random() < 0.15), **coco_record(code))
        for label, code in zip(labels[:objects], encode_masks(masks[:objects]))
    ]
    detections = [
        dict(
            category_id=int(label if rng.random() < 0.8 else rng.choice(np.flatnonzero(THINGS))),
            score=float(np.round(rng.random(), 1)),  # many are equal
            iscrowd=0,
            **coco_record(code),
        )
        for label, code in zip(labels, encode_masks(moved))
    ]
    return dict(height=60, width=80, annotations=annotations, detections=detections)


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('max_dets', [3, 100])
def test_both_backends_find_the_same(seed, max_dets):
    rng = np.random.default_rng(seed)
    images = [drawn_image(rng, *rng.integers(0, 9, 2)) for _ in range(1 + seed)]
    expected, found = (
        class_precisions(images, THINGS, max_dets, backend=backend)
        for backend in average_precision.BACKENDS
    )
    assert found.keys() == expected.keys() == set(average_precision.COLUMNS)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, name)
    if seed == 11:
        assert 0 < np.nanmean(expected['AP']) < 100


def test_rules_that_hotcoco_lacks_are_left_to_pycocotools(monkeypatch):
    images = [drawn_image(np.random.default_rng(3), 6, 3)]
    partly = [dict(images[0], partly=[0, 1])]
    logged = []
    monkeypatch.setattr(average_precision, 'print_log', lambda text, **_: logged.append(text))
    for given, first_id in ((partly, 1), (images, 0)):
        expected = class_precisions(given, THINGS, 100, first_id)
        found = class_precisions(given, THINGS, 100, first_id, 'hotcoco')
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    assert logged == [
        'hotcoco has no rule for classes that are annotated in part: pycocotools scores them',
        'hotcoco has no rule for an annotation numbered 0: pycocotools scores them',
    ]


def test_a_backend_is_known_and_installed(monkeypatch):
    assert METRICS.build(dict(type='InstanceAP', backend='hotcoco')).backend == 'hotcoco'
    with pytest.raises(ValueError, match="'coco': it takes pycocotools or hotcoco"):
        METRICS.build(dict(type='InstanceAP', backend='coco'))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='needs hotcoco: pip install hotcoco'):
        METRICS.build(dict(type='InstanceAP', backend='hotcoco'))
