# `make demo`: generated photographs of 160 px, minutes on two CPU cores.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_efficientnet-lite0_small.py',
    '_base_/datasets/small_panoptic.py',
    '_base_/schedule_small.py',
]
data_root = 'data/quickstart/'
metainfo = dict(
    classes=('ball', 'crate', 'starfish', 'life ring', 'sky', 'grass', 'water', 'brick wall'),
    thing_classes=('ball', 'crate', 'starfish', 'life ring'),
    palette=[
        (220, 20, 60),
        (165, 110, 50),
        (255, 140, 0),
        (255, 0, 200),
        (70, 130, 180),
        (90, 200, 60),
        (0, 170, 170),
        (150, 70, 70),
    ],
)
# the stem and the stages up to stride 4 stay as ImageNet left them, which saves a third of the time
model = dict(metainfo=metainfo, backbone=dict(frozen_stages=3))
work_dir = 'work_dirs/quickstart'

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=[144, 160, 176, 192], max_size=320),
    dict(type='RandomCrop', crop_size=(160, 160), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=(160, 160), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask'),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[160], max_size=320),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader

randomness = dict(seed=0)
train_cfg = dict(max_iters=700)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=400, save_best=None))
