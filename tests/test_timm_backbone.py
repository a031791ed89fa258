"""Any backbone of timm: maps, options, files, and what cannot be one."""

import pytest
import torch
from mmdet.registry import MODELS

# a model of each kind of extractor that timm has, as small as they go
SMALL = {
    'test_convnext2.r160_in1k': {},
    'test_efficientnet': {},
    'test_resnet': {},
    'swin_tiny_patch4_window7_224': dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4)),
    'maxvit_rmlp_pico_rw_256': {},
}


def config(name, **options):
    return dict(type='TimmBackbone', model_name=name, model_args=SMALL.get(name), **options)


def built(name, **options):
    torch.manual_seed(0)
    return MODELS.build(config(name, **options))


def images(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('name', SMALL)
def test_a_model_gives_its_four_maps(name):
    backbone = built(name).eval()
    size = (256, 256) if name.startswith('maxvit') else (96, 160)
    with torch.no_grad():
        maps = backbone(images(*size))
    assert [tuple(x.shape[2:]) for x in maps] == [
        (size[0] // stride, size[1] // stride) for stride in (4, 8, 16, 32)
    ]
    assert [x.shape[1] for x in maps] == backbone.out_channels
    backbone.train()
    sum(x.sum() for x in backbone(images(*size))).backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)
