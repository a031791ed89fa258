"""Losses that are read late are logged as mmengine logs them, whoever reads them, and whenever."""

import copy
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counting_device import CountingDevice
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from oneformer.host import LateRuntimeInfoHook, late_values
from oneformer.host.unpickling import read_pickle


def outputs_of(count, seed=0):
    """Losses of iterations: most in float32, and what else a model may return."""
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        values = torch.randn(4, generator=generator)
        yield dict(
            loss=values[0],
            loss_cls=values[1:2],  # of one element
            loss_double=values[2].double() / 3,
            loss_half=values[3].half(),
            number=number,
            share=np.float32(0.5),
            ratio=number / 7,
        )


def feed(hook, hub, outputs, each=None):
    for number, values in enumerate(outputs):
        hook.after_train_iter(SimpleNamespace(message_hub=hub), number, outputs=values)
        if each is not None:
            each(number)
    return hub


def same(ours, theirs):
    """The same histories in the same order, to the last bit and type."""
    assert list(ours) == list(theirs)
    for name, history in theirs.items():
        for own, expected in zip(ours[name].data, history.data):
            assert own.dtype == expected.dtype and np.array_equal(own, expected), name


def test_histories_are_those_of_mmengine():
    theirs = feed(RuntimeInfoHook(), MessageHub('theirs'), outputs_of(7))
    ours = feed(LateRuntimeInfoHook(), MessageHub('ours'), outputs_of(7))
    same(ours.log_scalars, theirs.log_scalars)
    for name, history in theirs.log_scalars.items():
        own = ours.get_scalar(name)
        assert own.mean(3) == history.mean(3) and own.min(2) == history.min(2)
        assert own.current() == history.current() and own.max() == history.statistics('max')


def test_values_are_read_at_once_and_only_when_somebody_asks():
    hook, hub = LateRuntimeInfoHook(), MessageHub('late')
    with CountingDevice() as device:

        def iterations(count):
            losses = [dict(loss_a=torch.tensor(1.0 + i), loss_b=torch.tensor(0.5)) for i in count]
            return [{k: device.put(v) for k, v in outputs.items()} for outputs in losses]

        feed(hook, hub, iterations(range(9)))
        assert len(device.waits) == 2  # the first values
        assert hub.get_scalar('train/loss_a').mean(4) == 7.5
        assert hub.get_scalar('train/loss_b').mean() == 0.5
        assert len(device.waits) == 3
        feed(hook, hub, iterations(range(9, 11)))
        hub.state_dict()  # of a checkpoint
        hub.state_dict()
        assert [wait.operator for wait in device.waits[3:]] == ['tolist']
        assert hub.get_scalar('train/loss_a').data[0].tolist() == [1.0 + i for i in range(11)]


def test_values_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(late_values, '_MOST', 6)
    hook, hub = LateRuntimeInfoHook(), MessageHub('many')
    with CountingDevice() as device:
        losses = [device.put(torch.tensor(float(i))) for i in range(20)]
        feed(hook, hub, [dict(loss=loss) for loss in losses])
        assert [wait.operator for wait in device.waits] == ['_local_scalar_dense', *['tolist'] * 3]
        assert hub.get_scalar('train/loss').data[0].tolist() == list(range(20))


def test_what_others_append_keeps_its_place():
    hook, hub = LateRuntimeInfoHook(), MessageHub('others')
    losses = [dict(loss=torch.tensor(float(i))) for i in range(4)]
    feed(hook, hub, losses, each=lambda i: hub.update_scalar('train/loss', 10.0 + i, count=2))
    log, count = hub.get_scalar('train/loss').data
    assert log.tolist() == [0, 10, 1, 11, 2, 12, 3, 13] and count.tolist() == [1, 2] * 4


def test_the_graph_of_a_loss_is_released_and_what_is_not_a_scalar_is_refused_at_once():
    hook, hub = LateRuntimeInfoHook(), MessageHub('graph')
    weight = torch.ones(3, requires_grad=True)
    feed(hook, hub, [dict(loss=weight.sum()) for _ in range(2)])
    (history, kept) = hook._unread.values[0]
    assert history is hub.get_scalar('train/loss') and not kept.requires_grad
    with pytest.raises(AssertionError):
        feed(hook, hub, [dict(loss=torch.ones(2))])


def test_a_checkpoint_holds_curves_of_mmengine_and_training_goes_on_with_them(tmp_path):
    ours = feed(LateRuntimeInfoHook(), MessageHub('first'), outputs_of(3))
    state = ours.state_dict()
    assert {type(history) for history in state['log_scalars'].values()} == {HistoryBuffer}
    assert type(copy.deepcopy(ours.get_scalar('train/loss'))) is HistoryBuffer
    stream = io.BytesIO()
    pickle.dump(ours.get_scalar('train/loss'), stream)
    assert b'oneformer' not in stream.getvalue()
    assert type(pickle.loads(stream.getvalue())) is HistoryBuffer
    torch.save(state, tmp_path / 'state.pth')

    resumed = MessageHub('resumed')
    resumed.load_state_dict(read_pickle(tmp_path / 'state.pth'))
    theirs = feed(RuntimeInfoHook(), MessageHub('whole'), [*outputs_of(3), *outputs_of(4, seed=1)])
    feed(LateRuntimeInfoHook(), resumed, outputs_of(4, seed=1))
    same(resumed.log_scalars, theirs.log_scalars)


def test_a_history_keeps_its_length():
    history = HistoryBuffer([1.0], [1], max_length=3)
    hook, hub = LateRuntimeInfoHook(), MessageHub('short')
    hub.log_scalars['train/loss'] = history
    feed(hook, hub, [dict(loss=torch.tensor(float(i))) for i in range(2, 7)])
    assert hub.get_scalar('train/loss').data[0].tolist() == [4, 5, 6]


@pytest.mark.parametrize('clip', [dict(max_norm=0.1), dict(type='value', clip_value=0.1)])
def test_the_norm_of_clipped_gradients_is_logged_as_by_mmengine(clip):
    histories, weights = [], []
    for hook in (RuntimeInfoHook(), LateRuntimeInfoHook()):
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), 0.1), clip_grad=dict(clip))
        hub = wrapper.message_hub = MessageHub(f'clip {type(hook).__name__}')
        runner = SimpleNamespace(
            optim_wrapper=wrapper,
            message_hub=hub,
            train_dataloader=SimpleNamespace(dataset=None),
            **dict(epoch=0, iter=0, max_epochs=1, max_iters=3),
        )
        clip_func = wrapper.clip_func
        hook.before_train(runner)
        for factor in (1, 2, 3):
            wrapper.update_params(layer(torch.full((1, 3), float(factor))).sum())
        hook.after_train(runner)
        assert wrapper.clip_func is clip_func
        histories.append(copy.deepcopy(hub.log_scalars))
        weights.append(layer.weight.detach().clone())
    same(*histories[::-1])
    assert torch.equal(*weights)
    assert list(histories[0]) == ([] if 'type' in clip else ['train/grad_norm'])
