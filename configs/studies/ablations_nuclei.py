# `oneformer study ablations --data nuclei`: as ablations_lookalikes.py, on tiles of real
# photographs, in which nuclei are as large as the things there.
_base_ = 'ablations_lookalikes.py'
data_root = 'data/nuclei_tiles/'
work_dir = 'work_dirs/ablations/nuclei'
metainfo = dict(
    _delete_=True,
    classes=(
        'nucleus-fluorescence',
        'nucleus-stained',
        'background-fluorescence',
        'background-histology',
    ),
    thing_classes=('nucleus-fluorescence', 'nucleus-stained'),
    palette=[(80, 160, 255), (160, 60, 200), (20, 20, 20), (230, 170, 200)],
)
model = dict(metainfo=metainfo)
dataset = dict(metainfo=metainfo, data_root=data_root)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
confused = dict(
    type='Confusion',
    pairs=[
        ('nucleus-fluorescence', 'nucleus-stained'),
        ('background-fluorescence', 'background-histology'),
    ],
)
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP'),
    dict(type='SemanticIoU'),
    confused,
]
test_evaluator = val_evaluator
