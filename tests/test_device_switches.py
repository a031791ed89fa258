"""Switches for a GPU that can be seen without one: pinned batches, gradients as views, layouts."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from torch.utils.data._utils.pin_memory import pin_memory

from oneformer.commands.run_arguments import load_config
from oneformer.datasets import PackSegmentInputs
from oneformer.host import OneFormerDistributedDataParallel
from oneformer.host.pinning import use_pinned_batches

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def quickstart(config_dir):
    return Config.fromfile(config_dir / QUICKSTART)


def test_with_a_gpu_batches_are_pinned_and_their_copies_wait_for_nothing(config_dir, monkeypatch):
    cfg = quickstart(config_dir)
    cfg.val_dataloader.pin_memory = False
    cfg.test_dataloader = None
    own = Config(dict(model=dict(), data_preprocessor=dict(type='DetDataPreprocessor')))
    own.data_preprocessor.non_blocking = False
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, 'is_available', lambda: True)
        use_pinned_batches(cfg)
        use_pinned_batches(own)
    assert cfg.train_dataloader.pin_memory is True and cfg.val_dataloader.pin_memory is False
    assert MODELS.build(cfg.model.data_preprocessor)._non_blocking is True
    assert own.data_preprocessor.non_blocking is False


def test_commands_pin_with_a_gpu_and_change_nothing_without(config_dir, monkeypatch, tmp_path):
    from oneformer.commands.train import make_parser

    args = make_parser().parse_args([str(config_dir / QUICKSTART), '--work-dir', str(tmp_path)])
    plain = load_config(args)
    assert not any('pin_memory' in plain[name] for name in LOADERS)
    assert 'non_blocking' not in plain.model.data_preprocessor
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    pinned = load_config(args)
    assert all(pinned[name].pin_memory for name in LOADERS)


def loaded(task):
    """What a loader returns for two images, with their targets or ground truth."""
    results = dict(img=np.zeros((8, 8, 3), np.uint8), gt_seg_map=np.arange(64).reshape(8, 8) % 3)
    if task:
        results.update(
            gt_labels=np.array([2, 0]), gt_regions=np.eye(2, dtype=bool), task='panoptic'
        )
    return pseudo_collate([PackSegmentInputs().transform(dict(results)) for _ in range(2)])


@pytest.mark.parametrize('task', [True, False], ids=['training', 'evaluation'])
def test_targets_are_pinned_with_the_images(task, monkeypatch):
    pinned = []

    def pin(tensor, *device):
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, 'pin_memory', pin)
    batch = loaded(task)
    found = pin_memory(batch)  # what the loader's thread calls
    assert type(found) is dict and len(found['inputs']) == len(found['data_samples']) == 2
    tensors = {id(tensor) for tensor in pinned}
    for sample, before in zip(found['data_samples'], batch['data_samples']):
        assert type(sample) is type(before) and sample.metainfo == before.metainfo
        assert sample.keys() == before.keys()
        parts = ['gt_instances', 'gt_target_map'] if task else ['gt_panoptic_seg']
        for part in parts:
            for name, value in before.get(part).items():
                assert torch.equal(sample.get(part).get(name), value)
                assert id(sample.get(part).get(name)) in tensors, f'{part}.{name}'
    assert len(pinned) == (2 * 4 if task else 2 * 2)


def test_what_is_not_a_tensor_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda self: self + 1)
    inner = BaseDataElement(x=torch.zeros(2))
    element = BaseDataElement(
        metainfo=dict(name='a'), inner=inner, numbers=np.arange(3), text='b', y=torch.ones(1)
    )
    pinned = element.pin_memory()
    assert pinned.inner.x.tolist() == [1, 1] and pinned.y.tolist() == [2] and pinned.text == 'b'
    assert pinned.numbers is element.numbers and pinned.name == 'a'
    assert element.inner.x.tolist() == [0, 0] and element.y.tolist() == [1]


@pytest.fixture
def alone(tmp_path):
    """A group of this process alone."""
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures('alone')
def test_gradients_are_views_of_what_is_sent_unless_it_is_switched_off():
    def storages(**options):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        model = OneFormerDistributedDataParallel(module, **options)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            _step(model)
            optimizer.step()
        places = {p.grad.untyped_storage().data_ptr() for p in module.parameters()}
        return len(places), [p.detach().clone() for p in module.parameters()]

    views, ours = storages()
    copies, plain = storages(gradient_as_bucket_view=False)
    assert views < copies == 4
    assert all(torch.equal(a, b) for a, b in zip(ours, plain))


def _step(model):
    """Forward of torch's wrapper, since mmengine's calls ``train_step`` of a model of its own."""
    torch.nn.parallel.DistributedDataParallel.forward(model, torch.ones(3, 4)).sum().backward()


@pytest.mark.parametrize(
    ('setting', 'kind', 'half', 'expected'),
    [
        (None, 'cpu', False, True),
        (None, 'cuda', False, False),
        (None, 'cuda', True, True),
        (None, 'mps', True, False),
        (True, 'cuda', False, True),
        (False, 'cpu', False, False),
    ],
)
def test_a_resnet_chooses_its_layout_by_device_and_precision(
    setting, kind, half, expected, monkeypatch
):
    config = dict(type='OneFormerResNet', depth=50, base_channels=4, stem_channels=8)
    backbone = MODELS.build(dict(config, channels_last=setting))
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda kind: half)
    assert backbone._is_channels_last(kind) is expected


def test_either_layout_of_a_resnet_gives_the_same_maps():
    config = dict(type='OneFormerResNet', depth=50, base_channels=4, stem_channels=8)
    torch.manual_seed(0)
    backbone = MODELS.build(dict(config, channels_last=False))
    backbone.eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        planes = backbone(x)
        backbone.channels_last = True
        pixels = backbone(x)
    for one, other in zip(planes, pixels):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert one.is_contiguous() and other.is_contiguous(memory_format=torch.channels_last)
