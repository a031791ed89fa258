# COCO: 50 epochs of 118k images in batches of 16, two steps down, which move in
# proportion where train_cfg.max_iters is another.
_base_ = 'optimizer.py'
param_scheduler = dict(
    type='WholeRunMultiStepLR',
    gamma=0.1,
    steps=[327778, 355092],
    of=368750,
    by_epoch=False,
)
train_cfg = dict(type='OneFormerTrainLoop', max_iters=368750, val_interval=5000)
