_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/eomt_dinov2-l.py',
    '../_base_/datasets/ade20k_panoptic_512.py',
    '../_base_/schedule_vit.py',
]
model = dict(
    metainfo=_base_.metainfo,
    backbone=dict(img_size=512),
    test_cfg=dict(tasks=('semantic',), window=dict(size=512, overlap=32)),
)
train_cfg = dict(max_iters=39153, val_interval=3915)
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
