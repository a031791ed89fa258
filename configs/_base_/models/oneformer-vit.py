# An encoder-only model but for its backbone: queries join the patches in the last blocks of a ViT.
# The files beside it add one, with its channels, and how long its masks are kept in training.
_base_ = 'oneformer.py'
model = dict(
    backbone=dict(type='JointViT', patch_size=16, num_joint_blocks=3),
    panoptic_head=dict(
        _delete_=True,
        type='OneFormerViTHead',
        num_queries=200,
        num_upscale=2,
        task_queries=dict(),
        # EoMT's steps for COCO with a ViT-B, as fractions of training: a sixth of it for each block
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (5 / 12, 7 / 12), (2 / 3, 5 / 6)], power=0.9),
    ),
)
