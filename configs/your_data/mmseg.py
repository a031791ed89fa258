_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
model = dict(metainfo='ade20k', test_cfg=dict(tasks=('semantic',)))
data = dict(_delete_=True, type='SemanticDataset', metainfo='ade20k')
source = dict(type='mmseg.ADE20KDataset', data_root='data/ADEChallengeData2016/')
train = dict(img_path='images/training', seg_map_path='annotations/training')
val = dict(img_path='images/validation', seg_map_path='annotations/validation')
train_dataloader = dict(
    dataset=dict(
        **data,
        dataset=dict(**source, data_prefix=train),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = test_dataloader = dict(
    dataset=dict(
        **data,
        dataset=dict(**source, data_prefix=val),
        pipeline=_base_.test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
work_dir = 'work_dirs/my_mmseg'
