_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt_dinov2-g.py',
    '../_base_/datasets/ade20k_panoptic_lsj-640.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=640),
)
train_cfg = dict(max_iters=39153, val_interval=3915)
val_evaluator = test_evaluator = [dict(type='PanopticQuality')]
