_base_ = 'oneformer.py'
backbone_url = 'https://shi-labs.com/projects/dinat/checkpoints/'
model = dict(
    backbone=dict(
        type='DiNAT',
        embed_dims=192,
        depths=(3, 4, 18, 5),
        num_heads=(6, 12, 24, 48),
        kernel_size=11,
        dilations=[
            [1, 20, 1],
            [1, 5, 1, 10],
            [1, 2, 1, 3, 1, 4, 1, 5, 1, 2, 1, 3, 1, 4, 1, 5, 1, 5],
            [1, 2, 1, 2, 1],
        ],
        mlp_ratio=2,
        drop_path_rate=0.3,
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint=backbone_url + 'imagenet1k/dinat_large_in22k_in1k_384_11x11.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=250),
)
