"""Small models of every kind of backbone, head and pixel decoder, with random weights."""

import torch
from dinat_peer import TINY
from test_backbones import CONVNEXT
from test_backbones import SWIN as SMALL_SWIN
from toy_model import build, toy_config

RESNET = dict(type='ResNet', depth=18, base_channels=4, stem_channels=8, style='pytorch')
# attention of the last block is shifted, in a map of one window or of several
SWIN = dict(SMALL_SWIN, depths=(1, 1, 1, 2))
DINAT = dict(TINY, depths=[1, 1, 1, 1], dilations=[[5], [2], [3], [1]])
VIT = dict(embed_dims=48, depth=3, num_heads=4)
PYRAMID = [32, 32, 32, 32]
TIMM = dict(type='TimmBackbone', model_name='convnextv2_atto')
IDENTITY = dict(type='IdentityPixelDecoder', norm_cfg=dict(type='GN', num_groups=8))
# backbone, None for the quick start's; channels of its maps; whether there is no pixel decoder
BACKBONES = {
    'EfficientNet-Lite': (None, None, False),
    'ResNet': (RESNET, [4, 8, 16, 32], True),
    'Swin': (SWIN, [8, 16, 32, 64], False),
    'ConvNeXt': (CONVNEXT, [8, 16, 32, 64], True),
    'DiNAT': (DINAT, [16, 32, 64, 128], False),
    'DINOv2': (dict(type='PlainViT', arch='dinov2_s_reg4', out_channels=32, **VIT), PYRAMID, True),
    'DINOv3': (dict(type='PlainViT', arch='dinov3_s', out_channels=32, **VIT), PYRAMID, True),
    'timm': (TIMM, [40, 80, 160, 320], True),
}
# of weights with which no mask logit is so near 0 that rounding decides who looks at a pixel
SEEDS = {'DINOv2': 4}
ENCODER_ONLY = {
    'encoder-only DINOv2': 'dinov2_s',
    'encoder-only DINOv3': 'dinov3_s',
    'shared patches': 'dinov3_s',
    'EoMT': 'dinov2_s_reg4',
}


def _config(config_dir, tiny_set, name):
    cfg = toy_config(config_dir, tiny_set).model
    for training in ('text_mapper', 'contrastive_loss', 'criterion'):
        cfg[training] = None
    if name in BACKBONES:
        backbone, channels, has_no_decoder = BACKBONES[name]
        if backbone is None:
            cfg.backbone.pretrained = True  # of random weights its maps are nearly constant
        else:
            cfg.backbone, cfg.panoptic_head.in_channels = backbone, channels
        if has_no_decoder:
            cfg.panoptic_head.pixel_decoder = IDENTITY
            cfg.panoptic_head.transformer_decoder.num_layers = 3
        return cfg
    arch = ENCODER_ONLY[name]
    cfg.backbone = dict(type='JointViT', arch=arch, num_joint_blocks=2, patch_size=16, **VIT)
    cfg.panoptic_head = dict(
        type='OneFormerViTHead',
        embed_dims=48,
        num_queries=12,
        shared_patches=name == 'shared patches',
    )
    if name == 'EoMT':
        cfg.panoptic_head['task_queries'] = None
    return cfg


def small_model(config_dir, tiny_set, name):
    """A model of a key of ``BACKBONES`` or of ``ENCODER_ONLY``; no two weights are the same."""
    model = build(_config(config_dir, tiny_set, name))
    generator = torch.Generator().manual_seed(SEEDS.get(name, 3))
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            is_kept = key.endswith('running_var') or getattr(model.backbone, 'pretrained', False)
            if is_kept and key.startswith('backbone.') or not tensor.is_floating_point():
                continue
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    return model.eval()
