# DINOv2's plain vision transformer (Apache-2.0), its patches of 14 pixels resampled to 16.
_base_ = 'oneformer.py'
backbone_url = 'https://dl.fbaipublicfiles.com/dinov2/'
model = dict(
    # ImageNet's, which DINOv2 was trained with
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        type='PlainViT',
        arch='dinov2_s_reg4',
        patch_size=16,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint=backbone_url + 'dinov2_vits14/dinov2_vits14_reg4_pretrain.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[256, 256, 256, 256]),
)
