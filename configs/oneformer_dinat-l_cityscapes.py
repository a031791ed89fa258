_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_dinat-l-k7.py',
    '_base_/datasets/cityscapes_panoptic.py',
    '_base_/schedule_poly_90k.py',
]
model = dict(metainfo=_base_.metainfo)
optim_wrapper = dict(type='OptimWrapper')  # the original trains it in float32
