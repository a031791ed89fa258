"""A loss or gradient that is not finite changes nothing, is reported, and can be replayed."""

import functools
import json
import math
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from runs import forget_runs

from oneformer.checkpoint_names import EARLIER
from oneformer.host import finite_steps
from oneformer.host.bad_steps import read_step
from oneformer.host.finite_steps import FiniteSteps, gradient_norm
from oneformer.training import TaskStatistics

BAD = 2  # the iteration that goes wrong, from 1


class Spoil(Hook):
    """Makes something nan in some iterations, and keeps the state of each iteration.

    Args:
        what: Called with the model; spoils its next forward and backward pass, and returns what
            stops that.
        iterations: From 1.
    """

    priority = 'LOW'

    def __init__(self, what, iterations=(BAD,)):
        self.what, self.iterations = what, iterations
        self.states, self.outputs = [], []

    def before_train(self, runner):
        if self.what is nan_features:
            runner.model.backbone.norm_eval = False  # norms that learn their statistics

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.handle = None
        self.states.append(self.state_of(runner))
        if runner.iter + 1 in self.iterations:
            self.handle = self.what(runner.model)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.outputs.append(dict(outputs))
        if self.handle is not None:
            self.handle.remove()

    def after_train(self, runner):
        self.states.append(self.state_of(runner))

    @staticmethod
    def state_of(runner):
        """Weights, buffers and what the optimizer remembers."""
        state = {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}
        for i, moments in runner.optim_wrapper.optimizer.state_dict()['state'].items():
            state |= {f'{i}.{name}': value.clone() for name, value in moments.items()}
        return state


def nan_loss(model):
    return model.criterion.register_forward_hook(
        lambda module, inputs, losses: {**losses, 'loss_mask': losses['loss_mask'] + math.nan}
    )


def nan_gradient(model):
    return model.panoptic_head.cls_embed.bias.register_hook(lambda gradient: gradient * math.nan)


def nan_features(model):
    """What also spoils the running statistics of the backbone."""
    return model.backbone.register_forward_pre_hook(lambda module, inputs: (inputs[0] * math.nan,))


@pytest.fixture
def train(config_dir, tiny_set, tmp_path):
    """Train the quick start's model for some iterations; returns runner and hook."""

    def run(spoil, iterations=3, wrapper=None, stop_after=10, memory=0):
        cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
        cfg.merge_from_dict(
            {
                'work_dir': str(tmp_path / 'run'),
                'model.backbone.pretrained': False,
                'model.backbone.frozen_stages': 0,
                'model.criterion.num_points': 64,
                'model.contrastive_loss.memory': memory,
                'train_dataloader.dataset.data_root': f'{tiny_set}/',
                'train_dataloader.batch_size': 2,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'train_cfg.max_iters': iterations,
                'default_hooks.finite_steps.stop_after': stop_after,
                'default_hooks.logger.interval': 1,
            }
        )
        cfg.optim_wrapper.update(wrapper or {})
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
        cfg.experiment_name = tmp_path.name
        forget_runs()
        runner = Runner.from_cfg(cfg)
        runner.register_hook(spoil)
        runner.train()
        return runner

    return run


def log_of(runner):
    (path,) = Path(runner.log_dir).glob('*.log')
    return path.read_text()


def scalars_of(runner):
    lines = Path(runner.log_dir, 'vis_data/scalars.json').read_text().splitlines()
    return [json.loads(line) for line in lines]


def same(before, after):
    return before.keys() == after.keys() and all(
        torch.equal(value, after[name]) for name, value in before.items()
    )


@pytest.mark.parametrize('spoil', [nan_loss, nan_gradient, nan_features])
def test_a_step_that_is_not_finite_changes_nothing(train, spoil, tmp_path):
    hook = Spoil(spoil)
    runner = train(hook, memory=4)
    first, second, third, last = hook.states
    assert same(second, third)
    assert not same(first, second) and not same(third, last)
    assert all(value.isfinite().all() for value in last.values() if value.is_floating_point())

    log = log_of(runner)
    assert 'iteration 2 was skipped: ' in log and 'Skipped in a row: 1 (' in log
    if spoil is nan_gradient:
        assert 'a gradient (panoptic_head.cls_embed.bias) is not finite.' in log
    if spoil is nan_loss:
        assert 'a loss is not finite.' in log and '(loss_mask not finite)' in log
    batch = read_step(tmp_path / 'run/bad_steps/iter_2/rank0.pth')['batches'][0]
    for image in batch['images']:
        assert f'{image["metainfo"]["img_path"]} ({image["metainfo"]["task"]})' in log
    assert hook.outputs[1] == {}
    for row in scalars_of(runner):
        assert math.isfinite(row['loss']) and row['grad_norm'] > 0
        assert row['task_share/panoptic'] <= 1


@pytest.mark.filterwarnings('ignore:Error detected in')  # the trace that autograd prints
def test_training_stops_after_some_in_a_row_and_a_step_can_be_replayed(train, run_tool, tmp_path):
    def break_texts(model):
        with torch.no_grad():
            model.text_mapper.text_projector.layers[0].weight[0] = math.inf

    with pytest.raises(FloatingPointError, match='2 updates in a row .* at iteration 3.*bad_steps'):
        train(Spoil(break_texts), iterations=5, stop_after=2)
    steps = tmp_path / 'run/bad_steps'
    found = sorted(str(path.relative_to(steps)) for path in steps.glob('*/*'))
    # the weights of steps in a row are the same
    assert found == ['iter_2/rank0.pth', 'iter_2/weights.pth', 'iter_3/rank0.pth']
    assert read_step(steps / 'iter_3/rank0.pth')['weights'] == 'iter_2/weights.pth'

    printed = run_tool('replay_step', steps / 'iter_3/rank0.pth')
    first = printed.split('modules with an output that is not finite, first:\n')[1].split()[0]
    assert first == 'text_mapper.text_projector.layers.0'
    losses = re.findall(r'  (\S*loss\S*) (\S+) \(in training (\S+)\)', printed)
    assert [name for name, here, _ in losses if here == 'nan'] == ['loss', 'loss_contrastive']
    finite = [(here, there) for _, here, there in losses if here != 'nan']
    # points are drawn as they were
    assert len(finite) == 12 and all(here == there for here, there in finite)
    assert re.search(r'parameters with such a gradient:\n  \S+', printed)
    assert "autograd: Function '" in printed

    with pytest.raises(SystemExit, match='error: .*weights.pth is not a batch of a skipped step'):
        run_tool('replay_step', steps / 'iter_2/weights.pth')
    step, weights = steps / 'iter_3/rank0.pth', steps / 'iter_2/weights.pth'
    state = torch.load(weights)['state_dict']
    for old, new in EARLIER.items():
        state = {key.replace(new, old): value for key, value in state.items()}
    torch.save(dict(state_dict=state), tmp_path / 'earlier.pth')
    again = run_tool('replay_step', step, '--weights', tmp_path / 'earlier.pth')
    assert again.partition('iteration 3')[2] == printed.partition('iteration 3')[2] != ''
    state['panoptic_head.query_embed.weight'] = torch.zeros(3, 3)
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    torch.save({'conv9.weight': torch.zeros(1)}, tmp_path / 'strange.pth')
    for name, message in {
        'other.pth': 'does not fit the model of the config',
        'strange.pth': 'no backbone is recognised',
        'nowhere.pth': 'do not exist',
    }.items():
        with pytest.raises(SystemExit, match=f'error: [^\\n]*{name}[^\\n]*{message}'):
            run_tool('replay_step', step, '--weights', tmp_path / name)
    weights.unlink()
    with pytest.raises(SystemExit, match='there is no .*weights.pth: give a checkpoint with'):
        run_tool('replay_step', step)


def test_an_update_of_accumulated_gradients_is_skipped_as_a_whole(train):
    hook = Spoil(nan_features, iterations=(3,))
    train(hook, iterations=6, wrapper=dict(accumulative_counts=2))
    assert not same(hook.states[0], hook.states[2])
    assert same(hook.states[2], hook.states[4])
    assert not same(hook.states[4], hook.states[6])
    assert hook.outputs[2] and not hook.outputs[3]


class Toy:
    """A weight, an optimizer wrapper and the hook, driven as a runner drives them."""

    def __init__(self, folder, wrapper, **options):
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.model.weight)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-30)
        self.optim_wrapper = wrapper(optimizer=optimizer)
        self.work_dir, self.iter = folder, 0
        self.hook = FiniteSteps(**options)
        self.hook.before_train(self)

    def step(self, factor):
        """One iteration with a gradient of this size; whether the weight changed."""
        before = self.model.weight.item()
        self.hook.before_train_iter(self, 0, dict(inputs=[], data_samples=[]))
        loss = (self.model.weight * factor).sum()
        self.optim_wrapper.update_params(loss)
        self.hook.after_train_iter(self, 0, outputs=dict(loss=loss))
        self.iter += 1
        return self.model.weight.item() != before


@pytest.fixture
def scaled(monkeypatch, tmp_path):
    """A toy with a loss scale, on a CPU."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    scaler = functools.partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', scaler)

    def build(init_scale, dtype='float16', **options):
        scale = init_scale if isinstance(init_scale, float) else dict(init_scale=init_scale)
        return Toy(tmp_path, functools.partial(AmpOptimWrapper, scale, dtype), **options)

    return build


def test_the_search_for_a_loss_scale_is_not_counted(scaled, tmp_path):
    toy = scaled(2**30, stop_after=2)
    changed = [toy.step(1e30) for _ in range(6)]  # float32 ends at 2 ** 128 = 1e30 * 2 ** 28.3
    assert changed == [False, False, True, True, True, True]
    assert toy.optim_wrapper.loss_scaler.get_scale() == 2**28
    assert not (tmp_path / 'bad_steps').exists()


@pytest.mark.parametrize(
    'scale, dtype, factor',
    [
        (2**16, 'float16', math.nan),  # the loss itself
        (1, 'float16', 1e39),
        (2.0**30, 'float16', 1e30),  # a scale that does not move
        (2**30, 'bfloat16', 1e30),
    ],
)
def test_what_no_loss_scale_can_help_is_counted(scaled, scale, dtype, factor):
    toy = scaled(scale, dtype, stop_after=2)
    assert not toy.step(factor)
    assert toy.hook.skipped_in_a_row == 1
    assert toy.optim_wrapper.loss_scaler.get_scale() == scale
    assert toy.step(1.0) is False or toy.hook.skipped_in_a_row == 0
    assert toy.hook.skipped_in_a_row == 0
    assert not toy.step(factor)
    with pytest.raises(FloatingPointError):
        toy.step(factor)


def test_not_more_than_twenty_steps_are_kept(tmp_path):
    toy = Toy(tmp_path, OptimWrapper, stop_after=100)
    for factor in [math.nan, 1.0] * 21:
        toy.step(factor)
    kept = list((tmp_path / 'bad_steps').iterdir())
    assert len(kept) == 20 and all((folder / 'weights.pth').is_file() for folder in kept)


def test_a_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    def no_space(content, path):
        Path(path).write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', no_space)
    said = []
    monkeypatch.setattr(finite_steps, 'print_log', lambda text, **kwargs: said.append(text))
    toy = Toy(tmp_path, OptimWrapper)
    assert not toy.step(math.nan) and 'No space left on device' in said[0]
    assert toy.step(1e30)
    assert not list((tmp_path / 'bad_steps').glob('*/*'))


def test_a_gradient_that_another_process_has_a_part_of_is_named(tmp_path, monkeypatch):
    def of_two(told):
        return [told, dict(told, forwards=[], gradients=['decoder.weight'])]

    monkeypatch.setattr(finite_steps, 'all_gather_object', of_two)
    monkeypatch.setattr(FiniteSteps, '_bad_gradients', lambda hook: [])
    said = []
    monkeypatch.setattr(finite_steps, 'print_log', lambda text, **kwargs: said.append(text))
    Toy(tmp_path, OptimWrapper).step(1e39)
    assert 'a gradient (decoder.weight) is not finite' in said[0]


def test_an_update_reads_once(tmp_path, monkeypatch):
    toy = Toy(tmp_path, OptimWrapper)
    reads = []
    for name in ('tolist', 'item', '__bool__', '__float__'):
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda x, name=name, do=method: reads.append(name) or do(x)
        )
    toy.hook.before_train_iter(toy, 0, dict(inputs=[], data_samples=[]))
    toy.optim_wrapper.update_params(toy.model.weight.sum())
    assert reads == ['tolist']


def test_the_logged_norm_is_that_of_all_gradients(tmp_path):
    gradients = [torch.randn(3, 4), torch.randn(5)]
    expected = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
    assert float(gradient_norm(gradients)) == pytest.approx(expected)
    toy = Toy(tmp_path, OptimWrapper)
    toy.step(3.0)
    scalars = toy.optim_wrapper.message_hub.log_scalars
    assert scalars['train/grad_norm'].current() == 3


def test_tasks_and_targets_are_counted(config_dir):
    window = ([('panoptic', 3), ('semantic', 5)], [('panoptic', 0), ('panoptic', 4)])
    hub = MessageHub('tasks')
    for batch in window:
        samples = []
        for task, number in batch:
            sample = DetDataSample(metainfo=dict(task=task))
            sample.gt_instances = InstanceData(labels=torch.zeros(number))
            samples.append(sample)
        runner = SimpleNamespace(message_hub=hub)
        TaskStatistics().after_train_iter(runner, 0, dict(data_samples=samples))
    means = {name: buffer.mean() for name, buffer in hub.log_scalars.items()}
    assert means == {
        'train/task_share/panoptic': 3 / 4,
        'train/task_share/semantic': 1 / 4,
        'train/task_share/instance': 0,
        'train/task_targets/panoptic': 7 / 3,
        'train/task_targets/semantic': 5,
    }
    config = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    for name in means:
        assert re.search(config.log_processor.mean_pattern, name)
        assert 'loss' not in name


TWO_PROCESSES = """
import logging, math, sys, types
import torch, torch.distributed as dist
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from oneformer.host import FiniteSteps, OneFormerDistributedDataParallel

dist.init_process_group('gloo')
rank = dist.get_rank()
logger = MMLogger.get_instance('two')
torch.manual_seed(0)
model = OneFormerDistributedDataParallel(torch.nn.Linear(2, 1))
runner = types.SimpleNamespace(
    model=model, work_dir=sys.argv[1], iter=0,
    optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)),
)
hook = FiniteSteps(stop_after=2)
hook.before_train(runner)
weights = [model.module.weight.detach().clone()]
for bad in (False, True, False, True, True):
    sample = DetDataSample(metainfo=dict(img_path=f'image{rank}.jpg', task='semantic'))
    hook.before_train_iter(runner, 0, dict(inputs=[torch.zeros(1)], data_samples=[sample]))
    loss = model(torch.ones(1, 2) + rank).sum()
    # a constant: no gradient tells the other process
    losses = dict(loss_cls=loss + (math.nan if bad and rank == 1 else 0))
    runner.optim_wrapper.update_params(losses['loss_cls'])
    try:
        hook.after_train_iter(runner, 0, outputs=losses)
    except FloatingPointError as error:
        print(f'stopped {rank} at {runner.iter + 1}')
        break
    weights.append(model.module.weight.detach().clone())
    runner.iter += 1
changed = [not torch.equal(a, b) for a, b in zip(weights, weights[1:])]
assert changed == [True, False, True, False], changed
both = [None, None]
dist.all_gather_object(both, weights)
assert all(torch.equal(a, b) for a, b in zip(*both))
"""


def test_all_processes_skip_and_stop_together(tmp_path, forked_python):
    script = tmp_path / 'two.py'
    script.write_text(TWO_PROCESSES)
    result = subprocess.run(
        [forked_python, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
        + [str(script), str(tmp_path)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'stopped 0 at 5' in result.stdout and 'stopped 1 at 5' in result.stdout
    said = result.stdout + result.stderr
    assert 'process 1 (loss_cls not finite): image1.jpg (semantic)' in said
    assert 'image0.jpg' not in said
    for rank in (0, 1):
        step = read_step(tmp_path / f'bad_steps/iter_2/rank{rank}.pth')
        assert step['batches'][0]['is_finite'] == (rank == 0)
