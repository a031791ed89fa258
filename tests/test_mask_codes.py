"""Run-length codes are those of pycocotools, byte for byte, wherever the masks are."""

import numpy as np
import pytest
import torch
from counting_device import CountingDevice
from evaluation_peer import DOG, GRASS, META, make_sample
from pycocotools import mask as mask_utils

from oneformer.evaluation import mask_codes
from oneformer.evaluation.data_sample import read_detections
from oneformer.evaluation.evaluator import host_sample
from oneformer.evaluation.mask_codes import encode_masks
from oneformer.metainfo import is_thing
from oneformer.run_length import encode_ids, encode_mask

SIZES = [(1, 1), (1, 9), (9, 1), (5, 6), (33, 64), (64, 33), (47, 203), (2, 70000)]


def by_pycocotools(mask):
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))


def masks_of(size):
    """An empty mask, a full one, a box, a frame, noise of several densities."""
    rng = np.random.default_rng(0)
    box = np.zeros(size, bool)
    box[size[0] // 3 :, : size[1] // 2] = True
    frame = np.ones(size, bool)
    frame[1:-1, 1:-1] = False
    noise = [rng.random(size) < share for share in (0.003, 0.02, 0.3, 0.5, 0.97)]
    return np.stack([np.zeros(size, bool), np.ones(size, bool), box, frame, *noise])


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('on_gpu', [False, True])
def test_codes_of_masks_are_those_of_pycocotools(size, on_gpu, monkeypatch):
    monkeypatch.setattr(mask_codes, '_PIXELS', 4 * size[0] * size[1])  # several parts
    masks = masks_of(size)
    with CountingDevice() as device:
        given = torch.from_numpy(masks)
        found = encode_masks(device.put(given) if on_gpu else given)
        assert len(device.waits) == (2 * 3 if on_gpu else 0)  # parts of 4, 4 and 1 masks
    assert found == [by_pycocotools(mask) for mask in masks]


@pytest.mark.parametrize('dtype', [bool, np.uint8, np.int64])
def test_a_mask_has_one_code_in_any_layout_and_type(dtype):
    for mask in masks_of((40, 31)):
        for given in (mask.astype(dtype), np.asfortranarray(mask, dtype)):
            assert encode_mask(given) == by_pycocotools(mask)
        assert encode_mask(mask.astype(dtype)[:, ::2]) == by_pycocotools(mask[:, ::2])


@pytest.mark.parametrize('size', SIZES)
def test_ids_of_a_map_are_coded_as_their_masks(size):
    id_map = np.random.default_rng(1).integers(0, 4, size).repeat(2, 0)
    wanted = [0, 3, 1, 77]  # one is not there
    assert encode_ids(id_map, wanted) == [by_pycocotools(id_map == number) for number in wanted]
    assert encode_ids(id_map, []) == []


def test_no_masks_have_no_codes():
    assert encode_masks(torch.zeros(0, 4, 5, dtype=torch.bool)) == []
    with CountingDevice() as device:
        assert encode_masks(device.put(torch.zeros(0, 4, 5, dtype=torch.bool))) == []


def test_detections_of_an_image_wait_three_times_however_many_they_are():
    rng = np.random.default_rng(2)
    predicted = [(DOG, rng.random((20, 30)) < 0.1, 0.5) for _ in range(25)]
    gt_map = np.ones((20, 30), np.int64)
    sample = make_sample(gt_map, [dict(label=GRASS, iscrowd=False)], predicted)
    expected = read_detections(make_sample(gt_map, [], predicted), is_thing(META))
    assert [code['segmentation'] for code in expected] == [
        by_pycocotools(mask) for _, mask, _ in predicted
    ]
    with CountingDevice() as device:
        instances = sample['pred_instances']
        instances.update({key: device.put(value) for key, value in instances.items()})
        maps = sample['pred_panoptic_seg'], sample['pred_sem_seg']
        for one in maps:
            one['sem_seg'] = device.put(one['sem_seg'])
        packed = host_sample(sample)
        assert len(device.waits) == 3  # two for the codes, one for all else
        device.waits.clear()
        assert read_detections(sample, is_thing(META)) == expected
        assert len(device.waits) == 3
        device.waits.clear()
        assert read_detections(packed, is_thing(META)) == expected
        assert not device.waits
        only = host_sample(sample, ['semantic'])
        assert 'pred_instances' not in only and len(device.waits) == 1
