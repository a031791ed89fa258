"""A training step on odd but legal targets: finite losses under the same keys as always."""

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from oneformer.tasks import Prompts


@pytest.fixture(scope='module')
def cfg(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.backbone.pretrained = False
    return cfg


@pytest.fixture(scope='module')
def model(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.train()


def sample(task, target_map, labels, img_id):
    classes = [f'class {i}' for i in range(8)]
    return DetDataSample(
        metainfo=dict(
            img_id=img_id,
            img_path=f'{img_id}.jpg',
            task=task,
            texts=Prompts().targets(labels, classes),
            filler=Prompts().filler_of(task),
            batch_input_shape=target_map.shape,
        ),
        gt_instances=InstanceData(labels=torch.tensor(labels, dtype=torch.long)),
        gt_target_map=PixelData(sem_seg=torch.from_numpy(target_map)[None]),
    )


def step(model, samples):
    """Losses of a batch, after the gradients were seen to be finite."""
    model.zero_grad()
    size = samples[0].batch_input_shape
    losses = model(torch.randn(len(samples), 3, *size), samples, mode='loss')
    sum(losses.values()).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    # every parameter gets a gradient, or several processes would wait for each other
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    assert all(torch.isfinite(value) for value in losses.values())
    return losses


NOTHING = np.zeros((64, 64), np.int16)
USUAL = np.arange(64 * 64, dtype=np.int16).reshape(64, 64) // 2048 + 1
CROWDED = np.arange(64 * 64, dtype=np.int16).reshape(64, 64) // 64 + 1


def test_no_target_in_the_whole_batch(model):
    usual = step(
        model, [sample('panoptic', USUAL, [0, 4], 1), sample('semantic', USUAL, [4, 5], 2)]
    )
    empty = step(model, [sample('instance', NOTHING, [], 1), sample('semantic', NOTHING, [], 2)])
    assert empty.keys() == usual.keys()
    assert all(value == 0 for name, value in empty.items() if 'mask' in name or 'dice' in name)
    assert empty['loss_cls'] > 0 and empty['loss_contrastive'] > 0


def test_more_targets_than_queries(model):
    assert model.panoptic_head.num_queries == 30
    losses = step(
        model,
        [
            sample('panoptic', CROWDED, [i % 8 for i in range(64)], 1),
            sample('instance', USUAL, [0, 1], 2),
        ],
    )
    assert losses['loss_mask'] > 0


def test_an_image_without_any_segment(cfg, model, tmp_path):
    import json

    import cv2

    for folder in ('img', 'seg'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / 'a.png'), np.zeros((64, 64, 3), np.uint8))
    content = dict(
        images=[dict(id=1, file_name='a.png', height=64, width=64)],
        annotations=[dict(image_id=1, file_name='a.png', segments_info=[])],
        categories=[],
    )
    (tmp_path / 'a.json').write_text(json.dumps(content))
    dataset = DATASETS.build(
        {
            **cfg.train_dataloader.dataset,
            'data_root': str(tmp_path),
            'ann_file': 'a.json',
            'data_prefix': dict(img='img', seg='seg'),
            'needs_targets': False,
        }
    )
    data = model.data_preprocessor(
        dict(
            inputs=[dataset[0]['inputs']] * 2,
            data_samples=[dataset[0]['data_samples'] for _ in range(2)],
        ),
        training=True,
    )
    losses = step(model, data['data_samples'])
    usual = step(model, [sample('panoptic', USUAL, [0, 4], i) for i in range(2)])
    assert losses.keys() == usual.keys() and losses['loss_mask'] == 0


def test_an_unknown_task_word_is_named(model):
    with pytest.raises(ValueError, match="unknown task 'detection': choose one of panoptic"):
        step(model, [sample('detection', USUAL, [0, 1], 1)])
    with pytest.raises(ValueError, match="unknown task 'detection'"):
        model(torch.randn(1, 3, 64, 64), [sample('detection', USUAL, [0, 1], 1)], mode='tensor')
