_base_ = 'oneformer-vit.py'
model = dict(
    backbone=dict(
        arch='dinov2_l_reg4',
        img_size=640,
        num_joint_blocks=4,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth',
        ),
    ),
    panoptic_head=dict(
        embed_dims=1024,
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (1 / 3, 1 / 2), (1 / 2, 2 / 3), (2 / 3, 5 / 6)]),
    ),
)
