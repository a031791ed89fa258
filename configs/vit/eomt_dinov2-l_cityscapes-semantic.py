_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt_dinov2-l.py',
    '../_base_/datasets/cityscapes_panoptic_lsj-1024.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    backbone=dict(img_size=1024),
    test_cfg=dict(tasks=('semantic',), window=dict(size=1024, overlap=32)),
)
train_cfg = dict(max_iters=19795, val_interval=1979)
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
