_base_ = 'panoptic_loaders.py'
data_root = 'data/coco/'
metainfo = 'coco'

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='LargeScaleJitter', size=1024, scale_range=(0.1, 2.0)),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[800], max_size=1333),
    dict(type='LoadSegmentMap'),  # after resizing: the prediction is compared at the image's size
    dict(type='PackSegmentInputs'),
]

dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        filter_cfg=dict(without_things=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# oneformer test --official: published AP counts the first object as missed, see InstanceAP
official_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP', first_id=0),
    dict(type='SemanticIoU'),
]
# oneformer test --tta
tta = dict(short_edges=list(range(400, 1201, 100)), max_size=4000, flip=True)
