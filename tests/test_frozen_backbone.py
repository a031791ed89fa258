"""Checkpoints that leave the weights of a frozen backbone to the file they come from."""

import shutil

import pytest
import torch
from mmdet.registry import MODELS
from toy_model import toy_config
from vit_peers import WIDTH, original_file, our_config

from oneformer.host.errors import CheckpointError
from oneformer.weights import fit, read
from oneformer.weights.frozen import hash_of


@pytest.fixture
def vit(tmp_path):
    """The authors' file of a small DINOv3."""
    path = tmp_path / 'vit.pth'
    torch.save(original_file('dinov3'), path)
    return path


@pytest.fixture
def config(config_dir, tiny_set, tmp_path, vit):
    """A toy whose backbone is frozen and not saved."""
    cfg = toy_config(config_dir, tiny_set)
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(vit))
    cfg.model.backbone = our_config(
        'dinov3', pyramid=True, out_channels=16, frozen=True, save_frozen=False, init_cfg=init_cfg
    )
    cfg.model.panoptic_head.in_channels = [16] * 4
    data = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=f'{tiny_set}/'))
    cfg.merge_from_dict(dict(val_dataloader=data, test_dataloader=data, work_dir='run'))
    cfg.merge_from_dict({'train_cfg.max_iters': 1})
    path = tmp_path / 'small.py'
    cfg.dump(path)
    return path


@pytest.fixture
def trained(config, run_tool, tmp_path):
    run_tool('train', config)
    return tmp_path / 'run/iter_1.pth'


def content(path):
    return torch.load(path, weights_only=False)


def built(path):
    from mmengine.config import Config

    return MODELS.build(Config.fromfile(path).model)


def test_a_checkpoint_has_the_source_and_not_the_weights(trained, config, vit, run_tool, tmp_path):
    saved = content(trained)
    names = [key for key in saved['state_dict'] if key.startswith('backbone.')]
    assert names and all(key.startswith('backbone.pyramid.') for key in names)
    note = saved['meta']['frozen_backbone']
    tensors = read(str(vit)).tensors
    assert note == dict(source=str(vit), sha256=hash_of(tensors))
    assert saved['meta']['licence'] == 'dinov3-license'
    # resuming, testing, predicting and converting read the file once more
    run_tool('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=2')
    again = content(tmp_path / 'run/iter_2.pth')
    assert again['meta']['frozen_backbone'] == note
    run_tool('test', config, trained, '--tasks', 'semantic')
    model = built(config)
    whole = fit(read(str(trained)), model, 'exact').tensors
    assert torch.equal(whole['backbone.cls_token'], tensors['backbone.cls_token'])
    run_tool('convert_checkpoint', trained, 'whole.pth')
    with pytest.raises(SystemExit, match='Hugging Face has no names for this backbone'):
        run_tool('convert_checkpoint', trained, 'folder', '--to', 'huggingface')
    assert not (tmp_path / 'folder').exists()
    converted = content(tmp_path / 'whole.pth')
    assert converted['meta']['licence'] == 'dinov3-license'
    assert torch.equal(converted['state_dict']['backbone.norm.bias'], tensors['backbone.norm.bias'])


def test_the_source_may_lie_beside_the_checkpoint_and_nothing_else_will_do(
    trained, config, vit, tmp_path
):
    from mmengine.config import Config

    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None
    moved = vit.rename(tmp_path / 'elsewhere.pth')
    with pytest.raises(
        CheckpointError, match='(?s)save_frozen=False.*Put it beside the checkpoint as'
    ):
        fit(read(str(trained)), MODELS.build(cfg.model), 'exact')
    shutil.copy(moved, trained.parent / 'vit.pth')
    fit(read(str(trained)), MODELS.build(cfg.model), 'exact')
    other = torch.load(moved, weights_only=True)
    other['cls_token'][0, 0, 0] += 1
    torch.save(other, trained.parent / 'vit.pth')
    with pytest.raises(CheckpointError, match='vit.pth: other weights, their hash is'):
        fit(read(str(trained)), MODELS.build(cfg.model), 'exact')
    cfg.model.backbone.init_cfg = dict(type='PretrainedBackbone', checkpoint=str(moved))
    fit(read(str(trained)), MODELS.build(cfg.model), 'exact')


def test_predictions_from_the_checkpoint_alone_find_the_source(trained, vit, tmp_path):
    from oneformer.inference import OneFormerInferencer

    OneFormerInferencer(weights=str(trained))
    vit.unlink()
    with pytest.raises(CheckpointError, match='leaves|save_frozen=False'):
        OneFormerInferencer(weights=str(trained))


@pytest.mark.parametrize(
    ('note', 'message'),
    [
        (dict(source='/dev/zero', sha256='0'), 'which was not found'),
        (dict(source='https://host/', sha256='0'), 'which was not found'),
        (dict(source='owner/name', sha256='0'), 'which was not found'),
        (dict(source='x' * 5000, sha256='0'), 'which was not found'),
        (dict(source=7), 'is damaged: meta.frozen_backbone is'),
        ('vit.pth', 'meta.frozen_backbone of .*not a dict'),
    ],
)
def test_the_word_of_a_checkpoint_opens_and_fetches_nothing_else(
    tmp_path, monkeypatch, note, message
):
    def refuse(*_, **__):
        raise AssertionError('a connection')

    monkeypatch.setattr('socket.socket.connect', refuse)
    tensors = {'backbone.pyramid.x': torch.ones(1), 'panoptic_head.cls_embed.bias': torch.ones(3)}
    torch.save(dict(meta=dict(frozen_backbone=note), state_dict=tensors), tmp_path / 'x.pth')
    model = torch.nn.Module()
    model.backbone = MODELS.build(our_config('dinov3', frozen=True, save_frozen=False))
    with pytest.raises(CheckpointError, match=message):
        fit(read(str(tmp_path / 'x.pth')), model, 'predict')


def test_weights_without_a_source_cannot_be_left_out(config, run_tool):
    with pytest.raises(SystemExit, match='they come from none: set model.backbone.init_cfg'):
        run_tool('train', config, '--cfg-options', 'model.backbone.init_cfg=None')
    with pytest.raises(ValueError, match='save_frozen=False leaves out weights that training'):
        MODELS.build(our_config('dinov3', save_frozen=False))


def test_other_loaders_do_not_leave_the_backbone_at_random(trained, config):
    model = built(config)
    with pytest.raises(ValueError, match='leaves the weights of the frozen backbone out'):
        model.load_state_dict(content(trained)['state_dict'], strict=False)
    model.init_weights()
    model.load_state_dict(content(trained)['state_dict'], strict=False)
    assert model.backbone.cls_token.shape == (1, 1, WIDTH)


def test_averaged_weights_are_left_out_and_resumed_too(config, run_tool, tmp_path):
    config.write_text(config.read_text() + "\ncustom_hooks = [dict(type='EMAHook')]\n")
    run_tool('train', config)
    saved = content(tmp_path / 'run/iter_1.pth')
    assert not any('backbone.blocks' in key for key in saved['ema_state_dict'])
    run_tool('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=2')
    again = content(tmp_path / 'run/iter_2.pth')
    assert again['ema_state_dict'].keys() == saved['ema_state_dict'].keys()
