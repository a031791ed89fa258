_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt.py',
    '../_base_/datasets/cityscapes_panoptic_lsj-1024.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    backbone=dict(arch='dinov2_l_reg4', img_size=1024, num_joint_blocks=4),
    panoptic_head=dict(
        embed_dims=1024,
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (1 / 3, 1 / 2), (1 / 2, 2 / 3), (2 / 3, 5 / 6)]),
    ),
    test_cfg=dict(tasks=('semantic',), window=dict(size=1024, overlap=32)),
)
train_cfg = dict(max_iters=19795, val_interval=1979)
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
