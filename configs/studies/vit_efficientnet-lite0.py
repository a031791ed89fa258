# `oneformer study vit`: the quick start, which starts from ImageNet weights.
_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
data_root = 'data/vit/'
work_dir = 'work_dirs/vit_efficientnet-lite0'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
