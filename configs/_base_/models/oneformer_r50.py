# The norms are frozen; oneformer_r50-syncbn.py trains them.
_base_ = 'oneformer.py'
model = dict(
    backbone=dict(
        type='OneFormerResNet',
        depth=50,
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[256, 512, 1024, 2048]),
)
