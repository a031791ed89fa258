# ADE20K in crops of 1280 pixels; the rest is as in crops of 640.
_base_ = 'ade20k_panoptic.py'
crop = 1280
short_edges = [int(x * 0.1 * crop) for x in range(5, 21)]
sizes = dict(
    ResizeShortEdge=dict(short_edges=short_edges, max_size=4 * crop),
    RandomCrop=dict(crop_size=(crop, crop)),
    Pad=dict(size=(crop, crop)),
)
test_sizes = dict(ResizeShortEdge=dict(short_edges=[crop], max_size=4 * crop))
train_pipeline = [{**step, **sizes.get(step.type, {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **test_sizes.get(step.type, {})} for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta = dict(
    short_edges=[int(x * crop) for x in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)],
    max_size=7 * crop,
)
