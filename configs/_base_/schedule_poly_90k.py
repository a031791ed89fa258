# Cityscapes: 90k iterations of 16 images, polynomial decay without warm-up.
_base_ = 'optimizer.py'
max_iters = 90000
param_scheduler = dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=max_iters, by_epoch=False)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
