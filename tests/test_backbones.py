"""Backbones: ImageNet weights in the formats people have, features against their own libraries."""

import argparse
import io
import json
import logging
import os
import pickle
import re

import pytest
import torch
from converting import convert
from dinat_peer import TINY, over_slow_loops, tiny_peer_config
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import nn
from weight_server import WeightServer

from oneformer.host.errors import CheckpointError
from oneformer.kernels import chunks as chunks

RESNET = dict(type='ResNet', depth=50, base_channels=4, stem_channels=8, style='pytorch')
SWIN = dict(
    type='OneFormerSwinTransformer',
    embed_dims=8,
    depths=(1, 2, 1, 1),
    num_heads=(1, 2, 2, 4),
    window_size=4,
    drop_path_rate=0.0,
)
CONVNEXT = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[1, 2, 1, 1], channels=[8, 16, 32, 64]),
    out_indices=[0, 1, 2, 3],
    layer_scale_init_value=1.0,
    gap_before_final_norm=False,
)
OUTPUT_NORM = re.compile(r'norm\d\.')


def randomised(module):
    """The module with other values than any initialisation gives, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator) * 0.3
            tensor.copy_(noise.abs() + 0.5 if 'running_var' in name else noise)
    module.eval()  # which returns nothing in OpenMMLab's own backbones
    return module


def trained(config):
    """Tensors of one of our backbones without its output norms, as after ImageNet."""
    tensors = randomised(MODELS.build(config)).state_dict()
    return {k: v for k, v in tensors.items() if not OUTPUT_NORM.match(k)}


def renamed(tensors, pairs, **more):
    """Tensors under other names, by patterns in turn, with more of them beside."""
    result = {}
    for key, tensor in tensors.items():
        for pattern, replacement in pairs:
            key = re.sub(pattern, replacement, key)
        result[key] = tensor
    return result | {key.replace('__', '.'): value for key, value in more.items()}


def stacked(tensor):
    """Swin's step down with the four pixels one after another, as all but OpenMMLab have it."""
    pixels = tensor.unflatten(-1, (-1, 2, 2))  # channel, row, column
    return pixels.transpose(-1, -2).movedim(-3, -1).flatten(-3)


def microsoft_swin():
    tensors = trained(SWIN)
    tensors = {k: stacked(v) if 'downsample' in k else v for k, v in tensors.items()}
    pairs = [
        ('^stages', 'layers'),
        (r'attn\.w_msa', 'attn'),
        (r'ffn\.layers\.0\.0', 'mlp.fc1'),
        (r'ffn\.layers\.1', 'mlp.fc2'),
        ('projection', 'proj'),
    ]
    return renamed(
        tensors,
        pairs,
        layers__0__blocks__1__attn_mask=torch.zeros(4, 16, 16),
        norm__weight=torch.ones(64),
        head__weight=torch.ones(10, 64),
    )


def timm_swin():
    def later(match):
        return f'layers.{int(match[1]) + 1}.downsample'

    return renamed(microsoft_swin(), [(r'^layers\.(\d)\.downsample', later), (r'^head', 'head.fc')])


def facebook_convnext():
    pairs = [('depthwise_conv', 'dwconv'), ('pointwise_conv', 'pwconv')]
    head = dict(norm__weight=torch.ones(64), head__bias=torch.ones(10))
    arguments = argparse.Namespace(lr=4e-3)
    return dict(model=renamed(trained(CONVNEXT), pairs, **head), args=arguments)


def timm_convnext():
    pairs = [
        (r'^downsample_layers\.0', 'stem'),
        (r'^downsample_layers\.(\d)', r'stages.\1.downsample'),
        (r'^stages\.(\d)\.(\d)', r'stages.\1.blocks.\2'),
        ('depthwise_conv', 'conv_dw'),
        ('pointwise_conv', 'mlp.fc'),
    ]
    head = dict(head__norm__weight=torch.ones(64), head__fc__bias=torch.ones(10))
    return renamed(trained(CONVNEXT), pairs, **head)


def torchvision_resnet():
    return renamed(trained(RESNET), [], fc__weight=torch.ones(10, 128))


def detectron2_resnet():
    pairs = [
        (r'^(conv1|bn1)', r'stem.\1'),
        (r'^layer(\d)', lambda match: f'res{int(match[1]) + 1}'),
        (r'bn(\d)', r'conv\1.norm'),
        (r'downsample\.0', 'shortcut'),
        (r'downsample\.1', 'shortcut.norm'),
    ]
    tensors = renamed(trained(RESNET), pairs, stem__fc__bias=torch.ones(10))
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    return dict(model=arrays, __author__='torchvision', matching_heuristics=True)


def shi_labs_dinat():
    return renamed(trained(TINY), [], norm__bias=torch.ones(128), head__bias=torch.ones(10))


def openmmlab(config):
    tensors = renamed(trained(config), [('^', 'backbone.')], head__fc__bias=torch.ones(10))
    return dict(meta=dict(epoch=300), state_dict=tensors)


FORMATS = {
    'torchvision ResNet': (RESNET, torchvision_resnet),
    'mmpretrain ResNet': (RESNET, lambda: openmmlab(RESNET)),
    'detectron2 ResNet': (RESNET, detectron2_resnet),
    'Microsoft Swin': (SWIN, lambda: dict(model=microsoft_swin())),
    'timm Swin': (SWIN, timm_swin),
    'mmpretrain Swin': (SWIN, lambda: openmmlab(SWIN)),
    'mmdet Swin': (SWIN, lambda: trained(SWIN)),
    'Facebook ConvNeXt': (CONVNEXT, facebook_convnext),
    'timm ConvNeXt': (CONVNEXT, timm_convnext),
    'mmpretrain ConvNeXt': (CONVNEXT, lambda: openmmlab(CONVNEXT)),
    'SHI-Labs DiNAT': (TINY, shi_labs_dinat),
}


@pytest.fixture
def log(monkeypatch):
    """Lines of the log, while ``initialised`` runs."""
    lines = []
    logger = MMLogger.get_instance('test_backbones')
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    monkeypatch.setattr(logger, 'log', lambda level, message, *args: lines.append(message))
    monkeypatch.setattr(logger, 'level', logging.INFO)
    return lines


def initialised(config, path, **options):
    """Built with ``init_cfg`` and initialised, as the runner does it."""
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(path), **options)
    model = MODELS.build(dict(config, init_cfg=init_cfg))
    model.init_weights()
    return model


def assert_loaded(model, expected):
    """All tensors but counters and output norms are the expected ones."""
    tensors = model.state_dict()
    for key, tensor in expected.items():
        if not key.endswith('num_batches_tracked'):
            assert torch.equal(tensors[key], tensor), key
    fresh = {key: tensor for key, tensor in tensors.items() if key not in expected}
    assert all(OUTPUT_NORM.match(key) for key in fresh)
    assert all((v == (1 if k.endswith('weight') else 0)).all() for k, v in fresh.items())


@pytest.mark.parametrize('name', FORMATS)
def test_every_known_file_initialises_a_backbone(tmp_path, log, name):
    config, make = FORMATS[name]
    content = make()
    if name.startswith('detectron2'):
        (tmp_path / 'file.pkl').write_bytes(pickle.dumps(content))
        model = initialised(config, tmp_path / 'file.pkl', trust_pickle=True)
    else:
        torch.save(content, tmp_path / 'file.pth')
        model = initialised(config, tmp_path / 'file.pth')
    assert_loaded(model, trained(config))
    printed = '\n'.join(log)
    tensors = content.get('model', content.get('state_dict', content))
    heads = [key for key in tensors if re.match(r'(head|fc|stem\.fc|norm)\b', key)]
    if name.startswith('mmpretrain'):
        assert 'head.* (1 tensors)' in printed
    else:
        assert all(f'  {key}' in printed for key in heads) and (heads or name == 'mmdet Swin')
    norms = ['norm0.weight', 'norm3.bias'] if config is not RESNET else []
    assert all(f'  {key}' in printed for key in norms)


@pytest.mark.parametrize('name', [name for name in FORMATS if 'ResNet' not in name])
def test_the_converter_takes_the_same_files(tmp_path, run_tool, name):
    config, make = FORMATS[name]
    torch.save(make(), tmp_path / 'file.pth')
    printed = run_tool('convert_checkpoint', 'file.pth', 'ours.pth')
    assert 'a backbone alone' in printed and 'backbone.norm0.weight' in printed
    assert_loaded(initialised(config, tmp_path / 'ours.pth'), trained(config))


def images():
    return torch.randn(2, 3, 69, 90, generator=torch.Generator().manual_seed(1))


def assert_same_features(ours, peer):
    ours.eval()
    with torch.no_grad():
        features, expected = ours(images()), peer(images())
    for feature, reference in zip(features, expected, strict=True):
        assert reference.std() > 0.01
        torch.testing.assert_close(feature, reference, rtol=1e-4, atol=1e-4)


class FeatureMaps(nn.Module):
    """A backbone of transformers that returns what ours returns."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x).feature_maps


def peer_of(config):
    """Our config's backbone of Hugging Face, with random weights."""
    import transformers

    stages = ['stage1', 'stage2', 'stage3', 'stage4']
    if config is SWIN:
        return transformers.SwinBackbone(
            transformers.SwinConfig(
                image_size=64,
                embed_dim=8,
                depths=[1, 2, 1, 1],
                num_heads=[1, 2, 2, 4],
                window_size=4,
                drop_path_rate=0.0,
                out_features=stages,
            )
        )
    if config is CONVNEXT:
        return transformers.ConvNextBackbone(
            transformers.ConvNextConfig(
                hidden_sizes=[8, 16, 32, 64], depths=[1, 2, 1, 1], out_features=stages
            )
        )
    return transformers.DinatBackbone(tiny_peer_config())


@pytest.mark.parametrize('config', [SWIN, CONVNEXT, TINY], ids=['Swin', 'ConvNeXt', 'DiNAT'])
def test_features_equal_hugging_face_and_its_folder_loads(tmp_path, config):
    with over_slow_loops():
        peer = randomised(peer_of(config))
        peer.save_pretrained(tmp_path / 'peer')
        ours = initialised(config, tmp_path / 'peer')
        assert_same_features(ours, FeatureMaps(peer))
        torch.save(peer.state_dict(), tmp_path / 'in_memory.pth')
    again = initialised(config, tmp_path / 'in_memory.pth')
    assert_loaded(again, ours.state_dict())


@pytest.mark.parametrize('config', [SWIN, TINY], ids=['Swin', 'DiNAT'])
def test_features_and_gradients_are_those_of_all_tokens_at_once(monkeypatch, config):
    backbone = randomised(MODELS.build(config))
    sizes, results = [], []
    linear = nn.functional.linear
    monkeypatch.setattr(
        nn.functional,
        'linear',
        lambda x, *args: sizes.append(x[..., 0].numel()) or linear(x, *args),
    )
    for training_rows, rows in ((10**6, 10**6), (100, 30)):
        monkeypatch.setattr(chunks, 'TRAINING_ROWS', training_rows)
        monkeypatch.setattr(chunks, 'ROWS', rows)
        backbone.train()  # which returns nothing in mmdet's
        torch.manual_seed(0)  # of stochastic depth
        features = backbone(images())
        sum(feature.square().sum() for feature in features).backward()
        with torch.no_grad():
            backbone.eval()
            alone = backbone(images())
        results.append([*features, *alone, *(p.grad for p in backbone.parameters())])
        backbone.zero_grad()
        assert (30 in sizes and 100 in sizes) == (rows == 30)
    for whole, parts in zip(*results):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4 * whole.abs().max().item())


@pytest.mark.parametrize(
    ('config', 'name'),
    [(SWIN, 'SwinForImageClassification'), (CONVNEXT, 'ConvNextForImageClassification')],
)
def test_a_classifier_of_hugging_face_loads(tmp_path, log, config, name):
    import transformers

    peer = peer_of(config)
    classifier = randomised(getattr(transformers, name)(peer.config))
    for part, module in peer.named_children():
        if part != 'hidden_states_norms':
            base = classifier if part == 'swin' else classifier.convnext
            module.load_state_dict(base.get_submodule(part).state_dict())
    classifier.save_pretrained(tmp_path / 'peer')
    assert_same_features(initialised(config, tmp_path / 'peer'), FeatureMaps(peer))
    printed = '\n'.join(log)
    assert 'classifier.* (2 tensors)' in printed and 'layernorm.weight' in printed
    assert 'norm0.weight' in printed.split('initialised afresh')[1]


def test_features_equal_torchvision(tmp_path):
    from torchvision.models import resnet50
    from torchvision.models.feature_extraction import create_feature_extractor

    peer = resnet50(weights=None)
    with torch.no_grad():
        for module in peer.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.0)
                nn.init.normal_(module.running_mean, std=0.1)
    torch.save(peer.state_dict(), tmp_path / 'resnet50.pth')
    ours = initialised(dict(type='ResNet', depth=50, style='pytorch'), tmp_path / 'resnet50.pth')
    layers = create_feature_extractor(peer.eval(), [f'layer{n}' for n in range(1, 5)])
    assert_same_features(ours, lambda x: layers(x).values())
    convert(tmp_path / 'resnet50.pth', tmp_path / 'ours.pth')
    again = initialised(dict(type='ResNet', depth=50, style='pytorch'), tmp_path / 'ours.pth')
    assert_loaded(again, ours.state_dict())


def test_another_window_is_interpolated_as_swin_does(tmp_path, log):
    torch.save(dict(model=microsoft_swin()), tmp_path / 'file.pth')
    model = initialised(dict(SWIN, window_size=7), tmp_path / 'file.pth')
    name = 'stages.1.blocks.1.attn.w_msa.relative_position_bias_table'
    table = trained(SWIN)[name]  # of window 4
    grid = table.permute(1, 0).view(1, 2, 7, 7)
    expected = nn.functional.interpolate(grid, size=(13, 13), mode='bicubic')
    expected = expected.view(2, 169).permute(1, 0)
    assert torch.equal(model.state_dict()[name], expected)
    assert name in '\n'.join(log).split('interpolated')[1]


def test_weights_from_a_whole_oneformer(tmp_path):
    weights = {f'backbone.{key}': tensor for key, tensor in trained(TINY).items()}
    norms = {
        f'backbone.norm{n}.{leaf}': torch.randn(16 * 2**n)
        for n in range(4)
        for leaf in ('weight', 'bias')
    }
    whole = weights | norms | {'panoptic_head.query_embed.weight': torch.zeros(5, 8)}
    torch.save(dict(state_dict=whole), tmp_path / 'oneformer.pth')
    model = initialised(TINY, tmp_path / 'oneformer.pth')
    for key, tensor in (weights | norms).items():
        assert torch.equal(model.state_dict()[key.removeprefix('backbone.')], tensor), key
    part = initialised(dict(TINY, out_indices=(1, 3)), tmp_path / 'oneformer.pth')
    assert torch.equal(part.norm3.bias, norms['backbone.norm3.bias'])


def test_what_does_not_fit_is_listed(tmp_path):
    tensors = microsoft_swin()
    del tensors['layers.2.blocks.0.attn.qkv.bias']
    torch.save(dict(model=tensors), tmp_path / 'file.pth')
    missing = r'missing \(1\):\n  stages\.2\.blocks\.0\.attn\.w_msa\.qkv\.bias'
    with pytest.raises(CheckpointError, match=missing):
        initialised(SWIN, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=missing):
        convert(tmp_path / 'file.pth', tmp_path / 'ours.pth')

    torch.save(dict(model=microsoft_swin() | {'absolute_pos_embed': 1}), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='not tensors.*absolute_pos_embed'):
        initialised(SWIN, tmp_path / 'file.pth')
    more = {'layers.0.adapter.weight': torch.zeros(2)}
    torch.save(dict(model=microsoft_swin() | more), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'unknown \(1\):\n  layers\.0\.adapter\.weight'):
        initialised(SWIN, tmp_path / 'file.pth')

    torch.save(facebook_convnext(), tmp_path / 'file.pth')
    wider = dict(CONVNEXT, arch=dict(depths=[1, 2, 1, 1], channels=[8, 16, 32, 96]))
    with pytest.raises(CheckpointError, match=r'stages\.3\.0\.gamma: \(64,\), expected \(96,\)'):
        initialised(wider, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='OneFormerSwinTransformer(.|\n)*as ConvNeXt of F'):
        initialised(SWIN, tmp_path / 'file.pth')


def test_what_is_not_a_backbone_says_so(tmp_path):
    torch.save({'encoder.weight': torch.zeros(2)}, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'ResNet of torchvision.*encoder\.weight'):
        initialised(SWIN, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='not of a OneFormer.* no backbone is recognised'):
        convert(tmp_path / 'file.pth', tmp_path / 'ours.pth')
    torch.save(microsoft_swin(), tmp_path / 'swin.pth')
    with pytest.raises(CheckpointError, match='not of a OneFormer.* without options'):
        convert(tmp_path / 'swin.pth', tmp_path / 'original.pth', target='shi-labs')
    twice = {f'{who}.{k}': v for who in ('student', 'teacher') for k, v in trained(TINY).items()}
    torch.save(twice, tmp_path / 'twice.pth')
    with pytest.raises(CheckpointError, match="more than one DiNAT: 'student.', 'teacher.'"):
        initialised(TINY, tmp_path / 'twice.pth')


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_pickle_is_run(tmp_path):
    content = dict(model=microsoft_swin(), extra=Malicious(tmp_path / 'victim'))
    torch.save(content, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match='trust_pickle=True in Python or a config'):
        initialised(SWIN, tmp_path / 'evil.pth')
    assert not (tmp_path / 'victim').exists()
    initialised(SWIN, tmp_path / 'evil.pth', trust_pickle=True)
    assert (tmp_path / 'victim').exists()


def test_a_url_is_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    torch.save(trained(TINY), content := io.BytesIO())
    with WeightServer() as server:
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        server.files['/dinat/tiny.pth'] = content.getvalue()
        for repository in ('a/b', 'c/d'):
            server.repositories[repository] = dict(main={'pytorch_model.bin': content.getvalue()})
        for _ in range(2):
            url = f'{server.url}/dinat/tiny.pth?download=1'
            assert_loaded(initialised(TINY, url), trained(TINY))
        assert server.paths() == ['/dinat/tiny.pth']
        for repository in ('a/b', 'c/d'):
            url = f'https://huggingface.co/{repository}/resolve/main/pytorch_model.bin'
            assert_loaded(initialised(TINY, url), trained(TINY))
        assert len(server.paths()) == 3  # of one name, and not the same


def test_swin_without_weights_starts_from_scratch():
    torch.manual_seed(0)
    model = MODELS.build(dict(SWIN, embed_dims=32))
    model.init_weights()
    linear = model.stages[2].blocks[0].attn.w_msa.qkv
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1) and not linear.bias.any()


class Head(BaseModule):
    """A part beside the backbone, with an initialisation of its own."""

    def __init__(self):
        super().__init__(dict(type='Constant', layer='Linear', val=3))
        self.linear = nn.Linear(2, 2)


def test_a_backbone_inside_a_model_keeps_its_weights(tmp_path):
    torch.save(dict(model=microsoft_swin()), tmp_path / 'file.pth')
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(tmp_path / 'file.pth'))
    model = BaseModule()
    model.backbone = MODELS.build(dict(SWIN, init_cfg=init_cfg))
    model.head = Head()
    model.init_weights()
    assert_loaded(model.backbone, trained(SWIN))
    assert (model.head.linear.weight == 3).all()


def test_report_names_what_a_file_of_a_backbone_lacks(tmp_path):
    torch.save(shi_labs_dinat(), tmp_path / 'file.pth')
    report = convert(tmp_path / 'file.pth', tmp_path / 'ours.pth')
    assert report.unused == ['norm.bias', 'head.bias'] and len(report.fresh) == 8
    assert report.model['kernel_size'] == 3 and json.dumps(report.model)
    saved = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    assert len(saved) == report.used == len(trained(TINY))


@pytest.mark.parametrize('norm', [dict(requires_grad=False), dict(requires_grad=True)])
@pytest.mark.parametrize('with_cp', [False, True])
def test_a_resnet_with_folded_norms_is_mmdets(norm, with_cp):
    norms = dict(norm_cfg=dict(type='BN', **norm), norm_eval=not norm['requires_grad'])
    options = dict(RESNET, **norms, with_cp=with_cp)
    torch.manual_seed(0)
    kinds = ('ResNet', 'OneFormerResNet')
    plain, folded = (MODELS.build(dict(options, type=kind)).double() for kind in kinds)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    folded.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for train in (False, True):
        maps, gradients = [], []
        for model in (plain, folded):
            model.train(train)
            model.zero_grad()
            given = images.clone().requires_grad_()
            maps.append(model(given))
            sum(part.square().mean() for part in maps[-1]).backward()
            gradients.append({k: p.grad for k, p in model.named_parameters() if p.requires_grad})
        torch.testing.assert_close(maps[1], maps[0])
        torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(dict(folded.named_buffers()), dict(plain.named_buffers()))


def test_a_resnet_refuses_what_it_would_not_do():
    with pytest.raises(ValueError, match="'deep_stem'.* need mmdet's type='ResNet'"):
        MODELS.build(dict(RESNET, type='OneFormerResNet', deep_stem=True))
