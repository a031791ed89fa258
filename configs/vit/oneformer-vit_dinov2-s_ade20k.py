_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/oneformer-vit_dinov2-s.py',
    '../_base_/datasets/ade20k_panoptic_lsj-640.py',
    '../_base_/schedule_vit.py',
]
model = dict(metainfo=_base_.metainfo)
train_cfg = dict(max_iters=39153, val_interval=1263)  # 31 epochs
