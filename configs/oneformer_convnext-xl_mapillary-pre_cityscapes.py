# load_from: what oneformer_convnext-xl_cityscapes-pre_mapillary.py trains, or the original's
# mapillary_pretrain_250_16_convnext_xl_oneformer_mapillary_300k.pth, converted.
_base_ = 'oneformer_convnext-xl_cityscapes.py'
load_from = 'checkpoints/oneformer_convnext-xl_cityscapes-pre_mapillary.pth'
model = dict(backbone=dict(init_cfg=None))
