# DINOv3's plain vision transformer, whose weights have a licence of their own, see
# oneformer_dinov3-s.py.
_base_ = 'oneformer-vit.py'
model = dict(
    backbone=dict(
        arch='dinov3_l',
        num_joint_blocks=4,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='facebook/dinov3-vitl16-pretrain-lvd1689m',
        ),
    ),
    panoptic_head=dict(
        embed_dims=1024,
        mask_annealing=dict(
            spans=[(0, 3000 / 88692), (1 / 3, 1 / 2), (1 / 2, 2 / 3), (2 / 3, 5 / 6)]
        ),
    ),
)
