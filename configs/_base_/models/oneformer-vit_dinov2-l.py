# DINOv2's plain vision transformer (Apache-2.0), its patches of 14 pixels resampled to 16.
_base_ = 'oneformer-vit.py'
backbone_url = 'https://dl.fbaipublicfiles.com/dinov2/'
model = dict(
    backbone=dict(
        arch='dinov2_l_reg4',
        img_size=640,
        num_joint_blocks=4,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint=backbone_url + 'dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth',
        ),
    ),
    panoptic_head=dict(
        embed_dims=1024,
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (1 / 3, 1 / 2), (1 / 2, 2 / 3), (2 / 3, 5 / 6)]),
    ),
)
