"""How often the host waits for a GPU while it predicts: by a device that counts its waits."""

from collections import Counter

import pytest
import torch
from counting_device import CountingDevice
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from oneformer.host.transfers import fetch, fetch_sample, send
from oneformer.kernels import mask_resize
from oneformer.kernels.mask_resize import MaskResize
from oneformer.models import fusion
from oneformer.models.large_images import merge_windows, window_places
from oneformer.models.merged_windows import Window
from oneformer.models.oneformer_head import ImageOutputs
from oneformer.results.prediction import keep_confident, keep_labels

PREDICTION = {
    'read in fusion.py:confident_queries': 1,  # scores and labels of the queries
    'read in fusion.py:panoptic_map': 1,  # areas
    'read in fusion.py:top_instances': 1,  # the best pairs
}


@pytest.fixture(scope='module')
def build(config_dir):
    """Build a small model whose untrained queries differ."""

    def build(**options):
        cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
        cfg.backbone.pretrained = False
        cfg.panoptic_head.pixel_decoder.attention = 'torch'  # no kernel needs a GPU
        cfg.update(criterion=None, text_mapper=None, contrastive_loss=None, **options)
        cfg.test_cfg.update(object_mask_thr=0.0, iou_thr=0.0)
        if 'tta' in options:
            cfg.test_cfg.tasks = ('semantic',)
        torch.manual_seed(2)
        model = MODELS.build(cfg).eval()
        for parameter in model.panoptic_head.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter)
        with torch.no_grad():
            model.panoptic_head.mask_embed[-1].weight.mul_(0.01)
        return model

    return build


@pytest.fixture
def device():
    """The device; what other tests have kept for it does not count."""
    mask_resize._bands.cache_clear()
    with CountingDevice() as device, torch.no_grad():
        yield device
    mask_resize._bands.cache_clear()


def draw_image(side):
    image = torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(0))
    size = dict(ori_shape=(side, side), img_shape=(side, side))
    return dict(inputs=[image.byte()], data_samples=[DetDataSample(metainfo=size)])


def counted(device):
    """Waits since the last call, by kind and place."""
    found = Counter(f'{wait.kind} in {wait.place}' for wait in device.waits)
    device.waits.clear()
    return found


def test_three_tasks_of_a_large_image_wait_ten_times_at_most(build, device):
    model = device.put(build())
    (sample,) = model.test_step(draw_image(1024))
    found = counted(device)
    assert found == PREDICTION
    keep_confident(sample, 0.3)  # as the inferencer
    sample = fetch_sample(sample)
    found += counted(device)
    assert found.total() <= 10
    assert found['read in prediction.py:keep_confident'] == 1
    assert sample.pred_instances.masks.shape[1:] == (1024, 1024)
    assert all(map(torch.is_tensor, (sample.pred_sem_seg.sem_seg, sample.pred_instances.bboxes)))


def test_a_second_image_of_the_size_copies_no_matrices_and_no_image_does_with_a_wait(device):
    before = MaskResize((64, 64), (256, 256), (250, 256), (300, 310), torch.device('cuda:0'))
    after = MaskResize((64, 64), (256, 256), (250, 256), (300, 310), torch.device('cuda:0'))
    assert counted(device).total() == 0
    for one, other in zip(before.blocks(), after.blocks(), strict=True):
        assert one.horizontal is other.horizontal


def test_classes_and_confidence_of_the_inferencer_wait_once_each(build, device):
    model = device.put(build())
    (sample,) = model.test_step(draw_image(96))
    counted(device)
    keep_labels(sample, [0, 3], model.num_classes)
    keep_confident(sample, 0.1)
    assert counted(device) == {
        'read in prediction.py:keep_labels': 1,
        'read in prediction.py:keep_confident': 1,
    }


def test_windows_wait_once_more_for_each_task(build, device):
    model = device.put(build())
    model.test_cfg['window'] = dict(size=128, overlap=64)
    model.test_step(draw_image(192))
    found = counted(device)
    assert found == PREDICTION | {'read in merged_windows.py:_links': 3}
    model.test_cfg['window'] = dict(size=128, overlap=64, batch=3)
    model.test_step(draw_image(192))
    assert counted(device) == PREDICTION | {'read in merged_windows.py:_links': 3}


def test_views_of_an_image_wait_for_nothing(build, device):
    model = device.put(
        build(type='OneFormerTTA', tta=dict(short_edges=[64, 96], max_size=200, flip=True))
    )
    model.test_step(draw_image(80))
    assert not counted(device)


def images_of(outputs, device):
    """The same outputs on the device."""
    put = [device.put(getattr(outputs, name)) for name in ('cls_scores', 'mask_embeds')]
    return ImageOutputs(*put, device.put(outputs.mask_features))


@pytest.mark.parametrize('K', [19, 150])
def test_predictions_on_a_gpu_are_those_on_a_cpu(device, K):
    generator = torch.Generator().manual_seed(K)
    geometry = (100, 140), (400, 560), (390, 551), (700, 613)
    is_thing = torch.arange(K) % 3 > 0
    labels = torch.randint(0, K + 1, (40,), generator=generator)
    cls_scores = torch.randn(40, K + 1, generator=generator)
    cls_scores[torch.arange(40), labels] += 4 + 4 * torch.rand(40, generator=generator)
    features = torch.nn.functional.interpolate(
        torch.randn(1, 8, 10, 14, generator=generator), size=geometry[0], mode='bicubic'
    )
    outputs = ImageOutputs(cls_scores, 3 * torch.randn(40, 8, generator=generator), features[0])
    found = []
    for where, resize in (
        (outputs, MaskResize(*geometry)),
        (images_of(outputs, device), MaskResize(*geometry, torch.device('cuda:0'))),
    ):
        things = is_thing if where is outputs else device.put(is_thing)
        codes, segments = fusion.panoptic_map(where, resize, things, 0.5, 0.01)
        objects = fusion.instances(where, resize, things, 50)
        found.append((codes, segments, objects, fusion.semantic_map(where, resize)))
    (codes, segments, objects, labels), (codes2, segments2, objects2, labels2) = found
    assert len(segments) > 5 and len(objects['masks']) > 10 and len(labels.unique()) > 5
    codes2, labels2, *values = fetch(codes2, labels2, *objects2.values())
    assert torch.equal(codes, codes2) and segments == segments2
    assert torch.equal(labels, labels2)
    for name, value in zip(objects2, values):
        torch.testing.assert_close(value, objects[name], atol=1e-6, rtol=0, msg=name)


def test_merged_windows_on_a_gpu_are_those_on_a_cpu(device):
    generator = torch.Generator().manual_seed(0)
    geometry = (48, 64), (192, 256), (180, 250), (170, 199)
    is_thing = torch.arange(30) % 2 > 0
    features = 6 * torch.nn.functional.avg_pool2d(
        torch.randn(8, 48, 64, generator=generator), 9, 1, 4
    )
    embeds = 4 * torch.randn(12, 8, generator=generator)
    cls_scores = 4 * torch.randn(12, 31, generator=generator)
    shown = []
    for rows, columns in window_places(geometry[1], dict(size=128, overlap=64)):
        top, left = rows.start // 4, columns.start // 4
        order = torch.randperm(12, generator=generator)
        order[1] = order[0]  # two queries that found one object
        part = features[:, top : top + 32, left : left + 32]
        shown.append((cls_scores[order], embeds[order], part, top, left))
    found = []
    for put, where in ((lambda x: x, 'cpu'), (device.put, 'cuda:0')):
        merged = merge_windows(
            [Window(*map(put, tensors), y, x) for *tensors, y, x in shown], geometry[2]
        )
        assert len(merged.cls_scores) < 12 * len(shown) - 30
        resize = MaskResize(*geometry, torch.device(where))
        codes, segments = fusion.panoptic_map(merged, resize, put(is_thing), 0.3, 0.01)
        labels = fusion.semantic_map(merged, resize)
        objects = fusion.instances(merged, resize, put(is_thing), 40)
        found.append([segments, *fetch(codes, labels, *objects.values())])
    assert len(found[0][0]) > 3 and found[0][0] == found[1][0]
    for one, other in zip(found[0][1:], found[1][1:]):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_values_are_fetched_at_once_and_sent_without_a_wait(device):
    given = torch.arange(5), torch.zeros(0), torch.eye(2), torch.tensor(True)
    there = [send(tensor, 'cuda') for tensor in given]
    assert counted(device).total() == 0 and all(tensor.is_cuda for tensor in there)
    for back, tensor in zip(
        fetch(there[0], given[1], *there[1:]), (given[0], given[1], *given[1:])
    ):
        assert not back.is_cuda and torch.equal(back, tensor)
    assert counted(device).total() == 1
    assert [tensor.is_cuda for tensor in fetch()] == []
