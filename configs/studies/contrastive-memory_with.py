# `oneformer study contrastive-memory`: each image is told from the last 64 ones.
_base_ = 'contrastive-memory_without.py'
work_dir = 'work_dirs/contrastive-memory_with'
model = dict(contrastive_loss=dict(memory=64))
