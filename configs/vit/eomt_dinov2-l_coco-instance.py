_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt.py',
    '../_base_/datasets/coco_instance_lsj-640.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=640),
    backbone=dict(arch='dinov2_l_reg4', img_size=640, num_joint_blocks=4),
    panoptic_head=dict(
        embed_dims=1024,
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (1 / 3, 1 / 2), (1 / 2, 2 / 3), (2 / 3, 5 / 6)]),
    ),
    test_cfg=dict(tasks=('instance',)),
)
val_evaluator = test_evaluator = [dict(type='InstanceAP')]
