# For small models on a CPU. Configs add max_iters, param_scheduler and train_cfg.
_base_ = 'optimizer.py'
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=8e-4),
    paramwise_cfg=dict(backbone_lr_mult=0.3),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=8)
