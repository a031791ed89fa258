# Small photographs in COCO panoptic format, loaded in the main process. Configs add metainfo,
# data_root and the pipelines.
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PanopticDataset',
        ann_file='panoptic_train.json',
        data_prefix=dict(img='train/', seg='panoptic_train/'),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PanopticDataset',
        ann_file='panoptic_val.json',
        data_prefix=dict(img='val/', seg='panoptic_val/'),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

# oneformer test --out-dir
format_evaluator = [
    dict(type='PanopticFiles'),
    dict(type='InstanceFiles'),
    dict(type='SemanticFiles'),
]
# oneformer test --tta
tta = dict(short_edges=[128, 160, 192], max_size=384, flip=True)
