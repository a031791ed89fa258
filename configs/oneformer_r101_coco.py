# Ours: the original has no ResNet-101 on COCO. The recipe is that of ResNet-50.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_r101.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedule_step_50e_coco.py',
]
model = dict(metainfo=_base_.metainfo)
