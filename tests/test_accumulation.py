"""Accumulated gradients: where two batches of one are a batch of two, and where not."""

import zlib

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData, PixelData

SIDE = 64


def keyed_points(num_sets, num_points, device, key):
    generator = torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))
    return torch.rand(num_sets, num_points, 2, generator=generator)


def image(img_id, num_targets):
    generator = torch.Generator().manual_seed(img_id)
    names = ('ball', 'sky', 'crate', 'grass')[img_id:][:num_targets]
    texts = [f'a photo with a {name}' for name in names]
    metainfo = dict(task='panoptic', texts=texts, filler='a panoptic photo', img_id=img_id)
    sample = DetDataSample(metainfo=dict(metainfo, batch_input_shape=(SIDE, SIDE)))
    sample.gt_instances = InstanceData(labels=torch.tensor([0, 4, 1][:num_targets]))
    target_map = torch.randint(num_targets + 1, (1, 8, 8), generator=generator)
    target_map = target_map.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.int16)
    sample.gt_target_map = PixelData(sem_seg=target_map)
    return torch.randn(3, SIDE, SIDE, generator=generator), sample


@pytest.fixture
def update(config_dir):
    """One update from the same start, by batches of image numbers, as one vector.

    The backbone uses the statistics that it has.
    """

    def run(batches, num_targets, part='', max_counts=-1):
        cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
        cfg.model.backbone.pretrained = False
        cfg.model.criterion.num_points = 64
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).train()
        model.init_weights()
        model.criterion.sample_points = keyed_points
        model.backbone.eval()
        parameters = [p for name, p in model.named_parameters() if name.startswith(part)]
        before = torch.cat([p.detach().flatten() for p in parameters])
        sgd = torch.optim.SGD(model.parameters(), lr=1e-4)
        wrapper = OptimWrapper(sgd, accumulative_counts=2)
        if max_counts >= 0:
            wrapper.initialize_count_status(model, 0, max_counts)
        for batch in batches:
            images, samples = zip(*(image(i, num_targets[i]) for i in batch))
            losses = model(torch.stack(images), list(samples), mode='loss')
            wrapper.update_params(sum(losses.values()))
        after = torch.cat([p.detach().flatten() for p in parameters])
        return after - before

    return run


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_two_of_one_equal_one_of_two_where_images_have_as_many_targets(update):
    targets = {0: 3, 1: 3}
    # the same batch twice is the plain update of that batch
    whole = update([(0, 1), (0, 1)], targets, 'panoptic_head.pixel_decoder')
    assert relative(update([(0,), (1,)], targets, 'panoptic_head.pixel_decoder'), whole) < 1e-3


def test_each_batch_is_divided_by_its_own_targets(update):
    targets = {0: 3, 1: 1}
    whole = update([(0, 1), (0, 1)], targets)
    assert relative(update([(0,), (1,)], targets), whole) > 0.05


def test_an_image_alone_has_no_other_to_tell_from(update):
    targets = {0: 3, 1: 3}
    assert update([(0, 1), (0, 1)], targets, 'text_mapper').abs().max() > 0
    assert update([(0,), (1,)], targets, 'text_mapper').abs().max() == 0


def test_the_last_incomplete_update_has_its_full_weight(update):
    """mmengine divides the rest by its own number of batches, since it knows the last one."""
    targets = {0: 3}
    assert relative(update([(0,)], targets, max_counts=1), update([(0,), (0,)], targets)) < 1e-3
