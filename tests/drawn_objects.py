"""A model that sees the same objects in every image: two pieces, a ring, single pixels, overlap."""

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.structures import InstanceData, PixelData

from oneformer.models.oneformer import OneFormer

CLASSES = ('cat', 'dog', 'grass', 'sky')
THINGS = ('cat', 'dog')
SIZE = HEIGHT, WIDTH = 48, 64
LABELS = [0, 1, 0, 1, 0]
SCORES = [0.95, 0.9, 0.8, 0.7, 0.6]


def masks():
    """Masks of five instances, bool (5, H, W): two squares, a ring, two corners, one on top."""
    found = np.zeros((5, *SIZE), bool)
    found[0, 4:10, 5:12] = found[0, 20:26, 30:37] = True
    found[1, 28:44, 40:60] = True
    found[1, 33:37, 46:52] = False
    found[2, 0, 0] = found[3, -1, -1] = True
    found[4, 22:40, 2:34] = True  # over a part of the first
    return found


def panoptic_map():
    """mmdet's codes of a panoptic prediction, int64 (H, W)."""
    codes = np.full(SIZE, 2)
    codes[:16] = 3
    codes[-2:, :20] = len(CLASSES)  # void
    for number, (mask, label) in enumerate(zip(masks(), LABELS), 1):
        codes[mask] = label + INSTANCE_OFFSET * number
    return codes


def see(monkeypatch):
    """Let every model predict these objects."""

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        for sample in batch_data_samples:
            tasks = self.test_cfg['tasks']
            if 'panoptic' in tasks:
                sample.pred_panoptic_seg = PixelData(sem_seg=torch.tensor(panoptic_map())[None])
                infos = [dict(id=0, label=k, isthing=False, score=0.5) for k in (2, 3)]
                infos += [
                    dict(id=k, label=label, isthing=True, score=score)
                    for k, (label, score) in enumerate(zip(LABELS, SCORES), 1)
                ]
                sample.pred_panoptic_seg.set_metainfo(dict(segments_info=infos))
            if 'instance' in tasks:
                sample.pred_instances = InstanceData(
                    labels=torch.tensor(LABELS), scores=torch.tensor(SCORES),
                    masks=torch.tensor(masks()), bboxes=torch.zeros(5, 4),
                )  # fmt: skip
            if 'semantic' in tasks:
                labels = torch.tensor(panoptic_map() % INSTANCE_OFFSET).clamp(max=3)
                sample.pred_sem_seg = PixelData(sem_seg=labels[None])
        return batch_data_samples

    monkeypatch.setattr(OneFormer, 'predict', predict)
