# Everything but the backbone. The files beside it add one, with the channels of its four maps.
model = dict(
    type='OneFormer',
    data_preprocessor=dict(
        type='OneFormerDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    panoptic_head=dict(
        type='OneFormerHead',
        feat_channels=256,
        num_queries=150,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=6,
                layer_cfg=dict(
                    self_attn_cfg=dict(
                        embed_dims=256,
                        num_heads=8,
                        num_levels=3,
                        num_points=4,
                        dropout=0.1,
                        batch_first=True,
                    ),
                    ffn_cfg=dict(
                        embed_dims=256,
                        feedforward_channels=1024,
                        num_fcs=2,
                        ffn_drop=0.1,
                        act_cfg=dict(type='ReLU', inplace=True),
                    ),
                ),
            ),
            positional_encoding=dict(num_feats=128, normalize=True),
        ),
        task_queries=dict(num_layers=2, dropout=0.1),
        transformer_decoder=dict(num_layers=9, dropout=0.0),
    ),
    criterion=dict(
        type='SetCriterion',
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=12544,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
    ),
    text_mapper=dict(type='TextMapper', num_context=16, embed_dims=256, num_layers=6),
    contrastive_loss=dict(type='QueryTextContrastiveLoss', temperature=0.07, loss_weight=0.5),
    test_cfg=dict(
        tasks=('panoptic', 'instance', 'semantic'),
        object_mask_thr=0.8,
        iou_thr=0.8,
        max_per_image=None,  # as many as queries, and at least 100
    ),
)
