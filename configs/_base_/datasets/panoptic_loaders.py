# How the datasets are loaded; their files add where from, and the pipelines.
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='PanopticDataset'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='PanopticDataset', test_mode=True),
)
test_dataloader = val_dataloader

# oneformer test --out-dir
format_evaluator = [
    dict(type='PanopticFiles'),
    dict(type='InstanceFiles'),
    dict(type='SemanticFiles'),
]
