"""Small models of every kind of backbone, head and pixel decoder, with random weights."""

import torch
from dinat_peer import TINY
from test_backbones import CONVNEXT, RESNET, SWIN
from toy_model import build, toy_config

VIT = dict(embed_dims=48, depth=4, num_heads=4)
PYRAMID = [32, 32, 32, 32]
TIMM = dict(type='TimmBackbone', model_name='convnextv2_atto')
IDENTITY = dict(type='IdentityPixelDecoder', norm_cfg=dict(type='GN', num_groups=8))
# backbone and channels of its maps; None is the quick start's
BACKBONES = {
    'EfficientNet-Lite': None,
    'ResNet': (RESNET, [16, 32, 64, 128]),
    'Swin': (SWIN, [8, 16, 32, 64]),
    'ConvNeXt': (CONVNEXT, [8, 16, 32, 64]),
    'DiNAT': (TINY, [16, 32, 64, 128]),
    'DINOv2': (dict(type='PlainViT', arch='dinov2_s', out_channels=32, **VIT), PYRAMID),
    'DINOv2 with registers': (
        dict(type='PlainViT', arch='dinov2_s_reg4', out_channels=32, **VIT),
        PYRAMID,
    ),
    'DINOv3': (dict(type='PlainViT', arch='dinov3_s', out_channels=32, **VIT), PYRAMID),
    'timm': (TIMM, [40, 80, 160, 320]),
}
ENCODER_ONLY = ('dinov2_s', 'dinov3_s')
OTHERS = (
    'without deformable attention',
    *(f'encoder-only {arch}' for arch in ENCODER_ONLY),
    'shared patches',
    'EoMT',
)


def _config(config_dir, tiny_set, name):
    cfg = toy_config(config_dir, tiny_set).model
    for training in ('text_mapper', 'contrastive_loss', 'criterion'):
        cfg[training] = None
    if BACKBONES.get(name):
        backbone, channels = BACKBONES[name]
        cfg.backbone, cfg.panoptic_head.in_channels = backbone, channels
    if name == 'without deformable attention':
        cfg.panoptic_head.pixel_decoder = IDENTITY
        cfg.panoptic_head.transformer_decoder.num_layers = 3
    if name in OTHERS[1:]:
        arch = name.split()[1] if 'encoder-only' in name else 'dinov3_s'
        cfg.backbone = dict(type='JointViT', arch=arch, num_joint_blocks=2, **VIT, patch_size=16)
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
    """A model of a key of ``BACKBONES`` or of ``OTHERS``; no two weights are the same."""
    model = build(_config(config_dir, tiny_set, name))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.numel() and not key.endswith('running_var'):
                tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    return model.eval()
