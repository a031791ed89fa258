_base_ = 'panoptic_loaders.py'
data_root = 'data/ADEChallengeData2016/'
metainfo = 'ade20k'
crop = 640
# 0.5 to 2 times the crop in steps of 0.1
short_edges = [int(x * 0.1 * crop) for x in range(5, 21)]

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=short_edges, max_size=4 * crop),
    dict(type='RandomCrop', crop_size=(crop, crop), allow_negative_crop=True),
    dict(type='mmseg.PhotoMetricDistortion'),  # the original's, with hue -18..17 for -18..18
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=(crop, crop), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[crop], max_size=4 * crop),
    dict(type='LoadSegmentMap'),  # after resizing: the prediction is compared at the image's size
    dict(type='PackSegmentInputs'),
]

dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img='images/training/', seg='ade20k_panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='ade20k_panoptic_val.json',
        data_prefix=dict(img='images/validation/', seg='ade20k_panoptic_val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# oneformer test --official: the instance and semantic annotation differ from the panoptic one
official_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP', ann_file=data_root + 'ade20k_instance_val.json'),
    dict(
        type='SemanticIoU',
        seg_prefix=data_root + 'annotations/validation/',
        reduce_zero_label=True,
    ),
]
# oneformer test --out-dir; the dataset's label PNGs have 0 for void
format_evaluator = [
    dict(type='PanopticFiles'),
    dict(type='InstanceFiles'),
    dict(type='SemanticFiles', reduce_zero_label=True),
]
# oneformer test --tta
tta = dict(
    short_edges=[int(x * crop) for x in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)],
    max_size=7 * crop,
    flip=True,
)
