_base_ = 'oneformer_convnext-l.py'
model = dict(
    backbone=dict(
        arch='xlarge',
        init_cfg=dict(checkpoint=_base_.backbone_url + 'convnext_xlarge_22k_1k_384_ema.pth'),
    ),
    panoptic_head=dict(in_channels=[256, 512, 1024, 2048]),
)
