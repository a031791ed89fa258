# Mapillary Vistas with all three tasks, each as often as on the other datasets.
_base_ = 'mapillary_panoptic.py'
sample_task = dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34))
train_pipeline = [
    sample_task if step.type == 'SampleTask' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
