# The original's: mixed precision, norms and embeddings undecayed, the backbone ten times slower. No
# clip_grad, since the clip of 0.01 that the original sets never takes effect. On a GPU the
# optimizer is fused; optimizer=dict(foreach=True) for torch's own choice.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='OneFormerOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    paramwise_cfg=dict(backbone_lr_mult=0.1),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
