# EoMT's recipe: 12 epochs of COCO in batches of 16, each block of the backbone slower than the next
# one, first the heads warmed up and then the backbone. lr is that of DINOv2's models.
_base_ = 'optimizer.py'
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    # 1.25: the last block has the rate of the heads, as there
    paramwise_cfg=dict(layer_decay=0.8, backbone_lr_mult=1.25),
)
param_scheduler = dict(type='TwoStagePolyLR', warmup=500, backbone_warmup=1000, by_epoch=False)
train_cfg = dict(type='OneFormerTrainLoop', max_iters=88692, val_interval=7391)
