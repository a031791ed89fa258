_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/oneformer-vit_dinov3-l.py',
    '../_base_/datasets/cityscapes_panoptic_lsj-1024.py',
    '../_base_/schedule_vit_dinov3.py',
]
model = dict(metainfo=_base_.metainfo)
train_cfg = dict(max_iters=19795, val_interval=1850)  # 107 epochs
