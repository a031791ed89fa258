"""A training step waits for a GPU twice: for the costs of the matching, and to know it is finite.

Tensors are on the counting device, which computes. Prediction is in ``test_prediction_waits.py``.
"""

import copy
import functools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counting_device import CUDA, CountingDevice
from dinat_peer import TINY
from mmdet.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from runs import forget_runs

from oneformer.host import FiniteSteps, LateRuntimeInfoHook
from oneformer.models.text_mapper import token_ids

SIDE = 64
MATCHING, FINITE = 'assignment.py:queries', 'finite_steps.py:_are_finite'
LOG, FIRST_LOG = 'late_values.py:read', 'late_values.py:_keep'

SMALL = {
    'model.panoptic_head.num_queries': 8,
    'model.panoptic_head.pixel_decoder.encoder.num_layers': 1,
    'model.panoptic_head.task_queries.num_layers': 1,
    'model.panoptic_head.transformer_decoder.num_layers': 2,
    'model.text_mapper.num_layers': 1,
    'model.criterion.num_points': 64,
}
BACKBONES = dict(
    efficientnet={},
    swin=dict(
        backbone=dict(
            _delete_=True,
            type='OneFormerSwinTransformer',
            embed_dims=16,
            depths=(1, 2, 1, 1),
            num_heads=(1, 2, 4, 8),
            window_size=3,
            drop_path_rate=0.0,
        ),
        panoptic_head=dict(in_channels=[16, 32, 64, 128]),
    ),
    dinat=dict(
        backbone=dict(_delete_=True, **{**TINY, 'drop_path_rate': 0.0}),
        panoptic_head=dict(in_channels=[16, 32, 64, 128]),
    ),
    resnet=dict(
        backbone=dict(
            _delete_=True,
            type='OneFormerResNet',
            depth=50,
            base_channels=8,
            frozen_stages=-1,
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
        ),
        panoptic_head=dict(in_channels=[32, 64, 128, 256]),
    ),
    convnext=dict(
        backbone=dict(
            _delete_=True,
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[16, 32, 64, 128]),
            out_indices=(0, 1, 2, 3),
            gap_before_final_norm=False,
        ),
        panoptic_head=dict(in_channels=[16, 32, 64, 128]),
    ),
)


@pytest.fixture
def device(monkeypatch):
    """The counting device; attention runs in plain torch there, and a loss scale is possible."""

    def plain(device, *args, **kwargs):
        path = 'cpu' if torch.device(device).type == 'cpu' else 'torch'
        return path, 'as the test wants it'

    for name, module in list(sys.modules.items()):
        if name.startswith('oneformer') and hasattr(module, 'choose_path'):
            monkeypatch.setattr(module, 'choose_path', plain)
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    scaler = functools.partial(torch.amp.GradScaler, 'cuda')
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', scaler)
    monkeypatch.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)
    monkeypatch.setattr('mmengine.runner.amp.get_device', lambda: 'cuda')
    return CountingDevice()


@pytest.fixture
def config(config_dir):
    """The quick start's model with another backbone, and other options."""

    def build(backbone='swin', **options):
        cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
        cfg.merge_from_dict({**SMALL, 'model.backbone.pretrained': False, **options})
        cfg.merge_from_dict(copy.deepcopy(dict(model=BACKBONES[backbone])))
        return cfg

    return build


def batch(partial=True, seed=0):
    """Two images of a data loader; labels of both may be partial, and targets of one overlap."""
    generator = torch.Generator().manual_seed(seed)
    images, samples = [], []
    for number, extra in enumerate(
        (
            dict(known_labels=(0, 4), ignore=('crowd',)),
            dict(known_labels=(0, 3, 4), searched_labels=(0, 4), ignore=('crowd',)),
        )
    ):
        metainfo = dict(
            task='panoptic',
            texts=['a photo with a ball', 'a photo with a sky'],
            filler='a panoptic photo',
            img_id=number,
            img_shape=(SIDE, SIDE),
        )
        for text in (*metainfo['texts'], metainfo['filler']):
            token_ids(text)  # the tokeniser works on the host
        sample = DetDataSample(metainfo=metainfo | (extra if partial else {}))
        target_map = torch.zeros(1, SIDE, SIDE, dtype=torch.int16)
        target_map[0, :20, :30], target_map[0, 30:, 20:], target_map[0, 25:28] = 1, 2, -1
        sample.gt_instances = InstanceData(labels=torch.tensor([0, 4]))
        sample.gt_target_map = PixelData(sem_seg=target_map)
        if partial and number:
            sample.gt_instances.regions = torch.tensor([[True, False], [True, True]])
        size = 3, SIDE - 8 * number, SIDE  # one is padded
        images.append(torch.randint(256, size, dtype=torch.uint8, generator=generator))
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


class Training:
    """A model, its optimizer and two hooks, driven as a runner drives them."""

    def __init__(self, cfg, folder, device=None):
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).train()
        for name, parameter in self.model.named_parameters():
            if 'sampling_offsets' in name:  # at pixel centres the gradient has kinks
                torch.nn.init.uniform_(parameter, -0.1, 0.1)
        if device is not None:
            device.put(self.model)
        wrapper = dict(cfg.optim_wrapper)
        constructor = dict(
            type=wrapper.pop('constructor'), paramwise_cfg=wrapper.pop('paramwise_cfg')
        )
        build = OPTIM_WRAPPER_CONSTRUCTORS.build({**constructor, 'optim_wrapper_cfg': wrapper})
        self.optim_wrapper = build(self.model)
        self.work_dir, self.iter, self.epoch = folder, 0, 0
        self.max_epochs, self.max_iters = 1, 9
        self.train_dataloader = SimpleNamespace(dataset=None)
        MessageHub._instance_dict.clear()
        self.message_hub = self.optim_wrapper.message_hub = MessageHub.get_instance('waits')
        self.hooks = [FiniteSteps(), LateRuntimeInfoHook()]
        self._call('before_train')

    def _call(self, name, *args):
        for hook in self.hooks:
            getattr(hook, name)(self, *args)

    def step(self, data):
        self._call('before_train_iter', 0, data)
        outputs = self.model.train_step(data, self.optim_wrapper)
        self._call('after_train_iter', 0, data, outputs)
        self.iter += 1
        return outputs


def places(waits):
    return [wait.place for wait in waits]


@pytest.mark.parametrize(
    'partial, options',
    [
        (False, {}),
        (False, {'optim_wrapper.optimizer.foreach': True}),
        (True, {'model.contrastive_loss.memory': 4, 'optim_wrapper.type': 'AmpOptimWrapper'}),
        (True, {'optim_wrapper.clip_grad': None, 'optim_wrapper.type': 'AmpOptimWrapper'}),
    ],
    ids=['float32', 'not fused', 'memory and a loss scale', 'no clipped gradients'],
)
def test_a_step_waits_twice(device, config, tmp_path, partial, options):
    """Also with partial labels and targets that overlap."""
    with device:
        training = Training(config(**options), tmp_path, device)
        training.step(batch(partial))
        del device.waits[:]
        training.step(batch(partial, seed=1))
        assert places(device.waits) == [MATCHING, FINITE]
    fused = training.optim_wrapper.optimizer.defaults['fused']
    assert fused is (None if options.get('optim_wrapper.optimizer.foreach') else True)


def test_texts_and_open_queries_are_queued_before_the_host_waits_for_the_costs(
    device, config, tmp_path, monkeypatch
):
    queued = []

    def note(name, function):
        def noted(*args):
            queued.append((name, len(device._late), len(device.waits)))
            return function(*args)

        return noted

    with device:
        training = Training(config(), tmp_path, device)
        training.step(batch())
        del device.waits[:]
        for name, owner in (('forward', training.model.text_mapper), ('_open_queries', None)):
            owner = owner or training.model.criterion
            monkeypatch.setattr(owner, name, note(name, getattr(owner, name)))
        training.step(batch())
    # the costs are on their way, and nobody has waited
    assert queued == [('forward', 1, 0), *[('_open_queries', 1, 0)] * 2]


def test_accumulated_gradients_are_read_once_for_an_update(device, config, tmp_path):
    with device:
        options = {'optim_wrapper.accumulative_counts': 2}
        training = Training(config(**options), tmp_path, device)
        training.step(batch())
        training.step(batch())
        del device.waits[:]
        training.step(batch())
        training.step(batch())
    assert places(device.waits) == [MATCHING, MATCHING, FINITE]


@pytest.mark.parametrize('backbone', BACKBONES)
def test_backbones_do_not_wait_and_compute_the_same(device, config, tmp_path, backbone):
    """Losses and gradients, which on a GPU take other ways than on a CPU."""
    cfg = config(backbone)
    sets = {n: torch.rand(1, n, 2) for n in (64, 192, 16)}

    def fixed_points(num_sets, num_points, device, key):
        return sets[num_points].repeat(num_sets, 1, 1)

    cpu = Training(cfg, tmp_path)
    cpu.model.criterion.sample_points = fixed_points
    data = cpu.model.data_preprocessor(batch(), True)
    want = cpu.model(**data, mode='loss')
    sum(want.values()).backward()

    with device:
        gpu = Training(cfg, tmp_path, device)
        on_device = {n: device.put(points) for n, points in sets.items()}
        gpu.model.criterion.sample_points = lambda n, p, *_: on_device[p].repeat(n, 1, 1)
        data = gpu.model.data_preprocessor(batch(), True)
        assert {tensor.device for tensor in tensors_of(data)} == {CUDA}
        losses = gpu.model(**data, mode='loss')
        sum(losses.values()).backward()
    assert places(device.waits) == [MATCHING]
    assert losses.keys() == want.keys()
    for name, loss in losses.items():
        assert loss.inner.item() == pytest.approx(want[name].item(), rel=1e-5), name
    expected = dict(cpu.model.named_parameters())
    for name, parameter in gpu.model.named_parameters():
        if expected[name].grad is None:
            assert parameter.grad is None, name
            continue
        difference = (parameter.grad.inner - expected[name].grad).norm()
        assert difference <= 1e-4 * expected[name].grad.norm() + 1e-6, name


def tensors_of(data):
    yield data['inputs']
    for sample in data['data_samples']:
        yield sample.gt_target_map.sem_seg
        yield from (value for _, value in sample.gt_instances.items())


class Watch(Hook):
    """Notes waits and losses of each iteration."""

    priority = 'LOWEST'

    def __init__(self, device):
        self.device, self.waits, self.outputs = device, [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        del self.device.waits[:]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.waits.append(places(self.device.waits))
        self.outputs.append({name: float(value.inner) for name, value in outputs.items()})


@pytest.fixture
def run(device, config, tiny_set, tmp_path):
    """Train on the counting device by mmengine's runner; returns it and what was noted."""

    def train(*hooks, **options):
        cfg = config(
            **{
                'work_dir': str(tmp_path / 'run'),
                'experiment_name': 'waits',
                'log_level': 'ERROR',
                'optim_wrapper.type': 'AmpOptimWrapper',
                'train_dataloader.dataset.data_root': f'{tiny_set}/',
                'train_dataloader.batch_size': 2,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'train_cfg.max_iters': 6,
                'default_hooks.logger.interval': 3,
                'default_hooks.checkpoint.save_last': False,
                'log_processor.window_size': 2,
                **options,
            },
        )
        for name in ('val', 'test'):
            cfg[f'{name}_dataloader'] = cfg[f'{name}_cfg'] = cfg[f'{name}_evaluator'] = None
        del cfg.default_hooks['banner']  # which asks for the name of the GPU
        forget_runs()
        runner = Runner.from_cfg(cfg)
        watch = Watch(device)
        for hook in (watch, *hooks):
            runner.register_hook(hook)
        with device:
            device.put(runner.model)
            runner.train()
        return runner, watch

    return train


class Spoil(Hook):
    """Makes the losses of the masks infinite in one iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        is_now = runner.iter + 1 == self.iteration
        runner.model.criterion.weights['mask'] = math.inf if is_now else 5.0


def test_a_run_waits_twice_in_a_step_and_once_for_a_line_of_the_log(run):
    runner, watch = run(Spoil(5))
    step = [MATCHING, FINITE]
    assert watch.waits[0] == step + [FIRST_LOG] * (len(watch.outputs[0]) + 1)  # grad_norm
    assert watch.waits[1:4] == [step, [*step, LOG], step]
    assert watch.waits[5] == [*step, LOG]

    # what was skipped stays out of the log
    assert watch.outputs[4] == {}
    losses = runner.message_hub.get_scalar('train/loss').data[0].tolist()
    assert losses == [outputs['loss'] for outputs in watch.outputs if outputs]
    rows = [
        json.loads(line)
        for line in Path(runner.log_dir, 'vis_data/scalars.json').read_text().splitlines()
    ]
    assert [row['step'] for row in rows] == [3, 6]
    for row, window in zip(rows, ((1, 2), (3, 5))):
        for name in watch.outputs[0]:
            values = np.array([watch.outputs[place][name] for place in window])
            assert row[name] == values.sum() / 2, name
        assert row['grad_norm'] > 0
