# `oneformer study ablations`: the quick start on generated photographs of classes that look alike.
# Each variant is this config and the differences of oneformer.studies.ablations.VARIANTS.
_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
custom_imports = dict(
    imports=['oneformer', 'oneformer.studies.parts', 'oneformer.studies.confusion'],
    allow_failed_imports=False,
)
data_root = 'data/lookalikes/'
work_dir = 'work_dirs/ablations/lookalikes'
metainfo = dict(
    classes=(
        *('ball', 'striped ball', 'crate', 'box', 'life ring', 'tube'),
        *('sky', 'brick wall', 'tiled wall', 'grass', 'meadow'),
    ),
    thing_classes=(*('ball', 'striped ball', 'crate', 'box', 'life ring', 'tube'),),
    palette=[
        *[(220, 20, 60), (250, 120, 140), (165, 110, 50), (90, 60, 30), (255, 0, 200)],
        *[(150, 0, 120), (70, 130, 180), (150, 70, 70), (210, 120, 110), (90, 200, 60)],
        (200, 230, 60),
    ],
)
# a frozen backbone makes steps cheaper; where classes look alike, few scores reach 0.8
model = dict(metainfo=metainfo, backbone=dict(frozen_stages=6), test_cfg=dict(object_mask_thr=0.3))
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=[112, 128, 144], max_size=256),
    dict(type='RandomCrop', crop_size=(128, 128), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=(128, 128), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask'),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[128], max_size=256),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP'),
    dict(type='SemanticIoU'),
    dict(
        type='Confusion',
        pairs=[
            *[('ball', 'striped ball'), ('crate', 'box'), ('life ring', 'tube')],
            *[('brick wall', 'tiled wall'), ('grass', 'meadow')],
        ],
    ),
]
test_evaluator = val_evaluator
train_cfg = dict(max_iters=500)
