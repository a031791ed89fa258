_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_r50-syncbn.py',
    '_base_/datasets/cityscapes_panoptic.py',
    '_base_/schedule_poly_90k.py',
]
model = dict(metainfo=_base_.metainfo)
