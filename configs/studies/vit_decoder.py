# `oneformer study vit`: a small vision transformer like DINOv3 from random weights, its pyramid,
# and the decoder of the quick start without deformable attention.
_base_ = 'vit_efficientnet-lite0.py'
work_dir = 'work_dirs/vit_decoder'
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='PlainViT',
        arch='dinov3_s',
        patch_size=16,
        embed_dims=192,
        depth=8,
        num_heads=3,
        out_channels=64,
    ),
    panoptic_head=dict(
        in_channels=[64, 64, 64, 64],
        pixel_decoder=dict(_delete_=True, type='IdentityPixelDecoder'),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(backbone_lr_mult=1.0))  # nothing of it is trained before
