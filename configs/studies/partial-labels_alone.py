# `tools/study.py partial-labels`: the third of the photographs that has panoptic labels.
_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
data_root = 'data/partial-labels/'
work_dir = 'work_dirs/partial-labels_alone'
train_dataloader = dict(dataset=dict(data_root=data_root, ann_file='panoptic_third.json'))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

max_iters = 500
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters + 1)
