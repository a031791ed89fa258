_base_ = 'oneformer_r50.py'
swin_l = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.8/swin_large_patch4_window12_384_22kto1k.pth'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        pretrain_img_size=384,
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        window_size=12,
        drop_path_rate=0.3,
        out_indices=(0, 1, 2, 3),
        convert_weights=True,
        init_cfg=dict(type='Pretrained', checkpoint=swin_l),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=250),
    test_cfg=dict(max_per_image=250),
)
