"""EoMT's checkpoints go through the one door: read, predicted with, written back, trained from."""

import json
import re

import numpy as np
import pytest
import torch
from eomt_peer import LABELS, SIZE, VARIANTS, build_peer
from safetensors.torch import load_file, save_file

from benchmarks.peers import CLASSES
from oneformer.host.errors import CheckpointError
from oneformer.inference import OneFormerInferencer, task_choice
from oneformer.metainfo import KNOWN_DATASETS
from oneformer.tasks import TASKS
from oneformer.weights import encoder_only, fit, read, write
from oneformer.weights.safe_loaders import load_checkpoint

# the authors' names from transformers', independently of our table
_SHARED = [
    (r'^query\.', 'network.q.'),
    (r'^class_predictor\.', 'network.class_head.'),
    (r'^attn_mask_probs$', 'network.attn_mask_probs'),
    (r'^upscale_block\.block\.(\d+)\.layernorm2d', r'network.upscale.\1.norm'),
    (r'^upscale_block\.block\.', 'network.upscale.'),
    (r'^mask_head\.fc1', 'network.mask_head.0'),
    (r'^mask_head\.fc2', 'network.mask_head.2'),
    (r'^mask_head\.fc3', 'network.mask_head.4'),
    (r'^layernorm\.', 'network.encoder.backbone.norm.'),
]
_DINOV2 = [
    (r'^embeddings\.cls_token', 'network.encoder.backbone.cls_token'),
    (r'^embeddings\.register_tokens', 'network.encoder.backbone.reg_token'),
    (r'^embeddings\.position_embeddings\.weight', 'network.encoder.backbone.pos_embed'),
    (r'^embeddings\.patch_embeddings\.projection', 'network.encoder.backbone.patch_embed.proj'),
    (r'^layers\.(\d+)\.attention\.out_proj', r'network.encoder.backbone.blocks.\1.attn.proj'),
    (r'^layers\.(\d+)\.layer_scale(\d)\.lambda1', r'network.encoder.backbone.blocks.\1.ls\2.gamma'),
    (r'^layers\.(\d+)\.mlp\.down_proj', r'network.encoder.backbone.blocks.\1.mlp.fc2'),
    (r'^layers\.', 'network.encoder.backbone.blocks.'),
]
_DINOV3 = [
    (r'^embeddings\.', 'network.encoder.backbone.patch_embed.'),
    (r'^layers\.', 'network.encoder.backbone.blocks.'),
]
_NORMALISATION = {
    'network.encoder.pixel_mean': torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1),
    'network.encoder.pixel_std': torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1),
}


def authors_names(state, variant):
    """A state dict of transformers under the authors' names."""
    rules = _SHARED + (_DINOV2 if variant.startswith('dinov2') else _DINOV3)
    named = {}
    for key, value in state.items():
        for pattern, name in rules:
            if re.search(pattern, key):
                key = re.sub(pattern, name, key)
                break
        named[key] = value[None] if key.endswith('pos_embed') else value
    if variant.startswith('dinov2'):
        for key in [key for key in named if '.attention.q_proj.' in key]:
            parts = [named.pop(key.replace('q_proj', f'{part}_proj')) for part in 'qkv']
            named[key.replace('attention.q_proj', 'attn.qkv')] = torch.cat(parts)
        for key in [key for key in named if '.mlp.gate_proj.' in key]:
            parts = [named.pop(key.replace('gate_proj', f'{part}_proj')) for part in ('gate', 'up')]
            named[key.replace('gate_proj', 'fc1')] = torch.cat(parts)
    return {**named, **_NORMALISATION}


def save_peer(peer, folder, shards=1, **changes):
    """Write a folder of transformers."""
    peer.save_pretrained(folder, max_shard_size='40KB' if shards > 1 else '1GB')
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, **changes}))
    return folder


def named(classes):
    return dict(id2label={str(i): name for i, name in enumerate(classes)})


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key


@pytest.fixture(scope='module')
def peers():
    return {variant: build_peer(variant) for variant in VARIANTS}


@pytest.mark.parametrize('variant', VARIANTS)
def test_transformers_files_come_back_bit_for_bit(peers, tmp_path, variant):
    source = save_peer(peers[variant], tmp_path / 'coco_panoptic_eomt', **named(CLASSES))
    write(read(source), tmp_path / 'ours.pth')
    back = tmp_path / 'back'
    write(read(tmp_path / 'ours.pth'), back, 'huggingface')
    state = dict(peers[variant].state_dict())
    assert_same(load_file(back / 'model.safetensors'), state)
    config = json.loads((back / 'config.json').read_text())
    assert config['id2label'] == named(CLASSES)['id2label']
    # transformers loads what we wrote, all of it
    again, told = type(peers[variant]).from_pretrained(back, output_loading_info=True)
    assert not told['missing_keys'] and not told['unexpected_keys']
    if variant == 'dinov3-gated':
        return  # whose head has another activation, see eomt_peer
    images = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        found, expected = (
            model.eval()(pixel_values=images).masks_queries_logits
            for model in (again, peers[variant])
        )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_authors_files_come_back_bit_for_bit(peers, tmp_path, variant):
    state = authors_names(peers[variant].state_dict(), variant)
    file = tmp_path / 'coco_panoptic.bin'
    torch.save(state, file)
    weights = read(file)
    if variant.startswith('dinov3'):
        from oneformer.weights.differences import add_base

        add_base(weights, 'none')
    write(weights, tmp_path / 'ours.pth', metainfo='ade20k')
    write(read(tmp_path / 'ours.pth'), tmp_path / 'back.bin', 'eomt')
    assert_same(torch.load(tmp_path / 'back.bin'), state)
    # both ways lead to the same tensors of ours
    other = read(save_peer(peers[variant], tmp_path / 'hf', **named(CLASSES)))
    assert_same(read(tmp_path / 'ours.pth').tensors, other.tensors)


def test_a_lightning_checkpoint_and_names_of_version_4_are_read(peers, tmp_path):
    state = authors_names(peers['dinov2'].state_dict(), 'dinov2')
    torch.save(dict(state_dict=state, epoch=3), tmp_path / 'run.ckpt')
    plain = tmp_path / 'plain.bin'
    torch.save(state, plain)
    assert_same(read(tmp_path / 'run.ckpt').tensors, read(plain).tensors)
    swiglu = dict(peers['dinov2-swiglu'].state_dict())
    for key in [key for key in swiglu if '.gate_proj.' in key]:
        parts = [swiglu.pop(key), swiglu.pop(key.replace('gate', 'up'))]
        swiglu[key.replace('gate_proj', 'weights_in')] = torch.cat(parts)
        down = key.replace('gate', 'down')
        swiglu[key.replace('gate_proj', 'weights_out')] = swiglu.pop(down)
    torch.save(swiglu, tmp_path / 'version_4.bin')
    torch.save(dict(peers['dinov2-swiglu'].state_dict()), tmp_path / 'version_5.bin')
    old, new = (read(tmp_path / f'version_{n}.bin').tensors for n in (4, 5))
    assert_same(old, new)


def test_a_missing_and_an_unknown_tensor_are_named(peers, tmp_path):
    state = authors_names(peers['dinov2'].state_dict(), 'dinov2')
    del state['network.encoder.backbone.reg_token']
    state['network.encoder.backbone.extra'] = torch.zeros(2)
    torch.save(state, tmp_path / 'panoptic.bin')
    with pytest.raises(CheckpointError) as error:
        write(read(tmp_path / 'panoptic.bin'), tmp_path / 'ours.pth', metainfo='ade20k')
    assert 'network.encoder.backbone.extra' in str(error.value)
    hf = dict(peers['dinov3'].state_dict())
    del hf['layers.1.attention.k_proj.weight']
    save_file(hf, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(peers['dinov3'].config.to_json_string())
    with pytest.raises(CheckpointError, match='layers.1.attention.k_proj.weight'):
        write(read(tmp_path), tmp_path / 'ours.pth', metainfo='ade20k')


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)


@pytest.mark.parametrize(
    ('variant', 'task', 'shards'),
    [('dinov2', 'panoptic', 3), ('dinov3', 'instance', 1), ('dinov2', 'semantic', 1)],
)
def test_it_predicts_without_a_config(peers, tmp_path, image, capsys, variant, task, shards):
    folder = save_peer(peers[variant], tmp_path / f'coco_{task}_eomt_base_640', shards)
    assert (folder / 'model.safetensors').exists() == (shards == 1)
    inferencer = OneFormerInferencer(weights=folder, device='cpu')
    assert inferencer.tasks == (task,)
    assert inferencer.dataset_meta['classes'] == KNOWN_DATASETS['ade20k']['classes']
    (prediction,) = inferencer(image, progress=False)
    assert prediction.tasks == (task,)


def test_it_predicts_what_eomt_predicts(peers, tmp_path):
    """The labels of the authors' semantic merging, from a square that is padded with black."""
    peer = peers['dinov2']
    folder = save_peer(peer, tmp_path / 'coco_panoptic_eomt')
    inferencer = OneFormerInferencer(weights=folder, device='cpu')
    image = np.ascontiguousarray(np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))
    (found,) = inferencer(image, tasks='semantic', progress=False)
    mean, std = (
        torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    square = torch.nn.functional.pad(rgb, (0, 0, 0, 16))
    with torch.no_grad():
        outputs = peer(pixel_values=((square - mean) / std)[None])
    masks = torch.nn.functional.interpolate(outputs.masks_queries_logits, (64, 64), mode='bilinear')
    scores = outputs.class_queries_logits.softmax(-1)[..., :-1]
    expected = torch.einsum('qk,qhw->khw', scores[0], masks[0, :, :48].sigmoid()).argmax(0)
    assert (torch.from_numpy(np.asarray(found.semantic_map)) == expected).double().mean() > 0.999


@pytest.fixture
def told(monkeypatch):
    """What is logged about tasks."""
    lines = []
    for module in (encoder_only, task_choice):
        monkeypatch.setattr(module, 'print_log', lambda text, *_, **__: lines.append(text))
    return lines


def test_a_task_that_was_not_trained_is_warned_of(peers, tmp_path, image, told):
    folder = save_peer(peers['dinov2'], tmp_path / 'coco_instance_eomt')
    inferencer = OneFormerInferencer(weights=folder, device='cpu')
    assert [line for line in told if line.startswith('task: instance, by the name of')]
    told.clear()
    inferencer(image, tasks='semantic', progress=False)
    (line,) = told
    assert 'semantic is asked for' in line and 'has only instance' in line


def test_a_model_of_which_no_task_is_known_says_so(peers, tmp_path, told):
    folder = save_peer(peers['dinov2'], tmp_path / 'weights')
    assert OneFormerInferencer(weights=folder, device='cpu').tasks == ('panoptic',)
    assert 'does not say for which: panoptic is assumed' in told[0]


def test_tasks_and_classes_stay_with_converted_weights(peers, tmp_path):
    folder = save_peer(peers['dinov2'], tmp_path / 'weights', **named(CLASSES))
    things = dict(classes=list(CLASSES), thing_classes=list(CLASSES[:4]))
    (tmp_path / 'meta.json').write_text(json.dumps(things))
    write(
        read(folder), tmp_path / 'a.pth', metainfo=str(tmp_path / 'meta.json'), tasks=['semantic']
    )
    write(read(tmp_path / 'a.pth'), tmp_path / 'b', 'huggingface')
    for weights in (tmp_path / 'a.pth', tmp_path / 'b'):
        inferencer = OneFormerInferencer(weights=weights, device='cpu')
        assert inferencer.tasks == ('semantic',)
        assert tuple(inferencer.dataset_meta['thing_classes']) == tuple(CLASSES[:4])


def test_instance_models_of_coco_have_its_things(tmp_path):
    folder = save_peer(build_peer('dinov2', num_labels=80), tmp_path / 'coco_instance_eomt')
    inferencer = OneFormerInferencer(weights=folder, device='cpu')
    things = tuple(KNOWN_DATASETS['coco']['thing_classes'])
    assert inferencer.dataset_meta['classes'] == inferencer.dataset_meta['thing_classes'] == things


def test_a_difference_to_dinov3_needs_what_it_is_added_to(peers, tmp_path, run_tool, monkeypatch):
    whole = peers['dinov3'].state_dict()
    generator = torch.Generator().manual_seed(5)
    is_backbone = ('embeddings.', 'layers.', 'layernorm.')
    base = {
        key: torch.randn(value.shape, generator=generator)
        for key, value in whole.items()
        if key.startswith(is_backbone)
    }
    changed = {key: value - base[key] if key in base else value for key, value in whole.items()}
    file, dino = tmp_path / 'coco_panoptic.bin', tmp_path / 'dinov3'
    torch.save(authors_names(changed, 'dinov3'), file)
    names = {
        key.replace('layers.', 'layer.').replace('layernorm.', 'norm.'): value
        for key, value in base.items()
    }
    dino.mkdir()
    save_file(names, dino / 'model.safetensors')
    (dino / 'config.json').write_text('{"model_type": "dinov3_vit"}')
    with pytest.raises(CheckpointError, match='export ONEFORMER_DINOV3=DINOV3'):
        OneFormerInferencer(weights=file, device='cpu')
    run_tool('convert_checkpoint', file, 'ours.pth', '--metainfo', 'ade20k', '--base', dino)
    found = read(tmp_path / 'ours.pth').tensors
    expected = read(save_peer(peers['dinov3'], tmp_path / 'hf')).tensors
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)
    # every use adds it by itself
    monkeypatch.setenv('ONEFORMER_DINOV3', str(dino))
    used = OneFormerInferencer(weights=file, device='cpu').model
    for state in (used.state_dict(), load_checkpoint(str(file))['state_dict']):
        assert_same({key: state[key] for key in found}, found)
    for how in ('exact', 'start'):
        assert_same({key: fit(read(file), used, how).tensors[key] for key in found}, found)
    trained = tmp_path / 'trained.bin'  # whole: to add would be silently wrong
    near = {key: base[key] + 0.1 * value if key in base else value for key, value in whole.items()}
    torch.save(authors_names(near, 'dinov3'), trained)
    with pytest.raises(CheckpointError, match="holds whole weights.*Say 'none'"):
        load_checkpoint(str(trained))
    monkeypatch.setenv('ONEFORMER_DINOV3', 'none')
    loaded = load_checkpoint(str(trained))['state_dict']
    assert loaded.keys() >= found.keys()
    monkeypatch.delenv('ONEFORMER_DINOV3')
    with pytest.raises(CheckpointError, match='export ONEFORMER_DINOV3=DINOV3'):
        load_checkpoint(str(file))
    other = save_peer(peers['dinov2'], tmp_path / 'v2')
    with pytest.raises(SystemExit, match='is not what'):
        run_tool('convert_checkpoint', file, 'other.pth', '--base', other)
    with pytest.raises(SystemExit, match='leave out --base'):
        run_tool('convert_checkpoint', other, 'other.pth', '--base', dino)


def test_what_a_target_has_no_place_for_is_said(peers, tmp_path):
    weights = read(save_peer(peers['dinov2'], tmp_path / 'coco_panoptic', **named(CLASSES)))
    with pytest.raises(CheckpointError, match='the original has no encoder-only model'):
        write(weights, tmp_path / 'a.pth', 'shi-labs')
    weights.tensors['panoptic_head.task_queries.first.weight'] = torch.zeros(32, 77)
    with pytest.raises(CheckpointError, match='EoMT has no task token'):
        write(weights, tmp_path / 'a', 'huggingface')
    assert LABELS == 150 and set(TASKS)


@pytest.mark.parametrize('layout', ['huggingface', 'huggingface-eomt'])
def test_a_folder_is_replaced_if_asked_for(peers, tmp_path, layout):
    weights = read(save_peer(peers['dinov2'], tmp_path / 'coco_panoptic', **named(CLASSES)))
    write(weights, tmp_path / 'out', layout)
    with pytest.raises(CheckpointError, match='has files: give a new folder, or --overwrite'):
        write(weights, tmp_path / 'out', layout)
    assert write(weights, tmp_path / 'out', layout, overwrite=True).target == 'huggingface-eomt'
    (tmp_path / 'file').touch()
    with pytest.raises(CheckpointError, match='is a file: give another path'):
        write(weights, tmp_path / 'file', layout, overwrite=True)
