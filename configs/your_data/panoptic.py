_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
names = dict(classes=('cat', 'dog', 'grass', 'sky'), thing_classes=('cat', 'dog'))
model = dict(metainfo=dict(_delete_=True, **names))
data = dict(_delete_=True, type='PanopticDataset', metainfo=names, data_root='data/mine/')
train = dict(ann_file='train.json', data_prefix=dict(img='train/', seg='train_segments/'))
val = dict(ann_file='val.json', data_prefix=dict(img='val/', seg='val_segments/'), test_mode=True)
train_dataloader = dict(dataset=dict(**data, **train, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(**data, **val, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
work_dir = 'work_dirs/my_panoptic'
