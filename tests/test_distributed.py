"""Several processes compute what one computes on the same global batch (gloo, on a CPU)."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
import torch

# What makes a run comparable across numbers of processes: points and tasks belong to the image, the
# losses are averaged over the processes before they are written down, and everything is computed in
# float64: in float32 the size of a batch changes the rounding, after which losses of one output
# were seen to differ by 1e-4, as a discrete choice would (an attention mask's bit, a point).
COMPARABLE = '''
import json, pathlib, zlib
import torch

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
torch.float32 = torch.float64

from mmcv.transforms import BaseTransform
from mmdet.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.dist import all_gather_object, all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook
from oneformer.datasets import SampleTask
from oneformer.models import SetCriterion


def keyed_points(num_sets, num_points, device, key):
    generator = torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))
    return torch.rand(num_sets, num_points, 2, generator=generator)


@MODELS.register_module()
class KeyedCriterion(SetCriterion):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.sample_points = keyed_points


@TRANSFORMS.register_module()
class TaskOfImage(BaseTransform):
    """From the third step on, every second image loses all of its targets."""

    def transform(self, results):
        task = ['panoptic', 'instance', 'semantic'][results['img_id'] % 3]
        if results['img_id'] > 8 and results['img_id'] % 2 == 0:
            results['gt_seg_map'] = results['gt_seg_map'] * 0
        return SampleTask({task: 1})(results)


@HOOKS.register_module()
class WriteLosses(Hook):
    def before_train(self, runner):
        self.rows = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        row = {}
        names = list(outputs)
        assert all_gather_object(names) == [names] * get_world_size()
        for name, value in outputs.items():
            if 'loss' in name:
                value = torch.as_tensor(value, dtype=torch.float64).reshape(1).clone()
                all_reduce(value, op='mean')
                row[name] = float(value)
        self.rows.append(row)
        if is_main_process():
            pathlib.Path(runner.work_dir, 'losses.json').write_text(json.dumps(self.rows))
'''

CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['oneformer', 'comparable'], allow_failed_imports=False)
data_root = {data_root!r}
model = dict(backbone=dict(pretrained=False), criterion=dict(type='KeyedCriterion'))
pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSegmentMap'),
    dict(type='Pad', size=(128, 128), pad_val=dict(img=(128, 128, 128), seg=0)),
    dict(type='TaskOfImage'),
    dict(type='PackSegmentInputs'),
]
train_dataloader = dict(
    batch_size={batch_size},
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=False),
    dataset=dict(data_root=data_root, pipeline=pipeline),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=2))
param_scheduler = []
# steps in proportion to the gradient: AdamW makes a full step even of a gradient that is zero but
# for rounding, such as that of a bias added to all keys of an attention
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3))
custom_hooks = [dict(type='WriteLosses')]
load_from = {load_from!r}
"""


@pytest.fixture(scope='module')
def start(tmp_path_factory, config_dir, tiny_set):
    """A folder with the helper module, and weights that all runs start from."""
    from mmdet.registry import MODELS
    from mmengine.config import Config

    folder = tmp_path_factory.mktemp('distributed')
    (folder / 'comparable.py').write_text(COMPARABLE)
    config = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    with torch.no_grad():  # sure scores, so that the evaluation has something to count
        model.panoptic_head.cls_embed.weight.mul_(8)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'start.pth')
    return folder


@pytest.fixture(scope='module')
def launch(start, root_dir, config_dir, tiny_set, forked_python):
    """Run a tool in some processes; with one process, without a launcher."""

    def run(name, processes, tool='train', arguments=(), data_root=tiny_set, fails=False):
        config = start / f'{name}.py'
        config.write_text(
            CONFIG.format(
                base=str(config_dir / 'oneformer_efficientnet-lite0_quickstart.py'),
                data_root=f'{data_root}/',
                batch_size=4 // processes,
                load_from=str(start / 'start.pth'),
            )
        )
        # failures once with the true command, which the exit of a process may concern
        python = sys.executable if fails and tool == 'train' else forked_python
        if processes == 1:
            command = [python, root_dir / f'tools/{tool}.py', config, *arguments]
        else:  # the number of processes follows the config, or the checkpoint
            place = 1 if tool == 'test' else 0
            arguments = [*arguments[:place], processes, *arguments[place:]]
            command = [root_dir / f'tools/dist_{tool}.sh', config, *arguments]
        result = subprocess.run(
            [str(part) for part in (*command, '--work-dir', start / name)],
            cwd=start,
            env={
                **os.environ,
                'OMP_NUM_THREADS': '1',
                'CUDA_VISIBLE_DEVICES': '',
                'PYTHONPATH': str(start),
                'ONEFORMER_PYTHON': python,
            },
            text=True,
            capture_output=True,
        )
        output = result.stdout[-3000:] + result.stderr[-3000:]
        assert (result.returncode != 0) == fails, output
        return result.stderr if fails else start / name

    return run


@pytest.fixture(scope='module')
def one(launch):
    """Folder of the training in one process."""
    return launch('one', 1)


@pytest.mark.parametrize('processes', [2, 4])
def test_training_in_some_processes_equals_one(launch, start, one, processes):
    some = launch(f'some{processes}', processes)
    losses = [json.loads((folder / 'losses.json').read_text()) for folder in (one, some)]
    assert len(losses[0]) == len(losses[1]) == 4
    for single, split in zip(*losses):
        assert single.keys() == split.keys() and single['loss_contrastive'] > 0.1
        for name, value in single.items():
            assert split[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    for step in (2, 4):  # before and after the first process without a target
        before, *after = (
            torch.load(path, weights_only=False)['state_dict']
            for path in (
                start / 'start.pth',
                one / f'iter_{step}.pth',
                some / f'iter_{step}.pth',
            )
        )
        updates = {
            name: [state[name].double() - weights.double() for state in after]
            for name, weights in before.items()
            if weights.is_floating_point()
        }
        largest = max(single.norm() for single, _ in updates.values())
        compared = 0
        for name, (single, split) in updates.items():
            if single.norm() < 1e-6 * largest:  # zero but for rounding
                continue
            assert (split - single).norm() <= 1e-5 * single.norm(), name
            compared += 1
        assert compared > 0.5 * len(updates)


@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.long)])
def test_evaluating_an_odd_number_of_images_in_two_processes_equals_one(launch, start, workers):
    scores = []
    for processes in (1, 2):
        out = start / f'scores{processes}.json'
        arguments = (start / 'start.pth', '--out-json', out)
        if processes == 2:
            arguments += '--score-workers', workers  # beside each
        launch(f'test{processes}', processes, tool='test', arguments=arguments)
        scores.append(json.loads(out.read_text()))
    assert scores[0] == scores[1]
    assert scores[0]['semantic/mIoU'] > 0


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_an_error_in_one_process_ends_all_and_is_the_last_thing_told(
    launch, start, tiny_set, tmp_path, tool
):
    broken = tmp_path / 'broken'
    shutil.copytree(tiny_set, broken)
    missing = sorted((broken / ('val' if tool == 'test' else 'train')).glob('*.jpg'))[3]
    missing.unlink()
    arguments = (start / 'start.pth',) if tool == 'test' else ()
    told = launch(f'broken_{tool}', 2, tool, arguments, broken, fails=True)
    summary = told[told.index('Root Cause (first observed failure)') :]
    assert str(missing) in summary and 'Traceback' in summary
    failed_at = re.search(r'time +: (\S+)', summary)[1]
    waited = datetime.now() - datetime.strptime(failed_at, '%Y-%m-%d_%H:%M:%S')
    assert waited < timedelta(seconds=60)


NORMALISERS = """
import torch, torch.distributed as dist
import oneformer
from mmengine.registry import init_default_scope
from mmdet.registry import MODELS
from oneformer.models.targets import Targets

dist.init_process_group('gloo')
rank = dist.get_rank()
init_default_scope('mmdet')
generator = torch.Generator().manual_seed(rank)
shapes = ((1, 1, 5, 4), (1, 1, 5, 8), (1, 8, 8, 8))
outputs = [torch.randn(shape, generator=generator) for shape in shapes]
sizes = (3, 0)  # targets of the two processes
N = sizes[rank]
target_map = torch.arange(32 * 32).view(32, 32) % (N + 1)
targets = [Targets(torch.zeros(N, dtype=torch.long), target_map, 0)]
criterion = MODELS.build(dict(type='SetCriterion', num_classes=3, num_points=20))
def fixed_points(num_sets, num_points, device, key):
    return torch.rand(num_sets, num_points, 2, generator=torch.Generator().manual_seed(0))


criterion.sample_points = fixed_points
losses = criterion(*outputs, targets)

# the class loss of both processes, over the weights of both
query_of = criterion.match(*outputs, targets)
sums, weights = criterion._class_sums(outputs[0], targets, query_of, [(None, None)])
dist.all_reduce(weights)
torch.testing.assert_close(losses['loss_cls'], 2 * 2 * sums[0] / weights[0])
assert (losses['loss_mask'] == 0) == (rank == 1)

# Hugging Face counts the targets of its own process, unless accelerate was set up
from transformers.models.oneformer.modeling_oneformer import OneFormerLoss
theirs = OneFormerLoss(3, None, dict(), 0.1, 20, 3.0, 0.75, 0.07)
own = theirs.get_num_masks([target.labels for target in targets], device='cpu')
assert float(own) == max(N, 1), own
"""


def test_normalisers_are_those_of_the_global_batch(forked_python, tmp_path):
    pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')
    script = tmp_path / 'normalisers.py'
    script.write_text(NORMALISERS)
    result = subprocess.run(
        [
            forked_python,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc_per_node=2',
            script,
        ],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
