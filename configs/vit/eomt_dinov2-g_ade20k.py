# The spans of the masks are ours, those of the authors are not known to us.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt.py',
    '../_base_/datasets/ade20k_panoptic_lsj-640.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    data_preprocessor=dict(pad_size_divisor=640),
    backbone=dict(arch='dinov2_g_reg4', img_size=640, num_joint_blocks=5),
    panoptic_head=dict(
        embed_dims=1536, mask_annealing=dict(spans=[(i / 7, (i + 2) / 7) for i in range(5)])
    ),
    test_cfg=dict(tasks=('panoptic',)),
)
train_cfg = dict(max_iters=39153, val_interval=3915)
val_evaluator = test_evaluator = [dict(type='PanopticQuality')]
