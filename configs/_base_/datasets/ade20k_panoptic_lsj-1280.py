# ADE20K with large-scale jitter, 0.1 to 2, in squares of 1280 pixels; the rest is the same.
_base_ = 'ade20k_panoptic_1280.py'
size = 1280
jitter = dict(type='LargeScaleJitter', size=size, scale_range=(0.1, 2.0))
replaced = ('ResizeShortEdge', 'RandomCrop', 'Pad')
kept = [step for step in _base_.train_pipeline if step.type not in replaced]
train_pipeline = [*kept[:-2], jitter, *kept[-2:]]  # before the task is drawn
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
