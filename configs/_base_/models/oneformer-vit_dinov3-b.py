# DINOv3's plain vision transformer, whose weights have a licence of their own, see
# oneformer_dinov3-s.py.
_base_ = 'oneformer-vit.py'
model = dict(
    backbone=dict(
        arch='dinov3_b',
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='facebook/dinov3-vitb16-pretrain-lvd1689m',
        ),
    ),
    panoptic_head=dict(
        embed_dims=768,
    ),
)
