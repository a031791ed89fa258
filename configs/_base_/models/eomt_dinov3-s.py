# EoMT, for one task: no task token and no texts; images are padded before they are normalised.
_base_ = 'oneformer-vit_dinov3-s.py'
model = dict(
    data_preprocessor=dict(pads_black=True),
    panoptic_head=dict(task_queries=None),
    text_mapper=None,
    contrastive_loss=None,
    test_cfg=dict(tasks=('panoptic',)),
)
