# What the original trains on Cityscapes and Mapillary Vistas.
_base_ = 'oneformer_r50.py'
model = dict(backbone=dict(norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False))
