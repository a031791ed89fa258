_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/oneformer_dinov3-l.py',
    '../_base_/datasets/ade20k_panoptic_lsj-1280.py',
    '../_base_/schedule_vit_dinov3.py',
]
model = dict(metainfo=_base_.metainfo, test_cfg=dict(object_mask_thr=0.5))
train_cfg = dict(max_iters=39153, val_interval=1263)  # 31 epochs
