_base_ = 'oneformer_swin-t.py'
model = dict(
    backbone=dict(
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        window_size=12,
        init_cfg=dict(
            checkpoint=_base_.backbone_url + 'swin_large_patch4_window12_384_22kto1k.pth'
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=250),
)
