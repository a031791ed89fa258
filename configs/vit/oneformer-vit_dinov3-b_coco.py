_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/oneformer-vit_dinov3-b.py',
    '../_base_/datasets/coco_panoptic_lsj-640.py',
    '../_base_/schedule_vit_dinov3.py',
]
model = dict(metainfo=_base_.metainfo)
