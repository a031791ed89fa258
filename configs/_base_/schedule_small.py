# For small models on a CPU. Configs add max_iters, param_scheduler and train_cfg.
_base_ = 'default_runtime.py'

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OneFormerOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=8e-4, weight_decay=0.05),
    paramwise_cfg=dict(backbone_lr_mult=0.3),
    clip_grad=dict(max_norm=1.0),
)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=400, save_best=None))
randomness = dict(seed=0)
