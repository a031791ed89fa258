# A OneFormer that a CPU trains in minutes: 64 channels, 2 + 3 layers, 30 queries.
_base_ = 'oneformer.py'
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(type='EfficientNetLite0'),
    panoptic_head=dict(
        in_channels=[24, 40, 112, 320],
        feat_channels=64,
        num_queries=30,
        pixel_decoder=dict(
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=64, num_heads=4, dropout=0.0),
                    ffn_cfg=dict(embed_dims=64, feedforward_channels=256, ffn_drop=0.0),
                ),
            ),
            positional_encoding=dict(num_feats=32),
        ),
        task_queries=dict(num_layers=2, num_heads=4, feedforward_channels=256, dropout=0.0),
        transformer_decoder=dict(num_layers=3, num_heads=4, feedforward_channels=256),
    ),
    criterion=dict(num_points=1024),
    text_mapper=dict(num_context=4, embed_dims=64, num_layers=2),
)
