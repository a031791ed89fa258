"""One training step has Hugging Face's losses and gradients, and AdamW takes the same way.

Same weights, images, targets, token ids and points; dropout and drop path are 0. The peer builds a
causal mask for its texts and never applies it, so ours is switched off here.
"""

import contextlib
import json
import math

import pytest
import torch
from hf_peer import peer_and_ours, renamed_weights
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from benchmarks import parity
from benchmarks.peers import (
    double_precision,
    hugging_face_inputs,
    hugging_face_losses,
    same_points,
    same_texts,
)
from benchmarks.timing import OutOfBounds, ResultsDiffer
from oneformer.tasks import Prompts

pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')

TASKS = ('panoptic', 'instance')
TEXTS = (['a photo with a sky', 'a photo with a cat', 'a photo with a cat'], ['a photo with a dog'])


@pytest.fixture
def dtype(request):
    """Also run in double precision, in which rounding cannot explain a difference."""
    double = request.param == 'float64'
    with double_precision() if double else contextlib.nullcontext():
        yield torch.float64 if double else torch.float32


@pytest.fixture
def models(config_dir, dtype):
    """Both sides with the same weights, texts, and points wherever either draws some."""
    peer, ours = peer_and_ours(config_dir)
    ours.load_state_dict(renamed_weights(peer.state_dict()), strict=False)
    peer, ours = peer.to(dtype).train(), ours.to(dtype).train()
    ids = inputs_of_a_step(dtype)['text_inputs']
    with same_points(ours), same_texts(ours, ids):
        yield peer, ours


def batch(dtype):
    """Two images with three targets and one, and their samples."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 96, 160, generator=generator, dtype=dtype)
    maps = torch.zeros(2, 96, 160, dtype=torch.int16)
    maps[0, :30], maps[0, 40:80, 10:60], maps[0, 50:90, 60:120] = 1, 2, 3
    maps[1, 20:90, 70:150] = 1
    labels = (torch.tensor([1, 0, 0]), torch.tensor([2]))
    samples = []
    for i in range(2):
        sample = DetDataSample(
            metainfo=dict(
                task=TASKS[i],
                texts=TEXTS[i],
                filler=Prompts().filler_of(TASKS[i]),
                img_id=i,
                batch_input_shape=(96, 160),
            )
        )
        sample.gt_instances = InstanceData(labels=labels[i])
        sample.gt_target_map = PixelData(sem_seg=maps[i][None])
        samples.append(sample)
    return images, samples


def inputs_of_a_step(dtype):
    return hugging_face_inputs(*batch(dtype), num_texts=16)


def losses_of(model, dtype):
    """Weighted losses under our names."""
    if type(model).__name__ == 'OneFormer':
        return model(*batch(dtype), mode='loss')
    return hugging_face_losses(model, inputs_of_a_step(dtype))


def relative(difference, reference):
    return float(difference.norm() / reference.norm())


@pytest.mark.parametrize('dtype', ['float32', 'float64'], indirect=True)
def test_losses_and_gradients_of_a_step(models, dtype):
    peer, ours = models
    expected, losses = (losses_of(model, dtype) for model in models)
    assert losses.keys() == expected.keys() and len(losses) == 31
    for name, value in expected.items():
        assert value.item() > 0.01, f'{name} of the peer is degenerate'
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    sum(expected.values()).backward()
    sum(losses.values()).backward()

    theirs = renamed_weights(
        {
            name: torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in peer.named_parameters()
        }
    )
    compared = 0
    largest = max(gradient.norm() for gradient in theirs.values())
    for name, parameter in ours.named_parameters():
        if theirs[name].norm() < 1e-6 * largest:
            continue
        assert relative(parameter.grad - theirs[name], theirs[name]) < 1e-3, name
        compared += 1
    assert compared > 0.95 * len(theirs)


# AdamW makes a full step of the sign of a rounding error, where a gradient is zero but for rounding
@pytest.mark.parametrize('dtype', ['float64'], indirect=True)
def test_parameters_after_five_steps(models, dtype):
    peer, ours = models
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for model in models:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            sum(losses_of(model, dtype).values()).backward()
            optimizer.step()
    theirs = renamed_weights(dict(peer.named_parameters()))
    moved = 0
    for name, parameter in ours.named_parameters():
        assert relative(parameter - theirs[name], theirs[name]) < 1e-5, name
        moved += relative(parameter - before[name], before[name]) > 1e-4
    assert moved > 0.9 * len(before)


def images_of_coco(shared_dir):
    """Options that name four images with COCO's own annotation."""
    root = shared_dir / 'data/coco_panoptic_tiny'
    return (
        *('--ann-file', root / 'panoptic_tiny.json'),
        *('--images', root / 'images'),
        *('--segment-maps', root / 'panoptic'),
    )


@pytest.mark.long
def test_200_steps_on_images_of_coco_stay_together(shared_dir, tmp_path, run_tool):
    """Every loss and parameter, on other crops, targets, tasks and points at each step."""
    run_tool(
        *('benchmark', 'parity', '--steps', 200, '--json', tmp_path / 'parity.json'),
        *(*images_of_coco(shared_dir), '--plot', tmp_path / 'parity.png'),
    )
    found = json.loads((tmp_path / 'parity.json').read_text())
    assert found['parity/losses'] < 1e-6 and found['parity/parameters'] < 1e-6
    assert found['parity/moved'] > 0.1
    assert (tmp_path / 'parity.png').read_bytes()[1:4] == b'PNG'


def test_a_difference_ends_the_comparison(shared_dir, tmp_path, run_tool):
    options = ('benchmark', 'parity', '--steps', 2, *images_of_coco(shared_dir))
    printed = run_tool(*options, '--json', tmp_path / 'parity.json')
    found = json.loads((tmp_path / 'parity.json').read_text())
    assert found['parity/losses'] < 1e-12 and 'parity/parameters: ' in printed
    with pytest.raises(OutOfBounds, match='losses differ by up to'):
        run_tool(*options, '--tolerance', 1e-18)


def test_a_loss_that_is_nan_is_a_difference():
    one = {'a': torch.ones(1), 'b': torch.ones(1), 'c': torch.ones(1)}
    assert parity.largest(one, one) == 0
    broken = dict(one, b=torch.full((1,), torch.nan))
    assert math.isnan(parity.largest(broken, one))
    with pytest.raises(ResultsDiffer, match=r"only one side has \['c'\]"):
        parity.largest({'a': one['a'], 'b': one['b']}, one)
