_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
metainfo = dict(classes=('cat', 'dog', 'grass', 'sky'), thing_classes=('cat', 'dog'))
model = dict(metainfo=metainfo, test_cfg=dict(tasks=('semantic',)))
labels = dict(type='SemanticDataset', metainfo=metainfo, data_root='data/mine/', ann_file='')
train = dict(data_prefix=dict(img='train/', seg='train_labels/'))
val = dict(data_prefix=dict(img='val/', seg='val_labels/'))
train_dataloader = dict(dataset=dict(**labels, **train))
val_dataloader = test_dataloader = dict(dataset=dict(**labels, **val))
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
work_dir = 'work_dirs/mine'
