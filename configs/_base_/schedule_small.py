# For small models on a CPU. Configs add train_cfg.max_iters, which the schedule follows: a warm-up,
# and a polynomial decay over the rest. Validation at the end alone.
_base_ = 'optimizer.py'
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=8e-4),
    paramwise_cfg=dict(backbone_lr_mult=0.3),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = dict(type='WholeRunPolyLR', power=0.9, warmup=50, by_epoch=False)
train_cfg = dict(type='OneFormerTrainLoop', val_interval=None)
