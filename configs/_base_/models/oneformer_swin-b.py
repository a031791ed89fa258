_base_ = 'oneformer_swin-t.py'
model = dict(
    backbone=dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=12,
        init_cfg=dict(checkpoint=_base_.backbone_url + 'swin_base_patch4_window12_384_22kto1k.pth'),
    ),
    panoptic_head=dict(in_channels=[128, 256, 512, 1024]),
)
