_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt_dinov3-b.py',
    '../_base_/datasets/coco_panoptic_lsj-640.py',
    '../_base_/schedule_vit_dinov3.py',
]
model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=640),
)
val_evaluator = test_evaluator = [dict(type='PanopticQuality')]
