_base_ = 'oneformer_swin-t.py'
model = dict(
    backbone=dict(
        depths=(2, 2, 18, 2),
        init_cfg=dict(checkpoint=_base_.backbone_url + 'swin_small_patch4_window7_224.pth'),
    ),
)
