_base_ = 'oneformer_dinov3-s.py'
model = dict(
    backbone=dict(
        arch='dinov3_b',
        init_cfg=dict(checkpoint='facebook/dinov3-vitb16-pretrain-lvd1689m'),
    ),
)
