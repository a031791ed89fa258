"""A model that predicts the ground truth, to check what becomes of its predictions."""

import json

import cv2
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from oneformer.models.oneformer import OneFormer

SMALL = ['model.backbone.pretrained=False', 'test_dataloader.dataset.pipeline.1.short_edges=[64]']


def predict_truthfully(monkeypatch, drop=()):
    """Let every model predict the ground truth of its samples, but for some segments.

    Args:
        drop: Positions in ``segments_info`` of things that no instance is found of.
    """

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        for sample in batch_data_samples:
            segments = sample.segments_info
            truth = sample.gt_panoptic_seg.sem_seg[0].long().cpu()
            K = self.num_classes
            labels = torch.tensor([0] + [s['label'] for s in segments])
            codes = [K] + [
                s['label'] + INSTANCE_OFFSET * k * s['isthing'] for k, s in enumerate(segments, 1)
            ]
            sample.pred_panoptic_seg = PixelData(sem_seg=torch.tensor(codes)[truth][None])
            infos = [
                dict(id=k, label=s['label'], isthing=s['isthing'], score=0.9)
                for k, s in enumerate(segments, 1)
            ]
            sample.pred_panoptic_seg.set_metainfo(dict(segments_info=infos))
            sample.pred_sem_seg = PixelData(sem_seg=labels[truth][None])
            kept = [
                k
                for k, s in enumerate(segments, 1)
                if s['isthing'] and not s['iscrowd'] and k - 1 not in drop
            ][: self.test_cfg['max_per_image']]
            masks = truth == torch.tensor(kept, dtype=torch.long)[:, None, None]
            sample.pred_instances = InstanceData(
                labels=labels[kept],
                scores=torch.linspace(0.9, 0.5, len(kept)),
                masks=masks,
                bboxes=torch.zeros(len(kept), 4),
            )
        return batch_data_samples

    monkeypatch.setattr(OneFormer, 'predict', predict)


def save_weights(config, path, dataset_meta=None, **options):
    """Untrained weights of the model of a config; returns the path."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'model.backbone.pretrained': False, **options})
    cfg.model.update(text_mapper=None, contrastive_loss=None, criterion=None)
    meta = {} if dataset_meta is None else dict(dataset_meta=dataset_meta)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), path)
    return path


def write_config(config_dir, path, kind, names, extra=''):
    """Write ``configs/your_data/KIND.py`` for images of 160 pixels, with other names and lines.

    Returns:
        The path.
    """
    lines = (config_dir / f'your_data/{kind}.py').read_text().splitlines()
    lines[0] = f"_base_ = '{config_dir / 'oneformer_efficientnet-lite0_quickstart.py'}'"
    changed = {'names': repr(names), 'image_size': '160', 'crop_size': '160'}
    for number, line in enumerate(lines):
        name = line.split(' = ')[0]
        lines[number] = f'{name} = {changed[name]}' if name in changed else line
    path.write_text('\n'.join([*lines, extra, '']))
    return path


def write_image(path, array):
    """Write a picture: grey or BGR, uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def noise(shape, seed=0):
    """An image of nothing: BGR, uint8."""
    return np.random.default_rng(seed).integers(90, 140, (*shape, 3), dtype=np.uint8)


def box_polygon(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]
