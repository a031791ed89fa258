# EoMT, for one task: no task token and no texts.
_base_ = 'oneformer-vit_dinov3-l.py'
model = dict(
    panoptic_head=dict(task_queries=None),
    text_mapper=None,
    contrastive_loss=None,
    test_cfg=dict(tasks=('panoptic',)),
)
