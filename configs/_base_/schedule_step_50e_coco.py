# COCO: 50 epochs of 118k photos in batches of 16, two steps down.
_base_ = 'optimizer.py'
max_iters = 368750
param_scheduler = dict(
    type='MultiStepLR',
    gamma=0.1,
    milestones=[327778, 355092],
    begin=0,
    end=max_iters,
    by_epoch=False,
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
