# As schedule_vit.py, with the rate and the warm-ups that EoMT has for DINOv3.
_base_ = 'schedule_vit.py'
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = dict(warmup=2000, backbone_warmup=3000)
