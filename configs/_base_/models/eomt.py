# EoMT (Kerssies et al., CVPR 2025) as its authors trained it: one task for each model, no task
# token, no masks when it predicts. The files in vit/ are those of published weights.
_base_ = 'oneformer-vit.py'
model = dict(
    data_preprocessor=dict(pads_black=True),  # before the images are normalised
    panoptic_head=dict(task_queries=None),
    text_mapper=None,
    contrastive_loss=None,
)
