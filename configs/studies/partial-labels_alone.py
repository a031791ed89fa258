# `oneformer study partial-labels`: the third of the photographs that has panoptic labels.
_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
data_root = 'data/partial-labels/'
work_dir = 'work_dirs/partial-labels_alone'
train_dataloader = dict(dataset=dict(data_root=data_root, ann_file='panoptic_third.json'))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=500)
