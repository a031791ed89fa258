# Mapillary Vistas: 300k iterations of 16 images, polynomial decay without warm-up.
_base_ = 'optimizer.py'
# The schedule follows train_cfg.max_iters.
param_scheduler = dict(type='WholeRunPolyLR', power=0.9, by_epoch=False)
train_cfg = dict(type='OneFormerTrainLoop', max_iters=300000, val_interval=30000)
