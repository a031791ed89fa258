# The original calls it so, but starts from ImageNet; what it trains is the start of
# oneformer_convnext-xl_mapillary-pre_cityscapes.py.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_convnext-xl.py',
    '_base_/datasets/mapillary_panoptic_three-tasks.py',
    '_base_/schedule_poly_300k.py',
]
model = dict(metainfo=_base_.metainfo)
