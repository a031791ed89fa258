# `oneformer study ablations --data nuclei`: as ablations_lookalikes.py, on real photographs, and
# with all tasks drawn as often.
_base_ = '../oneformer_efficientnet-lite0_nuclei.py'
custom_imports = dict(
    imports=['oneformer', 'oneformer.studies.parts', 'oneformer.studies.confusion'],
    allow_failed_imports=False,
)
work_dir = 'work_dirs/ablations/nuclei'
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge', short_edges=[160, 180, 200], max_size=400),
    dict(type='RandomCrop', crop_size=(160, 160), allow_negative_crop=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='Pad', size=(160, 160), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask'),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[180], max_size=360),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP'),
    dict(type='SemanticIoU'),
    dict(
        type='Confusion',
        pairs=[
            ('nucleus-fluorescence', 'nucleus-stained'),
            ('background-fluorescence', 'background-histology'),
        ],
    ),
]
test_evaluator = val_evaluator
model = dict(test_cfg=dict(window=None))
train_cfg = dict(max_iters=500)
default_hooks = dict(weights=dict(fresh=[]))
