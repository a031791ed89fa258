# DINOv2's plain vision transformer (Apache-2.0), its patches of 14 pixels resampled to 16.
_base_ = 'oneformer-vit.py'
backbone_url = 'https://dl.fbaipublicfiles.com/dinov2/'
model = dict(
    backbone=dict(
        arch='dinov2_s_reg4',
        img_size=640,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint=backbone_url + 'dinov2_vits14/dinov2_vits14_reg4_pretrain.pth',
        ),
    ),
    panoptic_head=dict(
        embed_dims=384,
    ),
)
