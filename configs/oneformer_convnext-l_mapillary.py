_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_convnext-l.py',
    '_base_/datasets/mapillary_panoptic.py',
    '_base_/schedule_poly_300k.py',
]
model = dict(metainfo=_base_.metainfo)
