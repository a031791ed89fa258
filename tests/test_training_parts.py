"""Mask annealing, layer decay, two warm-ups and averages together, in trainings from end to end."""

import json
import signal

import numpy as np
import pytest
import torch
from interrupted import Trainer, write_config
from mmdet.registry import MODELS
from mmengine.config import Config

from oneformer.host.errors import CheckpointError
from oneformer.host.unpickling import read_pickle
from oneformer.weights import read
from oneformer.weights.fitting import fit
from oneformer.weights.settings import notes_on

ITERS = 20
# the decoder of the small model has one layer
MORE = """
model['panoptic_head']['mask_annealing'] = dict(spans=[(0.2, 0.8)])
custom_hooks = [dict(type='AveragedWeights', momentum=0.2, warmup=2)]
optim_wrapper = dict(paramwise_cfg=dict(backbone_lr_mult=1.0, layer_decay=0.8))
param_scheduler = [dict(type='TwoStagePolyLR', warmup=5, backbone_warmup=5, by_epoch=False)]
default_hooks['checkpoint'].update(max_keep_ckpts=-1, interval=6, save_begin=7)  # 7, 13, 19, 20
train_cfg.update(val_begin=1, val_interval=None)
"""


@pytest.fixture(scope='module')
def trainer(root_dir):
    """Runs tools/train.py in processes of their own."""
    trainer = Trainer(root_dir)
    yield trainer
    trainer.close()


@pytest.fixture(scope='module')
def config(tmp_path_factory, config_dir, tiny_set):
    path = tmp_path_factory.mktemp('parts') / 'parts.py'
    return write_config(path, config_dir, tiny_set, ITERS, MORE)


@pytest.fixture(scope='module')
def whole(trainer, config):
    """The folder of a run that nothing happened to."""
    folder = config.parent / 'whole'
    code, log = trainer.run(config, folder)
    assert code == 0, log[-3000:]
    return folder


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def curve(checkpoint, name):
    return checkpoint['message_hub']['log_scalars'][name].data[0]


def annealed(done, iterations=ITERS):
    """Probability of the masks after so many iterations, by EoMT's formula."""
    progress = (done - 0.2 * iterations) / (0.6 * iterations)
    return 1.0 if progress < 0 else max(1 - progress, 0) ** 0.9


def test_killed_after_7_and_13_of_20_iterations_everything_goes_on_to_the_bit(
    trainer, config, whole, tmp_path
):
    folder = tmp_path / 'killed'
    for saved in (7, 13):
        code, log = trainer.run(
            config, folder, '--resume', until=(folder / f'iter_{saved}.pth').exists
        )
        assert code == -signal.SIGKILL, log[-3000:]
    code, log = trainer.run(config, folder, '--resume')
    assert code == 0, log[-3000:]
    ours, theirs = (read_pickle(path / f'iter_{ITERS}.pth') for path in (folder, whole))
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'progress'):
        assert same(ours[key], theirs[key]), key
    for name in ('train/loss', 'train/lr', 'train/mask_probability/0'):
        assert np.array_equal(curve(ours, name), curve(theirs, name)), name


def test_probabilities_and_rates_are_the_schedules_at_every_step(whole):
    end = read_pickle(whole / f'iter_{ITERS}.pth')
    expected = [annealed(done) for done in range(1, ITERS + 1)]
    assert curve(end, 'train/mask_probability/0').tolist() == pytest.approx(expected, abs=1e-6)
    for done in (7, 13, 19, 20):
        state = read_pickle(whole / f'iter_{done}.pth')['state_dict']
        saved = state['panoptic_head.mask_annealing.probabilities']
        assert saved.tolist() == pytest.approx([annealed(done)], abs=1e-6)
    # a run of 20 takes a tenth for both warm-ups: an iteration each
    heads = [1e-300, *((1 - (k - 1) / 19) ** 0.9 for k in range(1, ITERS))]
    assert curve(end, 'train/base_lr') == pytest.approx([8e-4 * rate for rate in heads], abs=1e-12)
    groups = end['optimizer']['param_groups']
    layers = {group['layer']: group['initial_lr'] for group in groups}
    # ResNet-18: eight blocks, the stem before them
    assert layers == pytest.approx(
        {None: 8e-4, **{layer: 8e-4 * 0.8 ** (9 - layer) for layer in range(9)}}
    )


def test_validation_test_and_prediction_use_the_averages_and_say_so(
    config, whole, run_command, tiny_set, tmp_path
):
    (log,) = whole.glob('*/*.log')
    checkpoint = whole / f'iter_{ITERS}.pth'
    lines = [
        json.loads(line) for line in log.parent.glob('vis_data/scalars.json').__next__().open()
    ]
    (validated,) = [line for line in lines if 'panoptic/PQ' in line]
    run_command('test', config, checkpoint, '--out-json', 'scores.json', '--work-dir', 'work')
    scores = json.loads((tmp_path / 'scores.json').read_text())
    numbers = {name: score for name, score in scores.items() if score is not None}  # nan
    assert len(numbers) > 9
    assert numbers == pytest.approx({name: validated[name] for name in numbers})
    (tested,) = (tmp_path / 'work').glob('*/*.log')
    told = f'{checkpoint} has weights averaged over the training (EMA), which are used'
    assert told in tested.read_text()
    image = next((tiny_set / 'val').glob('*.*'))
    said = run_command('predict', image, '--weights', checkpoint, '--out-dir', 'out')
    assert told in said
    assert notes_on(read(checkpoint)) == [told]


def test_another_number_of_iterations_goes_on_as_if_it_had_been_so(
    config, whole, run_tool, tmp_path
):
    run_tool(
        'train', config, '--work-dir', tmp_path / 'run', '--resume', whole / 'iter_7.pth',
        '--cfg-options', 'max_iters=12', 'train_cfg.val_begin=1000',
    )  # fmt: skip
    (log,) = (tmp_path / 'run').glob('*/*.log')
    said = log.read_text()
    told = f'[{annealed(7, 12):.3g}]; the checkpoint, of another length or other spans, has '
    assert f'{told}[{annealed(7):.3g}]' in said
    assert 'TwoStagePolyLR: ' in said and 'end was 20 and is 12' in said
    end = read_pickle(tmp_path / 'run/iter_12.pth')
    assert end['state_dict']['panoptic_head.mask_annealing.probabilities'].tolist() == [0]
    assert int(end['ema_state_dict']['steps']) == 12


def test_weights_that_need_no_masks_are_refused_by_a_model_with_masks(config, whole):
    weights = read(whole / f'iter_{ITERS}.pth')
    cfg = Config.fromfile(config)
    del cfg.model.panoptic_head['mask_annealing']
    model = MODELS.build(cfg.model)
    with pytest.raises(CheckpointError) as error:
        fit(weights, model, 'exact')
    assert 'panoptic_head.mask_annealing.probabilities' in str(error.value)
    assert 'mask_annealing=dict(spans=[[0, 1]])' in str(error.value)
    fitted = fit(weights, model, 'start')  # which trains with masks
    assert 'mask annealing: left out, so that attention masks are on from the start' in fitted.lines
    # weights that need masks fit a model that may give them up
    plain = read(whole / f'iter_{ITERS}.pth')
    del plain.tensors['panoptic_head.mask_annealing.probabilities']
    cfg = Config.fromfile(config)
    fitted = fit(plain, MODELS.build(cfg.model), 'exact')
    assert fitted.tensors['panoptic_head.mask_annealing.probabilities'].tolist() == [1]
