_base_ = 'oneformer-vit.py'
model = dict(
    backbone=dict(arch='dinov2_b_reg4', img_size=640),
    panoptic_head=dict(embed_dims=768),
)
