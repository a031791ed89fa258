"""Targets of the three tasks, drawn on a small map."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS

from oneformer.datasets import SampleTask, derive_targets
from oneformer.tasks import TASKS, Prompts

CLASSES = ('sky', 'cat', 'grass')
# 1, 2: two cats that touch; 3, 4: sky in two pieces, annotated as two segments;
# 5: a crowd of cats; 6: grass that a crop removed; 0: void
DRAWING = """
    3 3 0 4 4
    3 1 2 4 4
    0 1 2 5 5
    0 1 2 5 5
"""
MAP = np.array([row.split() for row in DRAWING.strip().splitlines()], np.int16)
SEGMENTS = [
    dict(id=70, label=1, isthing=True, iscrowd=False),
    dict(id=71, label=1, isthing=True, iscrowd=False),
    dict(id=72, label=0, isthing=False, iscrowd=False),
    dict(id=73, label=0, isthing=False, iscrowd=False),
    dict(id=74, label=1, isthing=True, iscrowd=True),
    dict(id=75, label=2, isthing=False, iscrowd=False),
]


def masks_of(target_map, labels):
    return [target_map == k for k in range(1, len(labels) + 1)]


def assert_targets(task, labels, segments_of_target, texts):
    """Labels, masks (as unions of segments) and texts of a task are those stated."""
    found, target_map = derive_targets(MAP, SEGMENTS, task)
    assert found.tolist() == labels
    for mask, segments in zip(masks_of(target_map, found), segments_of_target, strict=True):
        np.testing.assert_array_equal(mask, np.isin(MAP, segments))
    # crowd and void belong to no target
    assert not target_map[np.isin(MAP, [0, 5])].any()
    assert Prompts().targets(found, CLASSES) == texts


def test_panoptic_targets_are_the_segments_without_crowd():
    cat, sky = 'a photo with a cat', 'a photo with a sky'
    assert_targets('panoptic', [1, 1, 0, 0], [[1], [2], [3], [4]], [sky, sky, cat, cat])


def test_instance_targets_drop_stuff():
    assert_targets('instance', [1, 1], [[1], [2]], ['a photo with a cat'] * 2)


def test_semantic_targets_merge_the_segments_of_one_class():
    texts = ['a photo with a sky', 'a photo with a cat']
    assert_targets('semantic', [1, 0], [[1, 2], [3, 4]], texts)


def test_a_segment_that_vanished_in_a_crop_makes_no_target():
    labels, target_map = derive_targets(MAP[:2, :1], SEGMENTS, 'panoptic')
    assert labels.tolist() == [0]
    assert target_map.tolist() == [[1], [1]]


def test_nothing_to_find_gives_empty_targets():
    for task, segment_map in (('instance', MAP[:1]), ('panoptic', MAP * 0), ('semantic', MAP * 0)):
        labels, target_map = derive_targets(segment_map, SEGMENTS, task)
        assert labels.shape == (0,) and labels.dtype == np.int64
        assert not target_map.any()
        assert Prompts().targets(labels, CLASSES) == []


def sample_results():
    return dict(
        gt_seg_map=MAP,
        segments_info=SEGMENTS,
        classes=CLASSES,
        tasks=TASKS,
        task_weights=None,
        ignore=(),
    )


def test_tasks_are_drawn_uniformly_by_default_and_by_weight_otherwise():
    np.random.seed(0)
    uniform = TRANSFORMS.build(dict(type='SampleTask'))
    drawn = [uniform(sample_results())['task'] for _ in range(3000)]
    for task in ('panoptic', 'instance', 'semantic'):
        assert 900 < drawn.count(task) < 1100
    mapillary = SampleTask(probs=dict(semantic=0.5, instance=0, panoptic=0.5))
    assert {mapillary(sample_results())['task'] for _ in range(200)} == {'semantic', 'panoptic'}


def test_only_tasks_that_the_labels_can_teach_are_drawn():
    draw = SampleTask()
    assert {draw(dict(sample_results(), tasks=('instance',)))['task'] for _ in range(20)} == {
        'instance'
    }
    # the weights of a joint dataset come first
    weighted = dict(sample_results(), task_weights=dict(semantic=1.0))
    assert {draw(weighted.copy())['task'] for _ in range(20)} == {'semantic'}
    with pytest.raises(ValueError, match=r"zero for \['semantic'\].*they are {'instance': 1}"):
        SampleTask(probs=dict(instance=1))(dict(sample_results(), tasks=('semantic',)))


@pytest.mark.parametrize('ignore', [(), ('void',), ('crowd',), ('void', 'crowd')])
def test_unlabelled_pixels_are_background_or_unknown(ignore):
    _, target_map = derive_targets(MAP, SEGMENTS, 'instance', ignore)
    values = dict(void=-1 if 'void' in ignore else 0, crowd=-1 if 'crowd' in ignore else 0)
    assert (target_map[MAP == 0] == values['void']).all()
    assert (target_map[MAP == 5] == values['crowd']).all()
    # stuff is known not to be a thing
    assert (target_map[np.isin(MAP, [3, 4])] == 0).all()


def test_the_sample_carries_labels_map_and_texts_of_the_drawn_task():
    results = SampleTask(probs=dict(instance=1))(sample_results())
    assert results['task'] == 'instance'
    assert results['gt_labels'].tolist() == [1, 1]
    assert results['gt_seg_map'].max() == 2
    assert results['texts'] == ['a photo with a cat'] * 2


def test_wrong_words_and_weights_are_refused():
    with pytest.raises(ValueError, match="unknown task 'detection'"):
        SampleTask(probs=dict(detection=1))
    with pytest.raises(ValueError, match='must not be negative, nor all zero'):
        SampleTask(probs=dict(panoptic=0))
    with pytest.raises(ValueError, match='unknown task'):
        derive_targets(MAP, SEGMENTS, 'things')
