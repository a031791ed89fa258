_base_ = '../_base_/your_data_cpu.py'
names = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))
# what oneformer check recommends for your images; all else follows
max_iters = 1000  # length of training in iterations, a batch each
image_size = 480  # short edge in pixels that images are resized to
crop_size = 256  # side in pixels of the squares that training cuts out, and prediction looks at
batch_size = 3  # squares of an iteration; the learning rate follows
val_interval = 500  # iterations between validations; the best weights are kept
num_queries = 30  # objects and regions that can be found in an image

data = dict(_delete_=True, type='InstanceDataset', metainfo=names, data_root='data/mine/')
train = dict(ann_file='train.json', data_prefix=dict(img='train/'))
val = dict(ann_file='val.json', data_prefix=dict(img='val/'), test_mode=True)
work_dir = 'work_dirs/my_instance'

model = dict(
    metainfo=dict(_delete_=True, **names),
    panoptic_head=dict(num_queries=num_queries),
    test_cfg=dict(window=dict(size=crop_size, overlap=64), tasks=('instance',)),
)
scales, square = [image_size * k // 10 for k in range(8, 13)], (crop_size, crop_size)
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
val_evaluator = test_evaluator = [dict(type='InstanceAP')]
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(checkpoint=dict(interval=val_interval))
