# `oneformer study contrastive-memory`: the quick start, shorter, one image at a time. Texts teach
# nothing: an image alone has no other to be told from.
_base_ = '../oneformer_efficientnet-lite0_quickstart.py'
data_root = 'data/contrastive-memory/'
work_dir = 'work_dirs/contrastive-memory_without'
train_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_iters=1000)
