_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/oneformer-vit_dinov2-l.py',
    '../_base_/datasets/coco_panoptic_lsj-1280.py',
    '../_base_/schedule_vit.py',
]
model = dict(metainfo=_base_.metainfo, backbone=dict(img_size=1280))
