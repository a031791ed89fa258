_base_ = '../_base_/your_data_r50.py'
names = dict(classes=('cat', 'dog', 'grass', 'sky'), thing_classes=('cat', 'dog'))
# what oneformer check recommends for your images; all else follows
max_iters = 5000  # length of training in iterations, a batch each
image_size = 512  # short edge in pixels that images are resized to
crop_size = 512  # side in pixels of the squares that training cuts out
batch_size = 8  # squares of an iteration; the learning rate follows
val_interval = 500  # iterations between validations; the best weights are kept
num_queries = 150  # objects and regions that can be found in an image
# weights to start from, see docs/your_data.md; None: ImageNet
load_from = None

data = dict(_delete_=True, type='SemanticDataset', metainfo=names, data_root='data/mine/')
train = dict(data_prefix=dict(img='train/', seg='train_labels/'))
val = dict(data_prefix=dict(img='val/', seg='val_labels/'), test_mode=True)
work_dir = 'work_dirs/my_semantic_gpu'

model = dict(
    metainfo=dict(_delete_=True, **names),
    panoptic_head=dict(num_queries=num_queries),
    test_cfg=dict(tasks=('semantic',)),
)
scales, square = [image_size * k // 10 for k in range(5, 21)], (crop_size, crop_size)
sizes = dict(
    ResizeShortEdge=dict(short_edges=scales, max_size=4 * image_size),
    RandomCrop=dict(crop_size=square),
    Pad=dict(size=square),
    LargeScaleJitter=dict(size=crop_size),
)
test_sizes = dict(ResizeShortEdge=dict(short_edges=[image_size], max_size=4 * image_size))
train_pipeline = [{**step, **sizes.get(step['type'], {})} for step in _base_.train_pipeline]
test_pipeline = [{**step, **test_sizes.get(step['type'], {})} for step in _base_.test_pipeline]
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(**data, **train, pipeline=train_pipeline)
)
val_dataloader = test_dataloader = dict(dataset=dict(**data, **val, pipeline=test_pipeline))
val_evaluator = test_evaluator = [dict(type='SemanticIoU')]
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(checkpoint=dict(interval=val_interval))
