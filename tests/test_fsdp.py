"""Training with every tensor spread over two processes equals training with copies (gloo)."""

import json
import os
import re
import subprocess

import pytest
import torch

from oneformer.host import FullyShardStrategy, sharding

VERSION = re.escape(torch.__version__)

SCRIPT = '''
import json, sys
import torch
import torch.distributed as dist

root, base, data_root, start = sys.argv[1:]
sys.path.insert(0, root)
import oneformer
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS, init_default_scope
from oneformer.commands.run_arguments import use_batch_norm_without_gpu
from torch.distributed.tensor import DTensor


PIPELINE = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[64], max_size=64),
    dict(type='LoadSegmentMap'),
    dict(type='Pad', size=(64, 64), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='SampleTask', probs=dict(panoptic=1)),
    dict(type='PackSegmentInputs'),
]


@HOOKS.register_module()
class Record(Hook):
    """The same chance in every run, and what came of it."""

    def before_train(self, runner):
        self.losses, self.sharded = {}, 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        torch.manual_seed(100 * runner.iter + dist.get_rank())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses[runner.iter] = {k: float(v) for k, v in outputs.items()}
        for values in runner.optim_wrapper.optimizer.state.values():
            part = values['exp_avg']
            self.sharded += isinstance(part, DTensor) and part.to_local().numel() < part.numel()


def put(backend, content, path):
    """What would leave half a file behind if it were killed."""
    assert not str(path).endswith('.pth'), f'{path} is not written beside and renamed'


LocalBackend.put = put


def run(name, sharded, resume=None):
    cfg = Config.fromfile(base)
    cfg.launcher, cfg.work_dir, cfg.experiment_name = 'pytorch', name, name
    cfg.log_level = 'WARNING'
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = data_root
        cfg[loader].update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.dataset.indices = 2
    cfg.train_dataloader.update(  # the same four images in every step
        batch_size=2, sampler=dict(type='InfiniteSampler', shuffle=False)
    )
    cfg.train_dataloader.dataset.update(indices=4, pipeline=PIPELINE)
    cfg.param_scheduler = []
    cfg.model.backbone.pretrained = False
    cfg.optim_wrapper.optimizer.lr = 1e-4
    cfg.train_cfg.update(max_iters=3, val_interval=2)
    cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=-1, save_best='semantic/mIoU')
    cfg.custom_hooks = [dict(type='Record')]
    cfg.load_from, cfg.resume = resume or start, resume is not None
    if sharded:
        cfg.runner_type = 'FlexibleRunner'
        cfg.strategy = dict(type='FullyShardStrategy', units=['InvertedResidual'])
        cfg.optim_wrapper.optimizer.fused = True  # as on a GPU
    use_batch_norm_without_gpu(cfg)
    runner = RUNNERS.build(cfg)
    runner.train()
    record = next(hook for hook in runner.hooks if isinstance(hook, Record))
    scalars = runner.message_hub.log_scalars
    metrics = {k: v for k, v in scalars.items() if k.startswith('val/') and 'time' not in k}
    return dict(
        norms=scalars['train/grad_norm'].data[0].tolist(),
        losses=record.losses,
        sharded=record.sharded,
        metrics={k: float(v.current()) for k, v in metrics.items()},
    )


dist.init_process_group('gloo')
init_default_scope('mmdet')
results = dict(
    copies=run('copies', False),
    parts=run('parts', True),
    parts_resumed=run('parts_resumed', True, 'parts/iter_2.pth'),
    copies_resumed=run('copies_resumed', False, 'parts/iter_2.pth'),
)
with open(f'rank{dist.get_rank()}.json', 'w') as file:
    json.dump(results, file)
dist.barrier()
dist.destroy_process_group()
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory, root_dir, config_dir, tiny_set, forked_python):
    """Where two processes trained with copies, with parts, and with each from the parts' middle."""
    from mmdet.registry import MODELS
    from mmengine.config import Config

    folder = tmp_path_factory.mktemp('fsdp')
    base = config_dir / 'oneformer_efficientnet-lite0_quickstart.py'
    config = Config.fromfile(base).model
    config.backbone.pretrained = False
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    with torch.no_grad():  # sure scores, so that the evaluation has something to count
        model.panoptic_head.cls_embed.weight.mul_(8)
    meta = dict(dataset_meta=dict(classes=config.metainfo['classes']))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'start.pth')
    (folder / 'script.py').write_text(SCRIPT)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'script.py']
    arguments = (root_dir / 'projects', base, f'{tiny_set}/', folder / 'start.pth')
    result = subprocess.run(
        [forked_python, *torchrun, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr[-6000:]
    return folder


@pytest.fixture(scope='module')
def ranks(folder):
    """What each process recorded."""
    return [json.loads((folder / f'rank{rank}.json').read_text()) for rank in (0, 1)]


def test_losses_and_metrics_are_those_of_copies(ranks):
    for rank in ranks:
        copies, parts = rank['copies'], rank['parts']
        assert copies['sharded'] == 0 and parts['sharded'] > 500
        assert list(parts['losses']) == list(copies['losses']) == ['0', '1', '2']
        for step, losses in copies['losses'].items():
            assert parts['losses'][step] == pytest.approx(losses, rel=1e-4, abs=1e-5), step
        assert parts['norms'] == pytest.approx(copies['norms'], rel=1e-3)
        assert parts['metrics'] == pytest.approx(copies['metrics'], abs=0.1, nan_ok=True)
        assert parts['metrics']['val/semantic/mIoU'] > 0


def test_checkpoints_are_those_of_copies(folder):
    start = torch.load(folder / 'start.pth', weights_only=False)['state_dict']
    copies, parts = (
        torch.load(folder / name / 'iter_3.pth', weights_only=False) for name in ('copies', 'parts')
    )
    assert parts['state_dict'].keys() == copies['state_dict'].keys()
    changed = 0
    for name, weights in copies['state_dict'].items():
        ours = parts['state_dict'][name]
        assert type(ours) is torch.Tensor and ours.dtype == weights.dtype
        # Adam makes full steps of 1e-4, also of gradients that are nothing but rounding
        torch.testing.assert_close(ours, weights, rtol=0, atol=6.1e-4)
        update = (weights.double() - start[name].double()).norm()
        changed += bool(update > 0 and (ours - weights).double().norm() < 1e-2 * update)
    first = torch.load(folder / 'parts/iter_2.pth', weights_only=False)
    assert first['progress']['validated']  # so it was written once more, with the best score
    assert (first['meta']['iter'], parts['meta']['iter']) == (2, 3)
    states = [checkpoint['optimizer']['state'] for checkpoint in (copies, parts)]
    assert changed > 0.9 * len(states[0])
    assert states[0].keys() == states[1].keys() and len(states[0]) > 100
    for index, values in states[0].items():
        for name, value in values.items():
            ours = states[1][index][name]
            assert type(ours) is torch.Tensor
            torch.testing.assert_close(ours, value, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize('how', ['parts', 'copies'])
def test_either_way_of_training_goes_on_from_a_checkpoint_of_parts(ranks, how):
    for rank in ranks:
        resumed = rank[f'{how}_resumed']['losses']
        assert list(resumed) == ['2']
        assert resumed['2'] == pytest.approx(rank['parts']['losses']['2'], rel=1e-4, abs=1e-5)


def test_units_that_the_model_does_not_have_are_named():
    strategy = FullyShardStrategy(units=['SwinBlock', 'Linear'])
    with pytest.raises(ValueError, match=r"units: the model has no .* \['SwinBlock'\]"):
        strategy._wrap_model(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_torch_that_cannot_shard_is_refused_with_its_version(monkeypatch):
    monkeypatch.setattr(sharding, 'fully_shard', None)
    with pytest.raises(
        RuntimeError, match=f'needs torch 2.6 or later, and this is torch {VERSION}'
    ):
        FullyShardStrategy(units=['SwinBlock'])


UNITS = '''
import json, sys

sys.path[:0] = sys.argv[1:2]
import torch
import torch.distributed as dist
import oneformer
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from oneformer.host import FullyShardStrategy

SWIN = dict(
    type='OneFormerSwinTransformer', embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4),
    window_size=4, drop_path_rate=0.0,
)


class Net(torch.nn.Module):
    """A backbone, and behind it an island of float32."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = MODELS.build(SWIN)
        self.head = torch.nn.Linear(128, 8)
        self.test_cfg = {}
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))

    def forward(self, x):
        features = self.backbone(x)[-1].mean((2, 3))
        with torch.autocast('cpu', enabled=False):
            return self.head(features.float())


def step(model, x, targets):
    with torch.autocast('cpu', torch.bfloat16):
        outputs = model(x)
    (outputs * targets).sum().backward()
    return outputs.detach()


dist.init_process_group('gloo')
init_default_scope('mmdet')
rank = dist.get_rank()
generator = torch.Generator().manual_seed(1)
x, targets = torch.randn(2, 3, 64, 64, generator=generator), torch.randn(2, 8, generator=generator)
whole = Net()
expected = step(whole, x, targets)
found = {}
for dtype in ('float32', 'bfloat16'):
    model, seen = Net(), []
    layer = model.backbone.stages[0].blocks[0].ffn.layers[0][0]
    layer.register_forward_hook(lambda module, *_: seen.append(str(module.weight.dtype)))
    model.head.register_forward_hook(lambda module, *_: seen.append(str(module.weight.dtype)))
    model = FullyShardStrategy(units=['SwinBlock'], units_dtype=dtype)._wrap_model(model)
    outputs = step(model, x[rank : rank + 1], targets[rank : rank + 1])
    errors = {}
    for (name, ours), theirs in zip(model.named_parameters(), whole.parameters()):
        assert ours.dtype == torch.float32
        if ours.grad is not None:  # a mean over the processes
            gradient = 2 * ours.grad.full_tensor()
            assert gradient.dtype == torch.float32
            errors[name] = float((gradient - theirs.grad).norm() / theirs.grad.norm())
    found[dtype] = dict(
        seen=seen,
        outputs=float((outputs - expected[rank]).abs().max() / expected.abs().max()),
        errors=errors,
        test_cfg=model.test_cfg,
    )
with open(f'units{rank}.json', 'w') as file:
    json.dump(found, file)
dist.barrier()
dist.destroy_process_group()
'''


def test_units_are_fetched_in_bfloat16_and_all_else_is_float32(tmp_path, root_dir, forked_python):
    """Against a whole model under autocast, which sees both images."""
    (tmp_path / 'units.py').write_text(UNITS)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'units.py']
    result = subprocess.run(
        [forked_python, *torchrun, str(root_dir / 'projects')],
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr[-6000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f'units{rank}.json').read_text())
        exact, half = found['float32'], found['bfloat16']
        assert exact['seen'] == ['torch.float32'] * 2 and exact['test_cfg'] == {}
        assert half['seen'] == ['torch.bfloat16', 'torch.float32']
        assert half['test_cfg'] == dict(precision='bf16')  # of validation
        assert exact['outputs'] < 1e-3 and 0 < half['outputs'] < 0.02
        assert len(half['errors']) > 100 and half['errors'].keys() == exact['errors'].keys()
        print({k: max(v['errors'].values()) for k, v in found.items()})
        assert max(half['errors'].values()) < 0.1


def test_a_number_format_that_cannot_be_is_refused(said):
    with pytest.raises(ValueError, match="units_dtype is 'half': it has to be one of float32, bf"):
        FullyShardStrategy(units=['Linear'], units_dtype='half')
    strategy = FullyShardStrategy(units=['Linear'], units_dtype='bfloat16')
    model = torch.nn.Linear(2, 2)
    model.test_cfg = dict(precision='fp32')
    with pytest.raises(ValueError, match='precision is fp32, but strategy.units_dtype=bfloat16 le'):
        strategy._unit_options(model)


@pytest.mark.parametrize('wrapper', [None, dict(type='OptimWrapper')])
def test_without_autocast_units_are_fetched_in_float32_which_is_told(wrapper, said, monkeypatch):
    asked = []
    monkeypatch.setattr(
        'oneformer.host.sharding.DDPStrategy.prepare', lambda self, *args, **_: asked.append(args)
    )
    strategy = FullyShardStrategy(units=['Linear'], units_dtype='bfloat16')
    strategy.prepare('model', optim_wrapper=wrapper)
    assert strategy.units_dtype == 'float32' and asked == [('model',)]
    assert 'strategy.units_dtype=bfloat16 is for training under autocast' in said(20)[0]
    strategy = FullyShardStrategy(units=['Linear'], units_dtype='bfloat16')
    strategy.prepare('model', optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16'))
    assert strategy.units_dtype == 'bfloat16' and not said(20)
