"""Large-scale jitter, 0.1 to 2, as parts of configs, against mmdet's and Mask2Former's steps."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

PARTS = {
    'coco_panoptic_lsj-640': 640,
    'coco_panoptic_lsj-1280': 1280,
    'ade20k_panoptic_lsj-640': 640,
    'ade20k_panoptic_lsj-1280': 1280,
    'cityscapes_panoptic_lsj-1024': 1024,
}


@pytest.mark.parametrize('name', PARTS)
def test_the_parts_change_sizes_alone(config_dir, name):
    cfg = Config.fromfile(config_dir / f'_base_/datasets/{name}.py')
    base = Config.fromfile(config_dir / f'_base_/datasets/{name.split("_lsj")[0]}.py')
    steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    resizing = ('ResizeShortEdge', 'RandomCrop', 'Pad', 'LargeScaleJitter')
    before = [step.type for step in base.train_dataloader.dataset.pipeline]
    assert [step for step in steps if step not in resizing] == [
        step for step in before if step not in resizing
    ]
    (jitter,) = (s for s in cfg.train_dataloader.dataset.pipeline if s.type in resizing)
    assert jitter.type == 'LargeScaleJitter' and jitter.size == PARTS[name]
    assert tuple(jitter.scale_range) == (0.1, 2.0)
    assert steps.index('LargeScaleJitter') == steps.index('SampleTask') - 1
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        ours, theirs = (dict(c[loader].dataset, pipeline=None) for c in (cfg, base))
        assert ours == theirs
    assert cfg.test_dataloader == cfg.val_dataloader


def test_sizes_are_those_of_mmdets_random_resize(monkeypatch):
    """mmdet scales into (size, size) times one random ratio, keeping the aspect, then crops."""
    height, width, size = 60, 90, 64
    for ratio in (0.1, 0.35, 0.8, 1.0, 1.7, 2.0):
        theirs = TRANSFORMS.build(
            dict(
                type='RandomResize',
                scale=(size, size),
                ratio_range=(ratio, ratio),
                keep_ratio=True,
                resize_type='mmdet.Resize',
            )
        )
        ours = TRANSFORMS.build(dict(type='LargeScaleJitter', size=size))
        image = np.zeros((height, width, 3), np.uint8)

        def uniform(*limits, ratio=ratio):
            return ratio if limits else 0.0  # scale, then the place of the crop

        monkeypatch.setattr(np.random, 'uniform', uniform)
        labels = np.ones((height, width), np.int32)
        mine = ours(dict(img=image, gt_seg_map=labels))
        monkeypatch.undo()
        seen = theirs(dict(img=image, img_shape=image.shape[:2]))
        expected = [min(side, size) for side in seen['img_shape']]
        inside = mine['gt_seg_map'] == 1
        found = [int(inside.any(axis).sum()) for axis in (1, 0)]
        assert found == pytest.approx(expected, abs=1), ratio  # mmcv rounds down by a half more
        assert mine['img'].shape == (size, size, 3)
