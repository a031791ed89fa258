_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt_dinov2-l.py',
    '../_base_/datasets/coco_instance_lsj-640.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=640),
    test_cfg=dict(tasks=('instance',)),
)
val_evaluator = test_evaluator = [dict(type='InstanceAP')]
