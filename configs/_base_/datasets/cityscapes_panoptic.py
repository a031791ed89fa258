_base_ = 'panoptic_loaders.py'
data_root = 'data/cityscapes/'
metainfo = 'cityscapes'
# 0.5 to 2 times 1024 in steps of 0.1
short_edges = [int(x * 0.1 * 1024) for x in range(5, 21)]

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=short_edges, max_size=4096),
    dict(type='RandomCrop', crop_size=(1024, 512)),  # (width, height); no image is smaller
    dict(type='mmseg.PhotoMetricDistortion'),  # the original's, with hue -18..17 for -18..18
    dict(type='RandomFlip', prob=0.5),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[1024], max_size=2048),
    dict(type='LoadSegmentMap'),  # after resizing: the prediction is compared at the image's size
    dict(type='PackSegmentInputs'),
]

dataset = dict(type='CityscapesPanopticDataset', metainfo=metainfo, data_root=data_root)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='gtFine/cityscapes_panoptic_train.json',
        data_prefix=dict(img='leftImg8bit/train/', seg='gtFine/cityscapes_panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='gtFine/cityscapes_panoptic_val.json',
        data_prefix=dict(img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# oneformer test --official: by cityscapesscripts
official_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='CityscapesInstance', seg_prefix=data_root + 'gtFine/val/'),
    dict(type='CityscapesSemantic', seg_prefix=data_root + 'gtFine/val/'),
]
# oneformer test --out-dir
format_evaluator = [
    dict(type='PanopticFiles'),
    dict(type='CityscapesInstanceFiles'),
    dict(type='CityscapesSemanticFiles'),
]
# oneformer test --tta
tta = dict(short_edges=[512, 768, 1024, 1280, 1536, 1792], max_size=4096, flip=True)
