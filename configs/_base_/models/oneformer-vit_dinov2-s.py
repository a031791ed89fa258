_base_ = 'oneformer-vit.py'
model = dict(
    backbone=dict(
        arch='dinov2_s_reg4',
        img_size=640,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth',
        ),
    ),
    panoptic_head=dict(
        embed_dims=384,
    ),
)
