_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
metainfo = dict(classes=('cat', 'dog', 'grass', 'sky'), thing_classes=('cat', 'dog'))
model = dict(metainfo=metainfo)
labels = dict(type='PanopticDataset', metainfo=metainfo, data_root='data/mine/')
train = dict(ann_file='train.json', data_prefix=dict(img='train/', seg='train_segments/'))
val = dict(ann_file='val.json', data_prefix=dict(img='val/', seg='val_segments/'))
train_dataloader = dict(dataset=dict(**labels, **train))
val_dataloader = test_dataloader = dict(dataset=dict(**labels, **val))
work_dir = 'work_dirs/mine'
