# load_from: what oneformer_dinat-l_coco.py trains, or the original's
# 150_16_dinat_l_oneformer_coco_100ep.pth, converted.
_base_ = 'oneformer_dinat-l_ade20k-1280.py'
load_from = 'checkpoints/oneformer_dinat-l_coco.pth'
model = dict(
    backbone=dict(init_cfg=None),
    panoptic_head=dict(num_queries=150),
)
