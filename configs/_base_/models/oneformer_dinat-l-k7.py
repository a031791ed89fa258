# Windows of 7 x 7 pixels, and dilations for crops of 512 x 1024: what the original trains on
# Cityscapes.
_base_ = 'oneformer_dinat-l.py'
model = dict(
    backbone=dict(
        kernel_size=7,
        dilations=[
            [1, 18, 1],
            [1, 5, 1, 9],
            [1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4],
            [1, 2, 1, 2, 1],
        ],
        init_cfg=dict(checkpoint=_base_.backbone_url + 'imagenet22k/dinat_large_in22k_224.pth'),
    ),
)
