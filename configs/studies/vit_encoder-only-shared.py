# `oneformer study vit`: as vit_encoder-only.py, with patches that all tasks share.
_base_ = 'vit_encoder-only.py'
work_dir = 'work_dirs/vit_encoder-only-shared'
model = dict(panoptic_head=dict(shared_patches=True))
