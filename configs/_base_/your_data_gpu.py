# For labels of your own on a GPU: what your_data_r50.py and others have in common. The rate is that
# of 16 images, as in the original, and follows the batch. Sizes and lengths are the config's.
_base_ = [
    'default_runtime.py',
    'datasets/panoptic_loaders.py',
    'optimizer.py',
]
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge'),
    dict(type='RandomCrop', allow_negative_crop=True),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge'),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
param_scheduler = dict(type='WholeRunPolyLR', power=0.9, warmup=100, by_epoch=False)
train_cfg = dict(type='OneFormerTrainLoop')
auto_scale_lr = dict(enable=True)
tta = dict(short_edges=[384, 512, 640], max_size=2560, flip=True)
