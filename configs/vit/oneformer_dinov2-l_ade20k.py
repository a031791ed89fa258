_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/oneformer_dinov2-l.py',
    '../_base_/datasets/ade20k_panoptic_lsj-640.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    backbone=dict(img_size=640),
    test_cfg=dict(object_mask_thr=0.5),
)
train_cfg = dict(max_iters=39153, val_interval=1263)  # 31 epochs
