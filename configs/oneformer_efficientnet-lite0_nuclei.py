# Nuclei in real microscopy photographs (Data Science Bowl 2018, CC0) with panoptic annotation.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_efficientnet-lite0_small.py',
    '_base_/datasets/small_panoptic.py',
    '_base_/schedule_small.py',
]
# where the shared folder is: ONEFORMER_SHARED, or beside this repository
data_root = '{{$ONEFORMER_SHARED:../shared}}/data/dsb2018_panoptic/'
metainfo = dict(
    classes=(
        'nucleus-fluorescence',
        'nucleus-stained',
        'background-fluorescence',
        'background-histology',
    ),
    thing_classes=('nucleus-fluorescence', 'nucleus-stained'),
    palette=[(80, 160, 255), (160, 60, 200), (20, 20, 20), (230, 170, 200)],
)
# A photograph has 24 nuclei in the median and 82 at the 95th percentile, most of them 15 pixels
# wide: many queries, many points to find them by, and more channels and layers to tell alike
# neighbours apart.
model = dict(
    metainfo=metainfo,
    backbone=dict(frozen_stages=3),
    panoptic_head=dict(
        feat_channels=128,
        num_queries=100,
        pixel_decoder=dict(
            encoder=dict(
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=128),
                    ffn_cfg=dict(embed_dims=128, feedforward_channels=512),
                ),
            ),
            positional_encoding=dict(num_feats=64),
        ),
        task_queries=dict(feedforward_channels=512),
        transformer_decoder=dict(num_layers=6, feedforward_channels=512),
    ),
    criterion=dict(num_points=3072),
    text_mapper=dict(embed_dims=128),
    test_cfg=dict(object_mask_thr=0.5, max_per_image=150),
)

# Whole photographs, since queries learn where in the picture to look.
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticMap'),
    dict(type='ResizeShortEdge', short_edges=[256], max_size=512),
    dict(type='RandomCrop', crop_size=(256, 256), allow_negative_crop=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    # nuclei are learned from the tasks that tell them apart
    dict(type='SampleTask', probs=dict(panoptic=0.45, instance=0.45, semantic=0.1)),
    dict(type='PackPanopticInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[256], max_size=512),
    dict(type='LoadPanopticMap'),
    dict(type='PackPanopticInputs'),
]
dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(batch_size=2, dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader

max_iters = 3000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=50, end=max_iters),
]
randomness = dict(seed=0)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters + 1)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1000, save_best=None))
optim_wrapper = dict(optimizer=dict(lr=6e-4))
auto_scale_lr = dict(base_batch_size=2)
test_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP', max_dets=150),
    dict(type='SemanticIoU'),
]
val_evaluator = test_evaluator
