"""One training step has Hugging Face's losses and gradients, and AdamW takes the same way.

Same weights, images, targets, token ids and points; dropout and drop path are 0. The peer builds a
causal mask for its texts and never applies it, so ours is switched off here.
"""

import pytest
import torch
from hf_peer import peer_and_ours, renamed_weights
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from plain_paths import text_list

from oneformer.models.text_mapper import token_ids
from oneformer.tasks import TASK_TOKEN_IDS, Prompts

pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')

TASKS = ('panoptic', 'instance')
TEXTS = (['a photo with a sky', 'a photo with a cat', 'a photo with a cat'], ['a photo with a dog'])
POINTS = 128


@pytest.fixture
def dtype(request, monkeypatch):
    """Also run in double precision, in which rounding cannot explain a difference.

    Both sides cast to float32 in places; there it means float64 for the time of the test.
    """
    if request.param == 'float64':
        monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        monkeypatch.setattr(torch, 'float32', torch.float64)
        yield torch.float64
        torch.set_default_dtype(default)
    else:
        yield torch.float32


@pytest.fixture
def models(config_dir, monkeypatch, dtype):
    """Both sides with the same weights and the same points wherever either draws some."""
    peer, ours = peer_and_ours(config_dir)
    ours.load_state_dict(renamed_weights(peer.state_dict()), strict=False)
    generator = torch.Generator().manual_seed(5)
    # per mask: in matching, candidates of the losses, and those of them taken at random
    sets = {n: torch.rand(1, n, 2, generator=generator) for n in (POINTS, 3 * POINTS, POINTS // 4)}

    def fixed_points(num_sets, num_points, *_, **__):
        return sets[num_points].repeat(num_sets, 1, 1).to(dtype)

    monkeypatch.setattr(torch, 'rand', fixed_points)  # the peer's only source
    ours.criterion.sample_points = fixed_points
    ours.text_mapper.text_encoder.causal = False
    return peer.to(dtype).train(), ours.to(dtype).train()


def batch(dtype):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 96, 160, generator=generator, dtype=dtype)
    maps = torch.zeros(2, 96, 160, dtype=torch.int16)
    maps[0, :30], maps[0, 40:80, 10:60], maps[0, 50:90, 60:120] = 1, 2, 3
    maps[1, 20:90, 70:150] = 1
    labels = (torch.tensor([1, 0, 0]), torch.tensor([2]))
    return images, maps, labels


def padded_ids():
    ids = torch.zeros(2, 16, 77, dtype=torch.long)
    for i, (texts, task) in enumerate(zip(TEXTS, TASKS)):
        for j, text in enumerate(text_list(texts, Prompts().filler_of(task), 16)):
            ids[i, j, : len(token_ids(text))] = torch.tensor(token_ids(text))
    return ids


def peer_losses(peer, dtype):
    """The peer's weighted losses under our names, and their sum with its graph."""
    images, maps, labels = batch(dtype)
    masks = [
        torch.stack([m == k for k in range(1, len(own) + 1)]).to(dtype)
        for m, own in zip(maps, labels)
    ]
    captured = {}
    get_loss_dict = peer.get_loss_dict
    peer.get_loss_dict = lambda *args, **kwargs: captured.setdefault(
        'losses', get_loss_dict(*args, **kwargs)
    )
    total = peer(
        pixel_values=images,
        task_inputs=torch.tensor([TASK_TOKEN_IDS[task] for task in TASKS]),
        text_inputs=padded_ids(),
        mask_labels=masks,
        class_labels=list(labels),
    ).loss
    peer.get_loss_dict = get_loss_dict
    losses = {}
    for name, value in captured['losses'].items():
        name, _, index = name.replace('cross_entropy', 'cls').partition('_')[2].partition('_')
        losses[f'd{index}.loss_{name}' if index else f'loss_{name}'] = value
    return losses, total.sum()


def our_losses(ours, dtype, monkeypatch):
    images, maps, labels = batch(dtype)
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
    mapper = ours.text_mapper

    def untrimmed(texts, tasks):  # without a causal mask the padding behind a text matters
        features = mapper.encode(padded_ids().flatten(0, 1)).unflatten(0, (2, 16))
        return torch.cat([features, mapper.context.weight.expand(2, -1, -1)], 1)

    monkeypatch.setattr(mapper, 'forward', untrimmed)
    losses = ours(images, samples, mode='loss')
    return losses, sum(losses.values())


def relative(difference, reference):
    return float(difference.norm() / reference.norm())


@pytest.mark.parametrize('dtype', ['float32', 'float64'], indirect=True)
def test_losses_and_gradients_of_a_step(models, dtype, monkeypatch):
    peer, ours = models
    expected, expected_total = peer_losses(peer, dtype)
    losses, total = our_losses(ours, dtype, monkeypatch)
    assert losses.keys() == expected.keys() and len(losses) == 31
    for name, value in expected.items():
        assert value.item() > 0.01, f'{name} of the peer is degenerate'
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    expected_total.backward()
    total.backward()

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
def test_parameters_after_five_steps(models, dtype, monkeypatch):
    peer, ours = models
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for model, compute in (
        (peer, lambda: peer_losses(peer, dtype)),
        (ours, lambda: our_losses(ours, dtype, monkeypatch)),
    ):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            compute()[1].backward()
            optimizer.step()
    theirs = renamed_weights(dict(peer.named_parameters()))
    moved = 0
    for name, parameter in ours.named_parameters():
        assert relative(parameter - theirs[name], theirs[name]) < 1e-5, name
        moved += relative(parameter - before[name], before[name]) > 1e-4
    assert moved > 0.9 * len(before)
