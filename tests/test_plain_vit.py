"""DINOv2 and DINOv3: features against timm and Hugging Face, files, frozen weights."""

import json
import re
import socket

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn
from vit_peers import (
    DEPTH,
    FAMILIES,
    GRID,
    WIDTH,
    hf_peer,
    images,
    in_chunks,
    original_file,
    our_config,
    patch_of,
    randomised,
    timm_peer,
)

from oneformer.host.errors import CheckpointError
from oneformer.weights import Weights, fit
from oneformer.weights.architecture import backbone_config
from oneformer.weights.meta_models import meta_model
from oneformer.weights.shapes import shapes_of
from oneformer.weights.statistics import difference

# rows and columns of patches: a single one, wide, tall, the pre-training's
GRIDS = [(1, 2), (3, 7), (8, 4), (GRID, GRID)]


def built(family, **options):
    return MODELS.build(our_config(family, **options))


def loaded(family, tensors, **options):
    """Our model with the tensors of a file, in evaluation mode."""
    model = built(family, **options)
    fitted = fit(Weights.of(tensors, 'FILE'), model, 'backbone')
    assert not fitted.fresh
    model.load_state_dict(fitted.tensors)
    return model.eval()


def outputs(model, x):
    """All tokens after the final norm."""
    tokens, rope, _ = model.embed(x)
    return model.norm(model.run(tokens, rope))


def assert_equal_to(model, peer, family):
    for rows, columns in GRIDS:
        x = images(rows * patch_of(family), columns * patch_of(family))
        with torch.no_grad():
            expected, ours = peer(x), outputs(model, x)
        assert expected.std() > 0.1
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('family', FAMILIES)
def test_features_equal_timm_at_other_sizes(family):
    peer = timm_peer(family)
    model = loaded(family, peer.state_dict(), antialias=True)
    assert_equal_to(model, peer.forward_features, family)


@pytest.mark.parametrize('family', FAMILIES)
def test_features_equal_hugging_face_at_other_sizes(tmp_path, family):
    peer = hf_peer(family)
    assert_equal_to(loaded(family, peer.state_dict()), lambda x: peer(x).last_hidden_state, family)
    peer.save_pretrained(tmp_path / 'peer')
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(tmp_path / 'peer'))
    model = built(family, init_cfg=init_cfg)
    model.init_weights()
    assert_equal_to(model.eval(), lambda x: peer(x).last_hidden_state, family)


@pytest.mark.parametrize('family', FAMILIES)
def test_files_of_the_authors_mean_what_timm_reads_in_them(family):
    from timm.models import eva, vision_transformer

    module = eva if family.startswith('dinov3') else vision_transformer
    peer, tensors = timm_peer(family), original_file(family)
    peer.load_state_dict(module.checkpoint_filter_fn(dict(tensors), peer))
    model = loaded(family, tensors, antialias=True)
    assert_equal_to(model, peer.forward_features, family)


@pytest.mark.parametrize(('height', 'width'), [(546, 602), (14, 28), (602, 1092)])
def test_positions_have_exactly_the_size_of_the_grid(height, width):
    peer = hf_peer('dinov2')
    model = loaded('dinov2', peer.state_dict())
    x = images(height, width)[:1]
    with torch.no_grad():
        torch.testing.assert_close(model.embed(x).tokens, peer.embeddings(x), rtol=1e-5, atol=1e-5)
    assert model.embed(x).grid == (height // 14, width // 14)


@pytest.mark.parametrize('family', ['dinov2 with registers', 'dinov3'])
def test_every_block_equals_upstream_before_and_after_the_final_norm(family):
    peer = timm_peer(family)
    model = loaded(family, peer.state_dict(), antialias=True)
    x = images(3 * patch_of(family), 2 * patch_of(family))
    with torch.no_grad():
        tokens, rope, _ = model.embed(x)
        for normed in (False, True):
            theirs = peer.forward_intermediates(
                x, range(DEPTH), True, normed, output_fmt='NLC', intermediates_only=True
            )
            for block, (patches, prefix) in enumerate(theirs):
                ours = model.run(tokens, rope, 0, block + 1)
                ours = model.norm(ours) if normed else ours
                expected = torch.cat([prefix, patches], dim=1)
                torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def files_of(family):
    """All layouts of one network, with the keys that may be missing."""
    peer = hf_peer(family)
    free = {'mask_token', 'rope_embed.periods', 'embeddings.mask_token'}
    return {
        'authors': original_file(family),
        'timm': timm_peer(family).state_dict(),
        'hugging face in memory': peer.state_dict(),
    }, free


@pytest.mark.parametrize('family', FAMILIES)
def test_each_key_that_is_missing_or_too_many_is_named(family):
    files, free = files_of(family)
    model = built(family)
    for layout, tensors in files.items():
        fit(Weights.of(tensors, 'FILE'), model, 'backbone')
        # each block has the same names: one in the middle, or the first, which tells the network
        numbered = re.compile(r'\b(?:blocks|layer)\.[12]\.')
        for key in (key for key in tensors if not numbered.search(key)):
            rest = {name: value for name, value in tensors.items() if name != key}
            if key in free:
                fit(Weights.of(rest, 'FILE'), model, 'backbone')
                continue
            with pytest.raises(CheckpointError) as caught:
                fit(Weights.of(rest, 'FILE'), model, 'backbone')
            assert key in str(caught.value), (layout, key)
            more = {**tensors, f'{key}_more': tensors[key]}
            with pytest.raises(CheckpointError) as caught:
                fit(Weights.of(more, 'FILE'), model, 'backbone')
            assert f'{key.split(".")[-1]}_more' in str(caught.value), (layout, key)


def test_a_file_without_registers_or_with_some_is_refused_by_the_other_network():
    plain, registers = original_file('dinov2'), original_file('dinov2 with registers')
    with pytest.raises(CheckpointError, match='reg_token.*register_tokens'):
        fit(Weights.of(plain, 'FILE'), built('dinov2 with registers'), 'backbone')
    with pytest.raises(CheckpointError, match=r'unknown \(1\):\n  reg_token'):
        fit(Weights.of(registers, 'FILE'), built('dinov2'), 'backbone')


def test_checkpoints_of_dinov2s_training_are_read():
    tensors = original_file('dinov2 with registers')
    plain = fit(Weights.of(tensors, 'FILE'), built('dinov2 with registers'), 'backbone').tensors
    chunked = in_chunks(tensors)
    assert 'blocks.1.2.ls1.gamma' in chunked
    student = {f'student.backbone.{key}': value + 1 for key, value in chunked.items()}
    teacher = {f'teacher.backbone.{key}': value for key, value in chunked.items()}
    head = {'teacher.dino_head.last_layer.weight': torch.ones(2, 2)}
    for content in (
        chunked,
        dict(teacher={f'backbone.{key}': value for key, value in chunked.items()}),
        dict(model={**student, **teacher, **head}, iteration=7),
    ):
        weights = Weights.of(content, 'FILE')
        read = fit(weights, built('dinov2 with registers'), 'backbone')
        assert read.tensors.keys() == plain.keys()
        assert all(torch.equal(read.tensors[key], plain[key]) for key in plain)
    assert f'student.* ({len(student)} tensors)' in read.unused
    twice = {**chunked, 'blocks.1.0.ls1.gamma': torch.ones(WIDTH)}
    with pytest.raises(CheckpointError, match='blocks.1.0.ls1.gamma: the same tensor as blocks.0'):
        fit(Weights.of(twice, 'FILE'), built('dinov2 with registers'), 'backbone')


def test_biases_of_keys_have_to_be_masked():
    tensors = original_file('dinov3')
    masks = [key for key in tensors if key.endswith('bias_mask')]
    without = {key: value for key, value in tensors.items() if key not in masks}
    with pytest.raises(CheckpointError, match='blocks.0.attn.qkv.bias: biases of keys'):
        fit(Weights.of(without, 'FILE'), built('dinov3'), 'backbone')
    for key in without:
        if key.endswith('qkv.bias'):
            without[key][WIDTH : 2 * WIDTH] = 0
    fit(Weights.of(without, 'FILE'), built('dinov3'), 'backbone')
    peer = hf_peer('dinov3').state_dict()
    peer['model.layer.1.attention.k_proj.bias'] = torch.ones(WIDTH)
    with pytest.raises(CheckpointError, match='layer.1.attention.k_proj.bias: biases of keys'):
        fit(Weights.of(peer, 'FILE'), built('dinov3'), 'backbone')


def test_models_without_biases_of_queries_take_and_give_zero():
    bare = timm_peer('dinov3', qkv_bias=False).state_dict()
    fitted = fit(Weights.of(bare, 'FILE'), built('dinov3'), 'backbone')
    biases = [key for key in fitted.tensors if key.endswith(('q_bias', 'v_bias'))]
    assert len(biases) == 2 * DEPTH and not any(fitted.tensors[key].any() for key in biases)
    assert fitted.lines == ['biases of queries and values: none in the file, which means zero']
    without = built('dinov3', qkv_bias=False)
    again = fit(Weights.of(fitted.tensors, 'FILE'), without, 'backbone')
    assert again.tensors.keys() == without.state_dict().keys()
    with pytest.raises(CheckpointError, match='blocks.2.attn.v_bias'):
        fit(Weights.of(timm_peer('dinov3').state_dict(), 'FILE'), without, 'backbone')


def test_patches_and_positions_of_another_size_are_resampled_as_timm_does():
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    tensors = timm_peer('dinov2 with registers').state_dict()
    model = built('dinov2 with registers', patch_size=16, img_size=(96, 64), antialias=True)
    fitted = fit(Weights.of(tensors, 'FILE'), model, 'backbone')
    assert fitted.resized == ['patch_embed.proj.weight', 'pos_embed']
    expected = resample_patch_embed(tensors['patch_embed.proj.weight'], [16, 16])
    torch.testing.assert_close(fitted.tensors['patch_embed.proj.weight'], expected)
    table = resample_abs_pos_embed(tensors['pos_embed'], [6, 4], [GRID, GRID], 0)
    torch.testing.assert_close(fitted.tensors['pos_embed'], table)


def test_queries_before_the_tokens_change_nothing_that_does_not_look_at_them():
    for family in ('dinov2 with registers', 'dinov3'):
        model = randomised(built(family))
        x = images(2 * patch_of(family), 3 * patch_of(family))
        with torch.no_grad():
            tokens, rope, grid = model.embed(x)
            assert tokens.shape == (2, model.num_prefix + 6, WIDTH) and grid == (2, 3)
            expected = model.run(tokens, rope)
            queries = torch.randn(2, 3, WIDTH)
            joined = torch.cat([queries, tokens], dim=1)
            blind = torch.ones(2, 1, joined.shape[1], joined.shape[1], dtype=torch.bool)
            blind[:, :, 3:, :3] = False  # tokens do not see queries
            ours = model.run(model.run(joined, rope, 0, 1, blind, 3), rope, 1, None, blind, 3)
            torch.testing.assert_close(ours[:, 3:], expected, rtol=1e-5, atol=1e-5)
            seen = model.run(joined, rope, extra=3)[:, 3:]
        assert (seen - expected).abs().max() > 1e-3


def test_a_pyramid_has_strides_4_to_32_and_starts_fresh():
    tensors = timm_peer('dinov3').state_dict()
    for patch in (8, 16):
        model = built('dinov3', patch_size=patch, pyramid=True, out_channels=8)
        fitted = fit(Weights.of(tensors, 'FILE'), model, 'backbone')
        assert fitted.fresh and all(key.startswith('pyramid.') for key in fitted.fresh)
        maps = model(images(96, 160))
        assert [tuple(x.shape) for x in maps] == [
            (2, 8, 96 // stride, 160 // stride) for stride in (4, 8, 16, 32)
        ]
    raw = built('dinov3', pyramid=True, out_channels=None)
    assert raw.pyramid.out_channels == [WIDTH // 4, WIDTH // 2, WIDTH, WIDTH]
    assert built('dinov2', pyramid=True).patch_size == 16
    with pytest.raises(ValueError, match='stride 14: set model.backbone.patch_size=16'):
        built('dinov2', pyramid=True, patch_size=14)
    with pytest.raises(ValueError, match='multiple of 16'):
        model.embed(images(96, 100)) if patch == 16 else None


@pytest.mark.parametrize('family', ['dinov2', 'dinov3'])
def test_checkpointing_gives_the_same_gradients(family):
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = built(family, pyramid=True, out_channels=8, with_cp=with_cp, drop_path_rate=0.5)
        for _ in range(2):
            torch.manual_seed(1)  # of stochastic depth
            model.zero_grad()
            sum(x.square().sum() for x in model(images(32, 48))).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    plain, checkpointed = gradients
    assert all(gradient is not None for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)
    rates = [getattr(block.drop_path1, 'drop_prob', 0) for block in model.blocks]
    assert rates == [0, 0.25, 0.5]


def test_a_frozen_transformer_keeps_no_graph_and_stays_in_evaluation():
    model = built('dinov3', pyramid=True, out_channels=8, frozen=True, drop_path_rate=0.5)
    model.train()
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'pyramid'}
    assert model.pyramid.training and not any(block.training for block in model.blocks)
    x = images(32, 48)
    tokens, rope, _ = model.embed(x)
    assert not model.run(tokens, rope).requires_grad
    kept: list = []

    def shapes_kept(run):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            result = run()
        return [t.shape for t in kept], result

    last = built('dinov3', frozen=True)(x)[0]
    whole, first = shapes_kept(lambda: model(x))
    assert whole == shapes_kept(lambda: model.pyramid(last))[0]
    assert all(torch.equal(a, b) for a, b in zip(first, model(x)))


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [
        ('dinov2-s', 25_424_608),
        ('dinov2-b', 92_280_256),
        ('dinov2-l', 312_360_192),
        ('dinov3-s', 24_894_304),
        ('dinov3-b', 91_219_648),
        ('dinov3-l', 310_933_760),
    ],
)
def test_configs_build_the_networks_of_their_names(config_dir, name, parameters):
    cfg = Config.fromfile(config_dir / f'_base_/models/oneformer_{name}.py')
    assert cfg.model.panoptic_head.in_channels == [256] * 4
    family, size = name.split('-')
    assert cfg.model.backbone.arch.startswith(f'{family}_{size}')
    backbone = meta_model(cfg.model.backbone)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    mean, std = cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std
    assert (tuple(mean), tuple(std)) == (backbone.mean, backbone.std)
    licence = 'Apache-2.0' if family == 'dinov2' else 'dinov3-license'
    assert backbone.licence == licence


@pytest.mark.parametrize('family', ['dinov2 with registers', 'dinov3'])
def test_the_architecture_is_read_from_what_a_checkpoint_says(family):
    model = built(family, pyramid=True, out_channels=8, patch_size=16, img_size=(48, 80))
    shapes = shapes_of({f'backbone.{key}': value for key, value in model.state_dict().items()})
    again = meta_model(backbone_config(shapes, model.not_in_weights))
    assert shapes_of(again.state_dict()) == shapes_of(model.state_dict())
    assert again.not_in_weights == model.not_in_weights


@pytest.mark.parametrize('arch', ['dinov2_s', 'dinov2_b_reg4', 'dinov3_s+', 'dinov3_l'])
def test_a_published_network_is_recognised_by_its_shapes(arch):
    model = meta_model(dict(type='PlainViT', arch=arch, pyramid=False))
    shapes = shapes_of({f'backbone.{key}': value for key, value in model.state_dict().items()})
    config = backbone_config(shapes)
    assert config['arch'] == arch
    assert shapes_of(meta_model(config).state_dict()) == shapes_of(model.state_dict())


def test_weights_of_satellites_tell_their_normalisation(tmp_path, config_dir):
    preprocessor = dict(
        type='OneFormerDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    )
    model = nn.Module()
    model.data_preprocessor = MODELS.build(preprocessor)
    for name, mean in (('dinov3_vitl16_sat493m.pth', 109.65), ('dinov3_vitl16_lvd.pth', 123.675)):
        torch.save(original_file('dinov3'), tmp_path / name)
        init_cfg = dict(type='PretrainedBackbone', checkpoint=str(tmp_path / name))
        model.backbone = built('dinov3', init_cfg=init_cfg)
        model.backbone.init_weights()
        assert model.backbone.mean[0] == pytest.approx(mean)
        line = difference(model)
        assert (line is None) == ('lvd' in name)
        if line:
            assert 'model.data_preprocessor.mean=[109.65, 104.805, 75.48], std=[54.315,' in line
    folder = tmp_path / 'hf'
    hf_peer('dinov3').save_pretrained(folder)
    told = dict(image_mean=[0.5] * 3, image_std=[0.25] * 3)
    (folder / 'preprocessor_config.json').write_text(json.dumps(told))
    model.backbone = built(
        'dinov3', init_cfg=dict(type='PretrainedBackbone', checkpoint=str(folder))
    )
    model.backbone.init_weights()
    assert 'trained with mean [127.5, 127.5, 127.5] and std [63.75' in difference(model)


def test_gated_weights_are_not_fetched_while_building_and_never_left_random(
    config_dir, monkeypatch
):
    def refuse(*_, **__):
        raise OSError(101, 'Network is unreachable')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    cfg = Config.fromfile(config_dir / '_base_/models/oneformer_dinov3-s.py').model.backbone
    cfg.update(depth=1)
    backbone = MODELS.build(cfg)
    with pytest.raises(CheckpointError) as caught:
        backbone.init_weights()
    message = str(caught.value)
    assert 'facebook/dinov3-vits16-pretrain-lvd1689m' in message and 'give its path' in message
    assert 'model.backbone.init_cfg.checkpoint=FILE' in message
