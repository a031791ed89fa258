# `oneformer study vit`: the vision transformer of vit_decoder.py, its last blocks with the queries.
_base_ = 'vit_decoder.py'
work_dir = 'work_dirs/vit_encoder-only'
model = dict(
    backbone=dict(
        _delete_=True,
        type='JointViT',
        arch='dinov3_s',
        patch_size=16,
        embed_dims=192,
        depth=8,
        num_heads=3,
        num_joint_blocks=3,
    ),
    panoptic_head=dict(
        _delete_=True,
        type='OneFormerViTHead',
        embed_dims=192,
        num_queries=30,
        mask_annealing=dict(spans=[(1 / 6, 1 / 3), (5 / 12, 7 / 12), (2 / 3, 5 / 6)]),
    ),
    text_mapper=dict(embed_dims=64),
)
