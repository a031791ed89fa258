_base_ = 'oneformer.py'
backbone_url = 'https://dl.fbaipublicfiles.com/convnext/'
model = dict(
    backbone=dict(
        type='mmpretrain.ConvNeXt',
        arch='large',
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=dict(
            type='PretrainedBackbone', checkpoint=backbone_url + 'convnext_large_22k_1k_384.pth'
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=250),
)
