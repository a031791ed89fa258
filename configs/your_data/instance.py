_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
metainfo = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))
model = dict(metainfo=metainfo, test_cfg=dict(tasks=('instance',)))
labels = dict(type='InstanceDataset', metainfo=metainfo, data_root='data/mine/')
train = dict(ann_file='train.json', data_prefix=dict(img='train/'))
val = dict(ann_file='val.json', data_prefix=dict(img='val/'))
train_dataloader = dict(dataset=dict(**labels, **train))
val_dataloader = test_dataloader = dict(dataset=dict(**labels, **val))
val_evaluator = test_evaluator = [dict(type='InstanceAP')]
work_dir = 'work_dirs/mine'
