_base_ = 'oneformer.py'
backbone_url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
model = dict(
    backbone=dict(
        type='OneFormerSwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.3,
        init_cfg=dict(
            type='PretrainedBackbone', checkpoint=backbone_url + 'swin_tiny_patch4_window7_224.pth'
        ),
    ),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]),
)
