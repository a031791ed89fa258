# DINOv2's plain vision transformer (Apache-2.0), its patches of 14 pixels resampled to 16.
_base_ = 'oneformer-vit.py'
backbone_url = 'https://dl.fbaipublicfiles.com/dinov2/'
model = dict(
    backbone=dict(
        arch='dinov2_g_reg4',
        img_size=640,
        num_joint_blocks=5,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint=backbone_url + 'dinov2_vitg14/dinov2_vitg14_reg4_pretrain.pth',
        ),
    ),
    panoptic_head=dict(
        embed_dims=1536,
        # the authors' spans are not known to us
        mask_annealing=dict(spans=[(i / 7, (i + 2) / 7) for i in range(5)]),
    ),
)
