# `tools/study.py contrastive-memory`: the quick start, shorter, one image at a time. Texts teach
# nothing: an image alone has no other to be told from.
_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
data_root = 'data/contrastive-memory/'
work_dir = 'work_dirs/contrastive-memory_without'
train_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=3e-4))
max_iters = 1000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters + 1)
