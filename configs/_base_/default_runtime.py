default_scope = 'mmdet'
custom_imports = dict(imports=['oneformer'], allow_failed_imports=False)

default_hooks = dict(
    # losses leave the GPU when a line of the log needs them; type='RuntimeInfoHook' for mmengine's
    runtime_info=dict(type='LateRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    # figures of validation stand at their iteration in TensorBoard and others
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='ResumableCheckpointHook',
        by_epoch=False,
        interval=5000,
        max_keep_ckpts=3,
        save_best='auto',  # PQ, or else the first number of the metrics
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='OneFormerVisualizationHook'),
    weights=dict(type='ReuseWeights'),
    finite_steps=dict(type='FiniteSteps'),
    task_statistics=dict(type='TaskStatistics'),
    mask_annealing=dict(type='MaskAnnealingHook'),  # of models that have it
    stop=dict(type='StopOnSignal'),
    banner=dict(type='StartBanner'),
    pace=dict(type='PaceLine'),
    validation_notice=dict(type='ValidationNotice'),
    curves=dict(type='TrainingCurves'),  # curves.png; curves=None for none
)
# type='LogProcessor' brings mmengine's lines, and the whole start on the screen
log_processor = dict(
    type='ReadableLog',
    window_size=50,
    by_epoch=False,
    mean_pattern=r'loss|time|grad_norm|task_share|task_targets',
)
log_level = 'INFO'

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='OneFormerVisualizer', vis_backends=vis_backends, name='visualizer')

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # seconds: while the first process scores, the others wait
    dist_cfg=dict(backend='nccl', timeout=1800),
)
# each process draws its own points, dropout and augmentation, as in the original
randomness = dict(seed=None, diff_rank_seed=True)
model_wrapper_cfg = dict(type='OneFormerDistributedDataParallel', broadcast_buffers=False)
load_from = None
resume = False

# one pass over the images predicts all tasks, each under its own task token
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP'),
    dict(type='SemanticIoU'),
]
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
