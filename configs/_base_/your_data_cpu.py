# For labels of your own on a CPU (configs/your_data): the small model, squares cut out of images
# large enough for small things, validations along the way. Sizes and lengths are the config's.
_base_ = [
    'default_runtime.py',
    'models/oneformer_efficientnet-lite0_small.py',
    'datasets/small_panoptic.py',
    'schedule_small.py',
]
# the stem and the stages up to stride 4 stay as ImageNet left them, which saves a third of the time
model = dict(
    metainfo=dict(),  # the config's
    backbone=dict(frozen_stages=3),
    criterion=dict(num_points=4096),  # as many as a square of 256 pixels has at stride 4
    test_cfg=dict(object_mask_thr=0.3),  # after a short training scores are low
)
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='ResizeShortEdge'),
    dict(type='RandomCrop', allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', pad_val=dict(img=(128, 128, 128), seg=0)),
    # mostly the tasks that tell objects apart
    dict(type='SampleTask', probs=dict(panoptic=0.45, instance=0.45, semantic=0.1)),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge'),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=20))
auto_scale_lr = dict(enable=True, base_batch_size=3)
