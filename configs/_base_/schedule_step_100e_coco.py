# COCO, large backbones: 100 epochs. DiNAT takes its second step at 710184.
_base_ = 'schedule_step_50e_coco.py'
max_iters = 737500
param_scheduler = dict(milestones=[655556, 735184], end=max_iters)
train_cfg = dict(max_iters=max_iters)
