"""The preprocessor has mmdet's results, and moves a batch without waiting."""

import copy

import pytest
import torch
from counting_device import CUDA, CountingDevice, values
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData, PixelData

from oneformer.models import OneFormerDataPreprocessor

NORMALISED = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def batch(stacked=False):
    generator = torch.Generator().manual_seed(0)
    sizes = [(3, 20, 30)] * 2 if stacked else [(3, 20, 30), (3, 33, 17)]
    images = [torch.randint(256, s, dtype=torch.uint8, generator=generator) for s in sizes]
    samples = []
    for number, image in enumerate(images):
        sample = DetDataSample(metainfo=dict(img_id=number, img_shape=image.shape[1:]))
        sample.gt_instances = InstanceData(
            labels=torch.tensor([4, 1]), bboxes=HorizontalBoxes(torch.rand(2, 4)), names=['a', 'b']
        )
        sample.gt_target_map = PixelData(sem_seg=torch.randint(3, (1, *image.shape[1:])))
        samples.append(sample)
    return dict(inputs=torch.stack(images) if stacked else images, data_samples=samples)


def same(ours, theirs):
    assert torch.equal(values(ours['inputs']), theirs['inputs'])
    assert ours['inputs'].dtype == theirs['inputs'].dtype
    for own, expected in zip(ours['data_samples'], theirs['data_samples']):
        assert own.metainfo == expected.metainfo
        for field in ('gt_instances', 'gt_target_map'):
            assert set(own.get(field).keys()) == set(expected.get(field).keys())
            for name, value in expected.get(field).items():
                found = values(own.get(field).get(name))
                if isinstance(value, HorizontalBoxes):
                    found, value = found.tensor, value.tensor
                assert torch.equal(found, value) if torch.is_tensor(value) else found == value


@pytest.mark.parametrize('stacked', [False, True], ids=['a list', 'a tensor'])
@pytest.mark.parametrize(
    'options',
    [
        dict(bgr_to_rgb=True, pad_size_divisor=32, **NORMALISED),
        dict(rgb_to_bgr=True, pad_value=7, boxtype2tensor=False),
        dict(pad_size_divisor=8, mean=[127.0], std=[128.0]),
    ],
)
@pytest.mark.parametrize('on_device', [False, True], ids=['cpu', 'counting device'])
def test_it_is_that_of_mmdet(options, stacked, on_device):
    data = batch(stacked)
    theirs = DetDataPreprocessor(**options)(copy.deepcopy(data), True)
    preprocessor = OneFormerDataPreprocessor(**options)
    if not on_device:
        same(preprocessor(data, True), theirs)
        return
    for sample in (*data['data_samples'], *theirs['data_samples']):
        del sample.gt_instances.bboxes  # mmdet's class of boxes moves its own way
    with CountingDevice() as device:
        ours = device.put(preprocessor)(data, True)
        assert device.waits == []
        assert ours['inputs'].device == ours['data_samples'][0].gt_instances.labels.device == CUDA
    same(ours, theirs)


def test_what_the_loader_gave_stays_as_it_is():
    data = batch()
    kept = copy.deepcopy(data)
    OneFormerDataPreprocessor(bgr_to_rgb=True)(data, True)
    assert all(torch.equal(a, b) for a, b in zip(data['inputs'], kept['inputs']))


def test_images_without_samples_and_wrong_options_are_as_with_mmdet():
    images = dict(inputs=batch()['inputs'], data_samples=None)
    assert OneFormerDataPreprocessor(bgr_to_rgb=True)(images)['data_samples'] is None
    for options in (dict(bgr_to_rgb=True, rgb_to_bgr=True), dict(mean=[1.0])):
        with pytest.raises(AssertionError):
            OneFormerDataPreprocessor(**options)
