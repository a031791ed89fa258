# An encoder-only model but for its backbone: queries join the patches in the last blocks of a ViT.
# The files beside it add one, with its channels, and how long its masks are kept in training.
model = dict(
    type='OneFormer',
    data_preprocessor=dict(
        type='OneFormerDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(type='JointViT', patch_size=16, num_joint_blocks=3),
    panoptic_head=dict(
        type='OneFormerViTHead',
        num_queries=200,
        num_upscale=2,
        task_queries=dict(),
        # EoMT's steps for COCO with a ViT-B, as fractions of training: a sixth of it for each block
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (5 / 12, 7 / 12), (2 / 3, 5 / 6)], power=0.9),
    ),
    criterion=dict(
        type='SetCriterion',
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=12544,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
    ),
    text_mapper=dict(type='TextMapper', num_context=16, embed_dims=256, num_layers=6),
    contrastive_loss=dict(type='QueryTextContrastiveLoss', temperature=0.07, loss_weight=0.5),
    test_cfg=dict(
        tasks=('panoptic', 'instance', 'semantic'),
        object_mask_thr=0.8,
        iou_thr=0.8,
        max_per_image=None,  # as many as queries, and at least 100
    ),
)
