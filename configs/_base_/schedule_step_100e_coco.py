# COCO, large backbones: 100 epochs. DiNAT takes its second step at 710184.
_base_ = 'schedule_step_50e_coco.py'
param_scheduler = dict(steps=[655556, 735184], of=737500)
train_cfg = dict(max_iters=737500)
