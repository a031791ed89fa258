# COCO: 50 epochs of 118k photos in batches of 16, two steps down.
max_iters = 368750
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OneFormerOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    paramwise_cfg=dict(backbone_lr_mult=0.1),
    # The original sets a gradient clip of 0.01 that never takes effect, so there is none here.
    clip_grad=None,
)
param_scheduler = dict(
    type='MultiStepLR',
    gamma=0.1,
    milestones=[327778, 355092],
    begin=0,
    end=max_iters,
    by_epoch=False,
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
auto_scale_lr = dict(enable=False, base_batch_size=16)
