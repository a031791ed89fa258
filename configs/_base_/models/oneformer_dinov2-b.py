_base_ = 'oneformer_dinov2-s.py'
model = dict(
    backbone=dict(
        arch='dinov2_b_reg4',
        init_cfg=dict(
            checkpoint=_base_.backbone_url + 'dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth'
        ),
    ),
)
