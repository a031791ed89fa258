# Nuclei in real microscopy photographs (Data Science Bowl 2018, CC0) with panoptic annotation.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_efficientnet-lite0_small.py',
    '_base_/datasets/small_panoptic.py',
    '_base_/schedule_small.py',
]
data_root = 'data/dsb2018_panoptic/'
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
# 24 nuclei a photograph in the median, 82 at the 95th percentile, most of them 15 pixels wide.
# Start from the weights of `make demo` (README.md), which can already tell objects apart.
model = dict(
    metainfo=metainfo,
    backbone=dict(frozen_stages=3),
    panoptic_head=dict(num_queries=100),
    criterion=dict(num_points=3072),
    test_cfg=dict(object_mask_thr=0.3, max_per_image=150, window=dict(size=256, overlap=64)),
)

# Larger than they are, as oneformer check recommends for small nuclei; squares in training
# and windows of the same size in the test.
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=[230, 259, 288, 317, 346], max_size=692),
    dict(type='RandomCrop', crop_size=(256, 256), allow_negative_crop=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='Pad', size=(256, 256), pad_val=dict(img=(128, 128, 128), seg=0)),
    # mostly the tasks that tell nuclei apart
    dict(type='SampleTask', probs=dict(panoptic=0.45, instance=0.45, semantic=0.1)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[288], max_size=576),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(batch_size=4, dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader

randomness = dict(seed=0)
train_cfg = dict(max_iters=900)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=400, save_best=None),
    weights=dict(fresh=['panoptic_head.query_embed.']),  # 100 queries, where `make demo` has 30
)
auto_scale_lr = dict(base_batch_size=4)
