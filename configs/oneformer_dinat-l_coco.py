_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/oneformer_dinat-l.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedule_step_100e_coco.py',
]
model = dict(
    metainfo=_base_.metainfo,
    panoptic_head=dict(num_queries=150),
)
param_scheduler = dict(steps=[655556, 710184])
optim_wrapper = dict(type='OptimWrapper')  # the original trains it in float32
