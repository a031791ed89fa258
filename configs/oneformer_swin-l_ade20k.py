_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_swin-l.py',
    '_base_/datasets/ade20k_panoptic.py',
    '_base_/schedule_poly_160k.py',
]
model = dict(metainfo=_base_.metainfo, test_cfg=dict(object_mask_thr=0.5))
