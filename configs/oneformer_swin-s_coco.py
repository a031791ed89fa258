# Ours: the original has no Swin-S on COCO. The recipe is that of Swin-T.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_swin-s.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedule_step_50e_coco.py',
]
model = dict(metainfo=_base_.metainfo)
