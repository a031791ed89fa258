# `make demo`: generated photographs of 160 px, minutes on two CPU cores.
_base_ = [
    '_base_/models/oneformer_efficientnet-lite0_small.py',
    '_base_/schedule_small.py',
]
data_root = 'data/quickstart/'
metainfo = dict(
    classes=('ball', 'crate', 'starfish', 'life ring', 'sky', 'grass', 'water', 'brick wall'),
    thing_classes=('ball', 'crate', 'starfish', 'life ring'),
)
model = dict(metainfo=metainfo)
work_dir = 'work_dirs/quickstart'

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticMap'),
    dict(type='ResizeShortEdge', short_edges=[144, 160, 176, 192], max_size=320),
    dict(type='RandomCrop', crop_size=(160, 160), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=(160, 160), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask'),
    dict(type='PackPanopticInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[160], max_size=320),
    dict(type='LoadPanopticMap'),
    dict(type='PackPanopticInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PanopticDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='panoptic_train.json',
        data_prefix=dict(img='train/', seg='panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PanopticDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='panoptic_val.json',
        data_prefix=dict(img='val/', seg='panoptic_val/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

max_iters = 600
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters + 1)
