# COCO's things in squares of 1280 pixels, scaled by 0.1 to 2; test images fit into such a square.
_base_ = 'coco_instance_lsj-640.py'
size = 1280
sizes = dict(LargeScaleJitter=dict(size=size))
test_sizes = dict(ResizeShortEdge=dict(short_edges=[size], max_size=size))
train_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **test_sizes.get(step.type, {})} for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta = dict(short_edges=[640, 960, 1280, 1600, 1920], max_size=2560)
