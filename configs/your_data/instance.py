_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
names = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))
model = dict(metainfo=dict(_delete_=True, **names), test_cfg=dict(tasks=('instance',)))
data = dict(_delete_=True, type='InstanceDataset', metainfo=names, data_root='data/mine/')
train = dict(ann_file='train.json', data_prefix=dict(img='train/'))
val = dict(ann_file='val.json', data_prefix=dict(img='val/'), test_mode=True)
train_dataloader = dict(dataset=dict(**data, **train, pipeline=_base_.train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(**data, **val, pipeline=_base_.test_pipeline))
val_evaluator = test_evaluator = [dict(type='InstanceAP')]
work_dir = 'work_dirs/my_instance'
