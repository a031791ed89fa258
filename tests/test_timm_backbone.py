"""Any backbone of timm: maps, options, files, and what cannot be one."""

import json
import re
import socket
import sys

import pytest
import torch
from mmdet.registry import MODELS
from safetensors.torch import save_file
from torch import nn
from toy_model import toy_config, train

from oneformer.host.errors import CheckpointError
from oneformer.weights.architecture import backbone_config
from oneformer.weights.meta_models import meta_model
from oneformer.weights.shapes import shapes_of

# a model of each way in which timm extracts maps, as small as they go
SWIN = 'swin_tiny_patch4_window7_224'
SMALL = {
    'test_convnext2.r160_in1k': {},
    'test_efficientnet': {},
    'test_resnet': {},
    SWIN: dict(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4)),
}
CONVNEXT = 'test_convnext2.r160_in1k'


def config(name, **options):
    options.setdefault('model_args', SMALL.get(name))
    return dict(type='TimmBackbone', model_name=name, **options)


def built(name, **options):
    torch.manual_seed(0)
    return MODELS.build(config(name, **options))


def whole(name):
    """timm's own model, with its classifier and other values than any initialisation gives."""
    import timm

    any_size = dict(strict_img_size=False) if name == SWIN else {}
    model = timm.create_model(name, pretrained=False, **SMALL.get(name, {}), **any_size)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def images(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def initialised(name, path, **options):
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(path))
    backbone = built(name, init_cfg=init_cfg, **options)
    backbone.init_weights()
    return backbone.eval()


def assert_maps_of(backbone, model):
    """The maps are those of timm's extractor around its own model."""
    x = images(96, 160)
    with torch.no_grad():
        maps = backbone(x)
        expected = model.forward_intermediates(x, intermediates_only=True)[-4:]
    for ours, theirs in zip(maps, expected, strict=True):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', SMALL)
def test_a_model_gives_its_four_maps_and_reads_timms_file(tmp_path, name):
    model = whole(name)
    torch.save(model.state_dict(), tmp_path / 'timm.pth')
    backbone = initialised(name, tmp_path / 'timm.pth')
    maps = backbone(images(96, 160))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 96 // stride, 160 // stride)
        for channels, stride in zip(backbone.out_channels, (4, 8, 16, 32), strict=True)
    ]
    assert_maps_of(backbone, model)
    backbone.train()
    sum(x.sum() for x in backbone(images(96, 160))).backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)


def authors_names(tensors):
    """ConvNeXt V2 as its authors wrote it."""
    pairs = [
        (r'^stem\.', 'downsample_layers.0.'),
        (r'^stages\.(\d)\.downsample', r'downsample_layers.\1'),
        (r'^stages\.(\d)\.blocks\.', r'stages.\1.'),
        ('conv_dw', 'dwconv'),
        (r'mlp\.fc(\d)', r'pwconv\1'),
        (r'mlp\.grn\.weight', 'grn.gamma'),
        (r'mlp\.grn\.bias', 'grn.beta'),
        (r'^head\.norm', 'norm'),
        (r'^head\.fc', 'head'),
    ]
    renamed = {}
    for key, value in tensors.items():
        for pattern, name in pairs:
            key = re.sub(pattern, name, key)
        renamed[key] = value.reshape(1, 1, 1, -1) if 'grn.' in key else value
    return renamed


def test_files_of_the_authors_and_folders_of_the_hub_are_read_as_timm_reads_them(tmp_path):
    model = whole(CONVNEXT)
    torch.save(dict(model=authors_names(model.state_dict())), tmp_path / 'authors.pth')
    assert_maps_of(initialised(CONVNEXT, tmp_path / 'authors.pth'), model)
    folder = tmp_path / 'hub'
    folder.mkdir()
    save_file(model.state_dict(), folder / 'model.safetensors')
    statistics = dict(mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])
    config = dict(architecture='test_convnext2', pretrained_cfg=statistics)
    (folder / 'config.json').write_text(json.dumps(config))
    backbone = initialised(CONVNEXT, folder)
    assert_maps_of(backbone, model)
    assert (backbone.mean[0], backbone.std[0]) == (127.5, 63.75)  # what the folder says
    ours = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    ours['panoptic_head.query_embed.weight'] = torch.ones(1)
    torch.save(dict(state_dict=ours, meta={}), tmp_path / 'ours.pth')
    assert_maps_of(initialised(CONVNEXT, tmp_path / 'ours.pth'), model)


def test_models_that_initialise_themselves_keep_what_was_loaded(tmp_path):
    tensors = whole('test_resnet').state_dict()
    torch.save(tensors, tmp_path / 'x.pth')
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(tmp_path / 'x.pth'))
    backbone = built('test_resnet', init_cfg=init_cfg)
    # as HRNet's, which mmengine would call after it has loaded the weights
    backbone.net.init_weights = lambda: nn.init.zeros_(next(backbone.net.parameters()))
    backbone.init_weights()
    key = next(name for name, _ in backbone.net.named_parameters())
    assert backbone.state_dict()[f'net.{key}'].any()


@pytest.mark.parametrize('name', SMALL)
def test_each_tensor_that_is_missing_or_too_many_is_named(name):
    tensors, backbone = whole(name).state_dict(), built(name)
    _, unused = backbone.translate(tensors)
    assert unused and all(key in tensors for key in unused)
    needed = [key for key in tensors if key not in unused and 'num_batches' not in key]
    for key in (needed[0], needed[len(needed) // 2], needed[-1]):
        rest = {name: value for name, value in tensors.items() if name != key}
        with pytest.raises(ValueError, match=rf'missing \(1\):\n  {re.escape(key)}$'):
            backbone.translate(rest)
        with pytest.raises(ValueError, match=rf'unknown \(1\):\n  {re.escape(key)}_more$'):
            backbone.translate({**tensors, f'{key}_more': tensors[key]})
    shape = rf'wrong shape \(1\):\n  {re.escape(needed[-1])}: \(7, 7\), expected'
    with pytest.raises(ValueError, match=shape):
        backbone.translate({**tensors, needed[-1]: torch.ones(7, 7)})


def test_a_broken_file_is_refused_with_the_file_and_a_remedy(tmp_path):
    torch.save({'a.weight': torch.ones(1)}, tmp_path / 'x.pth')
    with pytest.raises(
        CheckpointError,
        match=r'(?s)x\.pth cannot be loaded into TimmBackbone.*'
        r'as test_resnet of timm:\nmissing.*unknown \(1\):\n  a\.weight.*Start from',
    ):
        initialised('test_resnet', tmp_path / 'x.pth')


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('vit_tiny_patch16_224', {}, 'strides 16, but none of 4, 8, 32.*convnextv2_base.*PlainViT'),
        ('vit_base_patch16_dinov3', {}, "one stride, and.*type='PlainViT', arch='dinov3_b'"),
        ('test_mlp_mixer', {}, 'is not among the models.*similar are'),
        ('convnextv2_bse', {}, 'similar are convnextv2_base'),
        ('hf-hub:timm/test_resnet', {}, 'is a place: give the name.*checkpoint=PLACE'),
        ('test_resnet', dict(model_args=dict(windows=7)), "options: windows.*'windows'"),
        (
            'test_resnet',
            dict(model_args=dict(checkpoint_path='x.pth')),
            'has checkpoint_path, which',
        ),
        ('vgg11', dict(drop_path_rate=0.1), 'options: drop_path_rate'),
        ('test_resnet', dict(frozen_stages=5), 'frozen_stages=5 has to be 0 to 4'),
    ],
)
def test_what_cannot_be_a_backbone_says_why_and_what_fits(name, options, message):
    with pytest.raises(ValueError, match=message):
        built(name, **options)


def test_models_of_one_size_say_so_for_others():
    strict = dict(SMALL[SWIN], strict_img_size=True)
    backbone = built(SWIN, model_args=strict, img_size=(64, 96), norm_eval=True)
    assert backbone(images(64, 96))[3].shape[2:] == (2, 3)
    with pytest.raises(ValueError, match='96x64 pixels.*set model.backbone.img_size'):
        backbone(images(96, 64))


@pytest.mark.parametrize(('name', 'stages'), [(CONVNEXT, 2), ('test_resnet', 1), (SWIN, 4)])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(name, stages):
    backbone = built(name, frozen_stages=stages).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    maps = backbone(images(64, 64))
    assert [x.requires_grad for x in maps] == [n >= stages for n in range(4)]
    if stages < 4:
        sum(x.sum() for x in maps).backward()
    with_gradient = [n for n, p in backbone.named_parameters() if p.grad is not None]
    trained = [n for n, p in backbone.named_parameters() if p.requires_grad]
    assert with_gradient == trained and bool(trained) == (stages < 4)
    changed = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    frozen = {n.rpartition('.')[0] for n, p in backbone.named_parameters() if not p.requires_grad}
    assert not {key.rpartition('.')[0] for key in changed} & frozen
    assert bool(changed) == (name == 'test_resnet')  # batch norms of the others stages


@pytest.mark.parametrize('name', [CONVNEXT, SWIN])
def test_checkpointing_gives_the_same_gradients(name):
    gradients = []
    for with_cp in (False, True):
        backbone = built(name, with_cp=with_cp, drop_path_rate=0.5).train()
        torch.manual_seed(3)
        sum(x.square().sum() for x in backbone(images(64, 64))).backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters() if p.requires_grad})
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, msg=key)


def test_statistics_are_those_of_the_weights_that_a_tag_names():
    import timm

    convnext, efficientnet = built(CONVNEXT), built('test_efficientnet.r160_in1k')
    assert (convnext.mean, convnext.std) == ((127.5,) * 3, (127.5,) * 3)
    assert efficientnet.mean == (123.675, 116.28, 103.53)
    assert convnext.licence == timm.get_pretrained_cfg(CONVNEXT).license


def test_nothing_is_asked_of_a_network_and_timm_is_named_where_it_is_missing(monkeypatch):
    def refuse(*_):
        raise AssertionError('a connection')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    built('test_resnet').init_weights()
    monkeypatch.setitem(sys.modules, 'timm', None)
    for kind in (config('test_resnet'), dict(type='PlainViT', arch='dinov2_s')):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "oneformer\[timm\]"$'):
            MODELS.build(kind)


def test_a_oneformer_trains_on_it_and_its_checkpoint_tells_the_model(config_dir, tiny_set):
    cfg = toy_config(config_dir, tiny_set)
    cfg.model.backbone = config(CONVNEXT, drop_path_rate=0.1)
    cfg.model.panoptic_head.in_channels = built(CONVNEXT).out_channels
    losses = train(cfg, torch.float32, 2)
    assert losses.isfinite().all()
    model = MODELS.build(cfg.model)
    shapes = shapes_of(model.state_dict())
    hostile = dict(init_cfg=dict(type='PretrainedBackbone', checkpoint='https://host/x.pth'))
    told = backbone_config(shapes, {**model.backbone.not_in_weights, **hostile})
    assert told == dict(type='TimmBackbone', model_name=CONVNEXT)
    again = meta_model(told).state_dict()
    assert shapes_of(again) == shapes_of(model.backbone.state_dict())
