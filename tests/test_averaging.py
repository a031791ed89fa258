"""Averaged weights are evaluated, saved and resumed to the bit, and nobody mistakes them."""

import io
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from torch import nn

from oneformer.host import AveragedWeights, FiniteSteps, ResumableCheckpointHook
from oneformer.host.averaging import leave_averages, restore_raw_weights, updates_of
from oneformer.host.errors import CheckpointError


class Model(nn.Module):
    """With running statistics, a counter and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)
        self.register_buffer('seen', torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.seen += 1
        return self.head(self.norm(self.frozen(x)))


TRAINED = ('norm.weight', 'norm.bias', 'head.weight', 'head.bias')


class Run:
    """Training of the model as a runner does it, with a checkpoint that goes through a file."""

    def __init__(self, hook=None, accumulated=1, resume=None, load_from=None):
        torch.manual_seed(0)
        self.model = Model()
        optimizer = torch.optim.AdamW((p for p in self.model.parameters() if p.requires_grad), 0.1)
        self.optim_wrapper = OptimWrapper(optimizer, accumulative_counts=accumulated)
        self.optim_wrapper.initialize_count_status(self.model, 0, 100)
        self.hook = hook or AveragedWeights(momentum=0.2, warmup=2)
        self.hooks, self.iter = [self.hook], 0
        self._resume, self._load_from = resume is not None, 'iter_4.pth'
        checkpoint = resume or load_from
        if checkpoint is not None:
            checkpoint = torch.load(io.BytesIO(checkpoint), weights_only=True)
            self.hook.after_load_checkpoint(self, checkpoint)
            self.model.load_state_dict(checkpoint['state_dict'])
        if resume is not None:
            optimizer.load_state_dict(checkpoint['optimizer'])
            self.iter = checkpoint['iter']
            self.optim_wrapper.initialize_count_status(self.model, self.iter, 100)
        self.hook.before_train(self)

    def train(self, iterations, skipped=()):
        for _ in range(iterations):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(self.iter))
            with self.optim_wrapper.optim_context(self.model):
                loss = self.model(x).square().mean()
            outputs = dict(loss=loss)
            if self.iter in skipped:
                outputs = {}
            else:
                self.optim_wrapper.update_params(loss)
            self.hook.after_train_iter(self, self.iter, outputs=outputs)
            self.iter += 1
        return self

    def saved(self):
        checkpoint = dict(
            state_dict=self.model.state_dict(),
            optimizer=self.optim_wrapper.state_dict(),
            iter=self.iter,
        )
        self.hook.before_save_checkpoint(self, checkpoint)
        file = io.BytesIO()
        torch.save(checkpoint, file)
        return file.getvalue()


def loaded(content):
    return torch.load(io.BytesIO(content), weights_only=True)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


def test_averages_are_those_of_a_plain_loop():
    run, averages = Run(), None
    for update in range(1, 16):
        run.train(1)
        share = max(0.2, 2 / (2 + update - 1))
        weights = {name: run.model.get_parameter(name).detach().clone() for name in TRAINED}
        averages = averages or weights  # the first update copies
        averages = {name: a + share * (weights[name] - a) for name, a in averages.items()}
        for name, average in zip(run.hook.parameters, run.hook.averages, strict=True):
            torch.testing.assert_close(average, averages[name])
    assert tuple(run.hook.parameters) == TRAINED and run.hook.updates == 15
    assert run.hook.share(1) == 1 and run.hook.share(9) == 0.2 == run.hook.share(10**6)


def test_without_a_warm_up_the_average_begins_with_the_first_weights():
    run = Run(AveragedWeights(momentum=0.25, warmup=0))
    before = run.model.head.weight.detach().clone()
    run.train(1)
    expected = 0.75 * before + 0.25 * run.model.head.weight.detach()
    torch.testing.assert_close(run.hook.averages[2], expected)


def test_six_updates_saved_after_four_go_on_to_the_bit():
    whole = loaded(Run().train(6).saved())
    part = Run().train(4).saved()
    resumed = loaded(Run(resume=part).train(2).saved())
    assert same(resumed['state_dict'], whole['state_dict'])  # averages
    assert same(resumed['ema_state_dict'], whole['ema_state_dict'])  # raw weights
    assert int(whole['ema_state_dict']['steps']) == updates_of(resumed) == 6
    assert not torch.equal(
        whole['state_dict']['head.weight'], whole['ema_state_dict']['module.head.weight']
    )


def test_buffers_are_those_of_the_model_and_frozen_parameters_are_saved_once():
    run = Run().train(5)
    checkpoint, model = loaded(run.saved()), run.model.state_dict()
    raw = {k.removeprefix('module.'): v for k, v in checkpoint['ema_state_dict'].items()}
    assert raw.keys() == {*model, 'steps'}  # mmengine's layout
    for name in model.keys() - {*TRAINED}:
        saved = checkpoint['state_dict'][name]
        assert torch.equal(saved, model[name])
        assert saved.data_ptr() == raw[name].data_ptr()
    assert int(checkpoint['state_dict']['seen']) == 5


def test_iterations_without_a_step_do_not_count():
    run = Run(accumulated=3).train(8)
    assert run.hook.updates == 2
    run = Run().train(6, skipped=(1, 3))  # by FiniteSteps
    assert run.hook.updates == 4


def test_validation_sees_the_averages_and_training_goes_on_with_its_weights():
    run = Run().train(4)
    raw = {name: run.model.get_parameter(name).detach().clone() for name in TRAINED}
    averages = dict(zip(TRAINED, (average.clone() for average in run.hook.averages)))
    before = loaded(run.saved())
    run.hook.before_val_epoch(run)
    assert same({name: run.model.get_parameter(name).detach() for name in TRAINED}, averages)
    in_validation = loaded(run.saved())
    run.hook.after_val_epoch(run)
    assert same({name: run.model.get_parameter(name).detach() for name in TRAINED}, raw)
    assert same(in_validation['state_dict'], before['state_dict'])
    assert same(in_validation['ema_state_dict'], before['ema_state_dict'])
    untouched = loaded(Run().train(6).saved())
    assert same(loaded(run.train(2).saved())['ema_state_dict'], untouched['ema_state_dict'])


def test_a_model_that_was_not_trained_here_is_tested_as_it_is():
    hook = AveragedWeights()
    hook.before_test_epoch(None)
    hook.after_test_epoch(None)
    checkpoint = dict(state_dict={})
    hook.before_save_checkpoint(None, checkpoint)
    assert checkpoint == dict(state_dict={})


def test_training_that_starts_from_averages_averages_anew(said):
    file = Run().train(4).saved()
    run = Run(load_from=file)
    assert run.hook.updates == 0
    assert torch.equal(run.model.head.weight, loaded(file)['state_dict']['head.weight'])
    assert torch.equal(run.hook.averages[2], run.model.head.weight)


def test_a_run_that_did_not_average_begins_to_and_says_so(said):
    run = Run(resume=Run(SilentHook()).train(4).saved())
    (warning,) = said()
    assert warning == 'iter_4.pth has no averaged weights: averaging begins with this run'
    assert run.hook.updates == 0 and run.iter == 4


class SilentHook:
    """A run without averages."""

    def before_train(self, runner):
        pass

    def after_train_iter(self, *args, **kwargs):
        pass

    def before_save_checkpoint(self, runner, checkpoint):
        pass


def test_a_run_that_goes_on_without_averaging_has_the_raw_weights(said):
    run = Run().train(4)
    checkpoint = loaded(run.saved())
    runner = SimpleNamespace(
        hooks=[], _resume=True, _load_from='iter_4.pth', optim_wrapper=run.optim_wrapper
    )
    checkpoint['progress'] = {}
    ResumableCheckpointHook(by_epoch=False, interval=1).after_load_checkpoint(runner, checkpoint)
    assert torch.equal(checkpoint['state_dict']['head.weight'], run.model.head.weight)
    (warning,) = said()
    assert 'goes on with the raw weights' in warning and "dict(type='AveragedWeights')" in warning
    for hook in (run.hook, EMAHook()):  # either restores them itself
        checkpoint = loaded(run.saved())
        runner.hooks = [hook]
        leave_averages(runner, checkpoint)
        assert not torch.equal(checkpoint['state_dict']['head.weight'], run.model.head.weight)


def test_checkpoints_of_mmengines_hook_go_on():
    run = Run()
    theirs = EMAHook(momentum=0.2)
    theirs.before_run(run)
    for _ in range(3):
        run.train(1)
        theirs.after_train_iter(SimpleNamespace(iter=run.iter, model=run.model), 0)
    checkpoint = dict(
        state_dict=run.model.state_dict(), optimizer=run.optim_wrapper.state_dict(), iter=3
    )
    averages = {k: v.clone() for k, v in theirs.ema_model.module.state_dict().items()}
    theirs.before_save_checkpoint(None, checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    resumed = Run(resume=file.getvalue())
    assert resumed.hook.updates == 3
    assert same(resumed.model.state_dict(), run.model.state_dict())
    for name, average in zip(resumed.hook.parameters, resumed.hook.averages):
        assert torch.equal(average, averages[name])


def test_mmengines_hook_goes_on_from_our_checkpoints():
    run = Run().train(4)
    checkpoint = loaded(run.saved())
    other = Run()
    other._resume = True
    theirs = EMAHook(momentum=0.2, strict_load=True)
    theirs.before_run(other)
    theirs.after_load_checkpoint(other, checkpoint)
    assert same(checkpoint['state_dict'], run.model.state_dict())
    averages = dict(theirs.ema_model.module.named_parameters())
    for name, average in zip(run.hook.parameters, run.hook.averages):
        assert torch.equal(averages[name], average)
    assert int(theirs.ema_model.steps) == 4


def test_mmengines_hook_cannot_do_what_ours_is_for(said):
    checkpoint = loaded(Run().train(4).saved())
    runner = SimpleNamespace(_resume=True)
    with pytest.raises(AttributeError, match='ema_model'):  # FlexibleRunner resumes before_run
        EMAHook().after_load_checkpoint(runner, checkpoint)
    run = Run()
    theirs = EMAHook(momentum=0.2)
    theirs.before_run(run)
    for _ in range(3):  # of an update that takes more iterations
        theirs.after_train_iter(SimpleNamespace(iter=0), 0)
    assert int(theirs.ema_model.steps) == 3


class FullyShardStrategy:
    pass


class DDPStrategy:
    pass


def test_a_model_that_is_spread_over_processes_is_refused():
    run = Run()
    run.strategy = FullyShardStrategy()
    with pytest.raises(ValueError, match='FullyShardStrategy spreads it. Take AveragedWeights out'):
        run.hook.before_train(run)
    run.strategy = DDPStrategy()
    run.hook.before_train(run)
    run.model.head.weight.full_tensor = None  # a tensor of which this process has a part
    del run.strategy
    with pytest.raises(ValueError, match='its wrapper spreads it'):
        run.hook.before_train(run)


def test_two_averages_and_parameters_of_16_bits_are_refused():
    run = Run()
    run.hooks = [run.hook, EMAHook()]
    with pytest.raises(ValueError, match='AveragedWeights and EMAHook both average'):
        run.hook.before_train(run)
    run.hooks = [run.hook]
    run.model.bfloat16()
    with pytest.raises(ValueError, match='norm.weight and 3 other parameters have less than 32'):
        run.hook.before_train(run)


def test_averages_of_other_parameters_are_refused():
    checkpoint = loaded(Run().train(1).saved())
    kept = dict(checkpoint['ema_state_dict'])
    for change, message in (
        ({'module.body.weight': torch.zeros(2)}, 'is of another model:   body.weight'),
        ({'module.head.bias': torch.zeros(7)}, 'is of another model:   head.bias'),
    ):
        checkpoint['ema_state_dict'] = {**kept, **change}
        with pytest.raises(CheckpointError, match=message):
            restore_raw_weights(checkpoint)
    checkpoint['ema_state_dict'] = {'steps': kept['steps'], 'module.head.bias': torch.zeros(2)}
    run = Run()
    run._resume = True
    run.hook.after_load_checkpoint(run, checkpoint)
    with pytest.raises(CheckpointError, match='no averages of 3 parameters .* such as norm.weight'):
        run.hook.before_train(run)
    checkpoint['ema_state_dict'] = dict(kept, steps=torch.tensor([1.0, 2.0]))
    with pytest.raises(CheckpointError, match='not the number of updates'):
        updates_of(checkpoint)


@pytest.mark.parametrize('arguments', [dict(momentum=0), dict(momentum=1), dict(warmup=-1)])
def test_other_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match='it takes a share between 0 and 1'):
        HOOKS.build(dict(type='AveragedWeights', **arguments))


def test_steps_that_are_skipped_are_known_before_averages_are_updated():
    order = ['HIGHEST', 'VERY_HIGH', 'HIGH', 'ABOVE_NORMAL', 'NORMAL', 'BELOW_NORMAL', 'LOW']
    assert order.index(FiniteSteps.priority) < order.index(AveragedWeights.priority)
    assert ResumableCheckpointHook.priority == 'VERY_LOW'
