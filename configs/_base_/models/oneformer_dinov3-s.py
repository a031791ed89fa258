# DINOv3's plain vision transformer. Its weights have a licence of their own (dinov3-license), which
# holds for what is trained from them, too, and are given to those who ask for them: ask on the page
# of the repository, then log in with "hf auth login", or name a file by
# --cfg-options model.backbone.init_cfg.checkpoint=FILE.
_base_ = 'oneformer.py'
model = dict(
    # ImageNet's, which the weights of lvd1689m were trained with; those of sat493m have others
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        type='PlainViT',
        arch='dinov3_s',
        init_cfg=dict(
            type='PretrainedBackbone', checkpoint='facebook/dinov3-vits16-pretrain-lvd1689m'
        ),
    ),
    panoptic_head=dict(in_channels=[256, 256, 256, 256]),
)
