# `oneformer study partial-labels`: panoptic, instance and semantic labels, a third of the
# photographs each, in one training; the label PNGs know neither crate nor life ring.
_base_ = 'partial-labels_alone.py'
work_dir = 'work_dirs/partial-labels_joint'
shared = dict(
    metainfo=_base_.metainfo,
    data_root=_base_.data_root,
    data_prefix=dict(img='train/', seg='panoptic_train/'),
    pipeline=_base_.train_pipeline,
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='JointSampler'),
    dataset=dict(
        _delete_=True,
        type='JointDataset',
        datasets=[
            dict(shared, type='PanopticDataset', ann_file='panoptic_third.json'),
            dict(shared, type='InstanceDataset', ann_file='instance_third.json'),
            dict(
                shared,
                type='SemanticDataset',
                ann_file='semantic_third.txt',
                data_prefix=dict(img='train/', seg='semantic_train/'),
                label_classes=('ball', 'starfish', 'sky', 'grass', 'water', 'brick wall'),
            ),
        ],
        # each task as often as in training on the panoptic third alone
        weights=[
            dict(panoptic=1.0, instance=0.25, semantic=0.5),
            dict(instance=0.75),
            dict(semantic=0.5),
        ],
    ),
)
