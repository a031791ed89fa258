# Mapillary Vistas v1.2
_base_ = 'panoptic_loaders.py'
data_root = 'data/mapillary_vistas/'
metainfo = 'mapillary'
# 0.5 to 2 times 2048 in steps of 0.1
short_edges = [int(x * 0.1 * 2048) for x in range(5, 21)]

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=short_edges, max_size=8192),
    dict(type='RandomCrop', crop_size=(1024, 1024), allow_negative_crop=True),
    dict(type='mmseg.PhotoMetricDistortion'),  # the original's, with hue -18..17 for -18..18
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=(1024, 1024), pad_val=dict(img=(128, 128, 128), seg=0)),
    # the original's thresholds of 0.5 and 0.5 leave nothing to the instance task
    dict(type='SampleTask', probs=dict(semantic=0.5, panoptic=0.5)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[2048], max_size=2048),
    dict(type='LoadSegmentMap'),  # after resizing: the prediction is compared at the image's size
    dict(type='PackSegmentInputs'),
]

dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='training/panoptic/panoptic_2018.json',
        data_prefix=dict(img='training/images/', seg='training/panoptic/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='validation/panoptic/panoptic_2018.json',
        data_prefix=dict(img='validation/images/', seg='validation/panoptic/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# oneformer test --official: the semantic annotation differs from the panoptic one
official_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP'),
    dict(type='SemanticIoU', seg_prefix=data_root + 'validation/labels/', ignore_index=65),
]
# oneformer test --tta
tta = dict(short_edges=[512, 768, 1024, 1280, 1536, 1792], max_size=4096, flip=True)
