_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
names = dict(classes=('cat', 'dog', 'grass', 'sky'), thing_classes=('cat', 'dog'))
model = dict(metainfo=dict(_delete_=True, **names), test_cfg=dict(tasks=('semantic',)))
data = dict(_delete_=True, type='SemanticDataset', metainfo=names, data_root='data/mine/')
train = dict(data_prefix=dict(img='train/', seg='train_labels/'))
val = dict(data_prefix=dict(img='val/', seg='val_labels/'), test_mode=True)
train_dataloader = dict(dataset=dict(**data, **train, pipeline=_base_.train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(**data, **val, pipeline=_base_.test_pipeline))
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
work_dir = 'work_dirs/my_semantic'
