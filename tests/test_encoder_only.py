"""The model without a decoder is transformers' EoMT, and with a task token a OneFormer."""

import math

import pytest
import torch
from eomt_peer import JOINT, SIZE, VARIANTS, build_ours, build_peer, our_config, weights_of
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
)

from benchmarks.peers import draw_batch, our_outputs, our_samples, same_points
from benchmarks.peers.batches import target_masks
from oneformer.encoder_only import upscaling
from oneformer.kernels.mask_annealing import MaskAnnealing
from oneformer.models.targets import batch_targets
from oneformer.tasks import TASKS
from oneformer.weights import CheckpointError, fit, read, write
from oneformer.weights.architecture import model_config
from oneformer.weights.eomt_names import HUGGING_FACE
from oneformer.weights.meta_models import meta_model
from oneformer.weights.shapes import shapes_of

MASKS = dict(on=1.0, off=0.0)


@pytest.fixture(scope='module')
def peers_of():
    """Peers and their weights by variant and masks, built once."""
    built = {}

    def get(variant, masks):
        if (variant, masks) not in built:
            peer = build_peer(variant)
            peer.attn_mask_probs.fill_(MASKS[masks])
            built[variant, masks] = peer, weights_of(peer)
        return built[variant, masks]

    return get


@pytest.fixture
def images():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def listen(model, seed=3):
    """Let the task token of a model tell tasks apart."""
    last = model.panoptic_head.task_queries.last
    with torch.no_grad():
        noise = torch.randn(last.weight.shape, generator=torch.Generator().manual_seed(seed))
        last.weight.copy_(noise / 4)
    return model


@pytest.mark.parametrize('masks', MASKS)
@pytest.mark.parametrize('variant', VARIANTS)
def test_outputs_without_a_task_are_those_of_eomt(peers_of, images, variant, masks):
    peer, weights = peers_of(variant, masks)
    ours = build_ours(weights)
    with torch.no_grad():
        expected = peer(pixel_values=images)
    found = our_outputs(ours, images, TASKS)
    for scores, mask_logits in zip(found.scores, found.masks):  # the same for every task
        torch.testing.assert_close(scores, expected.class_queries_logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(mask_logits, expected.masks_queries_logits, rtol=0, atol=1e-4)
    assert ours.panoptic_head.is_masked(0) == (masks == 'on')


def test_masks_change_the_outputs(peers_of, images):
    on, off = (
        our_outputs(build_ours(peers_of('dinov2', masks)[1]), images, TASKS[:1]) for masks in MASKS
    )
    assert (on.scores - off.scores).abs().max() > 1e-2


@pytest.mark.parametrize('masks', MASKS)
@pytest.mark.parametrize('variant', ('dinov2', 'dinov3'))
def test_losses_and_gradients_are_those_of_eomt(peers_of, variant, masks):
    peer, weights = peers_of(variant, masks)
    ours = build_ours(weights, criterion=True).train()
    ours.panoptic_head.mask_annealing._is_updated = True  # no hook here
    batch = draw_batch(SIZE, [3, 2], torch.device('cpu'))
    peer.train()
    peer.zero_grad()
    try:
        with same_points(ours):
            losses = ours.loss(batch.images, our_samples(batch))
            expected = peer(
                pixel_values=batch.images,
                mask_labels=[of_image.float() for of_image in target_masks(batch)],
                class_labels=batch.labels,
            ).loss
    finally:
        peer.eval()
    assert len(losses) == 3 * (JOINT + 1)
    total = sum(losses.values())
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=0)
    total.backward()
    expected.backward()
    gradients = HUGGING_FACE.to_ours(
        {name: p.grad for name, p in peer.named_parameters() if p.grad is not None}
    ).tensors
    found = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        scale = gradient.abs().max()
        error = (found[name] - gradient).abs().max()
        assert error <= 1e-3 * scale + 1e-7, name


def test_the_criterion_compares_each_output_with_its_own_mask_features(peers_of):
    _, weights = peers_of('dinov2', 'off')
    ours = build_ours(weights, criterion=True)
    batch = draw_batch(SIZE, [3, 0], torch.device('cpu'))
    targets = batch_targets(our_samples(batch), ours.is_thing.tolist())
    decoded = ours.panoptic_head.decode(ours.extract_feat(batch.images), [['panoptic']] * 2)
    scores, embeds, features = decoded.of_only_task()
    assert len(features) == len(scores) == JOINT + 1
    with same_points(ours):
        losses = ours.criterion(scores, embeds, features, targets)
        for i, of_output in enumerate(features):
            alone = ours.criterion(scores[i : i + 1], embeds[i : i + 1], of_output, targets)
            prefix = '' if i == JOINT else f'd{i}.'
            for name, value in alone.items():
                torch.testing.assert_close(losses[prefix + name], value)


@pytest.mark.parametrize('variant', ('dinov2', 'dinov3'))
def test_training_from_eomt_starts_with_its_outputs(peers_of, images, variant):
    peer, weights = peers_of(variant, 'off')
    alone = build_ours(weights)
    ours = MODELS.build(our_config(weights, text=True, task_queries={}))
    ours.init_weights()
    fitted = fit(weights, ours, 'start')
    ours.load_state_dict(fitted.tensors)
    ours.eval()
    ours.panoptic_head.mask_annealing.update(1.0)
    expected = our_outputs(alone, images, TASKS[:1])
    for task in TASKS:
        found = our_outputs(ours, images, [task])
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.masks, expected.masks)
    assert any('task token: not in the checkpoint' in line for line in fitted.lines)
    assert any(name.startswith('text_mapper.') for name in fitted.fresh)


def test_training_from_eomt_starts_at_another_size_of_images(peers_of):
    _, weights = peers_of('dinov2', 'off')
    config = our_config(weights, task_queries={})
    config['backbone']['img_size'] = 2 * SIZE
    ours = MODELS.build(config)
    fitted = fit(weights, ours, 'start')
    ours.load_state_dict(fitted.tensors)
    assert 'interpolated for other sizes: pos_embed' in fitted.lines
    table = weights.tensors['backbone.pos_embed']
    assert ours.backbone.pos_embed.shape == (1, 4 * table.shape[1], table.shape[2])
    expected = torch.nn.functional.interpolate(
        table.unflatten(1, (4, 4)).permute(0, 3, 1, 2),
        scale_factor=2.0,
        mode='bicubic',
        antialias=True,
    )
    found = ours.backbone.pos_embed.detach().unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('masks', MASKS)
def test_three_tasks_of_one_pass_are_those_of_three_passes(peers_of, images, masks):
    _, weights = peers_of('dinov3', masks)
    ours = listen(build_ours(weights, task_queries={}))
    together = our_outputs(ours, images, TASKS)
    for t, task in enumerate(TASKS):
        alone = our_outputs(ours, images, [task])
        torch.testing.assert_close(together.scores[t], alone.scores[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(together.masks[t], alone.masks[0], rtol=0, atol=1e-4)
    assert (together.scores[0] - together.scores[1]).abs().max() > 1e-2


def test_a_task_is_eomt_with_the_queries_of_the_task(peers_of, images):
    peer, weights = peers_of('dinov2', 'off')
    ours = listen(build_ours(weights, task_queries={}))
    together, own = our_outputs(ours, images, TASKS), peer.query.weight.detach().clone()
    try:
        for t, task in enumerate(TASKS):
            with torch.no_grad():
                token = ours.panoptic_head.task_queries([[task]])[0, 0]
                peer.query.weight.copy_(own + token)
                expected = peer(pixel_values=images)
            torch.testing.assert_close(
                together.masks[t], expected.masks_queries_logits, rtol=0, atol=1e-4
            )
    finally:
        with torch.no_grad():
            peer.query.weight.copy_(own)


def test_shared_patches_are_the_same_for_any_tasks_and_queries_see_their_own(peers_of, images):
    _, weights = peers_of('dinov3', 'on')
    ours = listen(build_ours(weights, task_queries={}, shared_patches=True))
    together = our_outputs(ours, images, TASKS)
    for t, task in enumerate(TASKS):
        alone = our_outputs(ours, images, [task])
        torch.testing.assert_close(together.scores[t], alone.scores[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(together.masks[t], alone.masks[0], rtol=0, atol=1e-4)
    assert (together.scores[0] - together.scores[1]).abs().max() > 1e-2
    # the patches are those of the transformer alone
    decoded = ours.panoptic_head.decode(ours.extract_feat(images), [list(TASKS)] * 2)
    vit = ours.backbone
    embedded = vit.embed(images)
    tokens = vit.norm(vit.run(embedded.tokens, embedded.rope))[:, vit.num_prefix :]
    plain = ours.panoptic_head.upscale(tokens.unflatten(1, embedded.grid)).permute(0, 3, 1, 2)
    torch.testing.assert_close(decoded.mask_features[-1], plain, rtol=0, atol=1e-4)


def test_shared_patches_are_told_by_the_weights(peers_of, images, tmp_path):
    _, weights = peers_of('dinov2', 'off')
    ours = listen(build_ours(weights, task_queries={}, shared_patches=True, criterion=True))
    batch = draw_batch(SIZE, [2, 1], torch.device('cpu'))
    losses = ours.train().loss(batch.images, our_samples(batch))
    assert all(value.isfinite() for value in losses.values())
    ours.eval()
    torch.save(
        dict(state_dict=ours.state_dict(), meta=dict(backbone=ours.backbone.not_in_weights)),
        tmp_path / 'ours.pth',
    )
    found = read(tmp_path / 'ours.pth')
    config = model_config(shapes_of(found.tensors), found.backbone_options)
    again = MODELS.build(config)
    again.load_state_dict(fit(found, again, 'predict').tensors)
    expected = our_outputs(ours, images, TASKS)
    assert torch.equal(our_outputs(again.eval(), images, TASKS).masks, expected.masks)
    with pytest.raises(CheckpointError, match='shared_patches'):
        write(found, tmp_path / 'eomt', 'huggingface')
    other = MODELS.build(our_config(weights, task_queries={}, shared_patches=True))
    lines = fit(weights, other, 'start').lines
    assert any(
        line.startswith('shared patches: the checkpoint was trained without') for line in lines
    )


def test_first_blocks_run_once_for_all_tasks(peers_of, images):
    _, weights = peers_of('dinov2', 'off')
    ours = build_ours(weights, task_queries={})
    batches = []
    for block in ours.backbone.blocks:
        block.register_forward_hook(lambda module, given, output: batches.append(len(output)))
    our_outputs(ours, images, TASKS)
    assert batches == [2, 2] + [1, 1, 1] * 6  # a CPU takes images and tasks one by one


@pytest.mark.parametrize('rows', (1, 3, 8))
def test_masks_found_in_bands_of_rows_are_those_of_whole_features(
    peers_of, images, monkeypatch, rows
):
    _, weights = peers_of('dinov2', 'off')
    ours = listen(build_ours(weights, task_queries={}))
    expected = ours.panoptic_head.decode(ours.extract_feat(images), [list(TASKS)] * 2)
    scores, embeds, features = expected.last()
    rows_before_last = features.shape[-2] // 2
    monkeypatch.setattr(upscaling, 'BAND', 2 * rows * features[0, 0, :, 0].numel())
    bands = []
    ours.panoptic_head.upscale[-1].register_forward_hook(lambda *given: bands.append(given))
    outputs = our_outputs(ours, images, TASKS)
    assert len(bands) == len(TASKS) * len(images) * math.ceil(rows_before_last / rows)
    logits = torch.einsum('btqc,btchw->tbqhw', embeds, features)
    torch.testing.assert_close(outputs.masks, logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(outputs.scores, scores.transpose(0, 1), rtol=0, atol=1e-4)


def test_other_devices_run_all_sequences_together_and_read_them_one_by_one(peers_of, images):
    _, weights = peers_of('dinov2', 'off')
    ours = build_ours(weights).to('meta')  # which tells shapes, and is not a CPU
    runs, bands = [], []
    ours.backbone.blocks[-1].register_forward_hook(lambda *given: runs.append(len(given[-1])))
    ours.panoptic_head.upscale[-1].register_forward_hook(lambda *given: bands.append(given[-1]))
    encoded = ours.extract_feat(images.to('meta'))
    ids = torch.zeros(2, 3, 77, device='meta')
    scores, embeds, logits = ours.panoptic_head.decode_for_prediction(encoded, ids).last()
    assert runs == [2] and [len(features) for features in bands] == [1, 1]
    assert embeds is None and logits.shape == (*scores.shape[:3], SIZE // 4, SIZE // 4)


def test_gradients_flow_through_predictions_of_several_images(peers_of, images):
    _, weights = peers_of('dinov2', 'off')
    ours = listen(build_ours(weights, task_queries={}))
    head, words = ours.panoptic_head, [list(TASKS)] * 2
    gradients = []
    for decode in (head.decode_for_prediction, head.decode):
        scores, embeds, features = decode(ours.extract_feat(images), words).last()
        masks = features if embeds is None else torch.einsum('btqc,btchw->btqhw', embeds, features)
        total = scores.square().mean() + masks.square().mean()
        gradients.append(
            torch.autograd.grad(total, [head.query_embed.weight, ours.backbone.norm.weight])
        )
    for found, expected in zip(*gradients):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def predict(model, images, **test_cfg):
    height, width = images.shape[-2:]
    samples = [
        DetDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        for _ in images
    ]
    model.test_cfg = {**model.test_cfg, **test_cfg}
    with torch.no_grad():
        return model.predict(images, samples)


def test_predictions_of_all_tasks_are_those_of_each(peers_of, images):
    _, weights = peers_of('dinov2', 'off')
    ours = listen(build_ours(weights, task_queries={}))
    ours.is_thing[::2] = True
    options = dict(object_mask_thr=0.005)
    together = predict(ours, images, tasks=TASKS, **options)
    for task, field in zip(TASKS, ('pred_panoptic_seg', 'pred_instances', 'pred_sem_seg')):
        for sample, alone in zip(together, predict(ours, images, tasks=(task,), **options)):
            key = 'masks' if task == 'instance' else 'sem_seg'
            found, expected = (getattr(getattr(s, field), key) for s in (sample, alone))
            assert found.numel() and (found == expected).double().mean() > 0.999


def test_other_sizes_and_windows_predict(peers_of):
    _, weights = peers_of('dinov2', 'off')
    ours = listen(build_ours(weights, task_queries={}))
    images = torch.randn(1, 3, 64, 160, generator=torch.Generator().manual_seed(2))
    whole = predict(ours, images, tasks=TASKS)[0]
    assert whole.pred_sem_seg.sem_seg.shape == (1, 64, 160)
    windows = predict(ours, images, window=dict(size=64, overlap=32, batch=2))[0]
    assert windows.pred_sem_seg.sem_seg.shape == (1, 64, 160)
    one = predict(ours, images[..., :64], window=None, tasks=('semantic',))[0]
    same = windows.pred_sem_seg.sem_seg[..., :32] == one.pred_sem_seg.sem_seg[..., :32]
    assert same.double().mean() > 0.99  # of the first window alone


def test_a_word_that_is_not_a_task_is_refused_with_and_without_a_token(peers_of, images):
    _, weights = peers_of('dinov2', 'off')
    for options in ({}, dict(task_queries={})):
        head = build_ours(weights, **options).panoptic_head
        with pytest.raises(ValueError, match="unknown task 'amodal'"):
            head.queries([['amodal']])


def test_wrong_numbers_are_named(peers_of, images):
    _, weights = peers_of('dinov2', 'off')
    config = our_config(weights)
    with pytest.raises(ValueError, match='num_joint_blocks is 9: .* has 5 blocks'):
        MODELS.build(dict(config['backbone'], num_joint_blocks=9))
    ours = build_ours(weights)
    ours.panoptic_head.mask_annealing = MaskAnnealing([(0, 1)])
    with pytest.raises(ValueError, match='has 1 spans: it takes one for each of 3 joint blocks'):
        our_outputs(ours, images, TASKS[:1])
    with pytest.raises(ValueError, match='num_queries is 1'):
        MODELS.build(dict(config['panoptic_head'], num_queries=1, num_classes=3))


def test_it_learns_and_its_texts_do():
    """A tiny model in training: losses fall, and every part of it gets gradients."""
    torch.manual_seed(0)
    config = our_config(
        weights_of(build_peer('dinov2')), criterion=True, text=True, task_queries={}
    )
    config['panoptic_head']['mask_annealing'] = dict(spans=[(0.0, 1.0)] * JOINT)
    config['panoptic_head']['with_cp'] = True
    ours = MODELS.build(config)
    ours.init_weights()
    ours.train()
    optimizer = torch.optim.AdamW(ours.parameters(), lr=2e-3)
    batches = [draw_batch(SIZE, [2, 3], torch.device('cpu'))._replace(task=task) for task in TASKS]
    curve = []
    steps = 24
    for step in range(steps):
        ours.panoptic_head.mask_annealing.update(step / steps)
        batch = batches[step % len(batches)]
        losses = ours.loss(batch.images, our_samples(batch))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if step == 1:  # after a step the last layer of the task token is not zero any more
            gradients = {name: p.grad for name, p in ours.named_parameters()}
            lost = [name for name, grad in gradients.items() if grad is None or not grad.any()]
        optimizer.step()
        curve.append({name: float(value) for name, value in losses.items()})
    assert not set(lost) - {'backbone.norm.bias'}, lost
    first, last = (sum(sum(c.values()) for c in part) for part in (curve[:3], curve[-3:]))
    assert last < 0.8 * first
    assert 'loss_contrastive' in curve[0]
    assert {'loss_cls', f'd{JOINT - 1}.loss_dice'} <= curve[0].keys()


# in training, and for prediction
PARAMETERS = {
    'oneformer-vit_dinov2-s': (41_795_975, 24_154_502),
    'oneformer-vit_dinov2-b': (112_054_919, 94_315_142),
    'oneformer-vit_dinov2-l': (335_632_519, 317_827_206),
    'oneformer-vit_dinov3-s': (41_176_967, 23_535_494),
    'oneformer-vit_dinov3-b': (110_816_903, 93_077_126),
    'oneformer-vit_dinov3-l': (333_969_543, 316_164_230),
    'eomt_dinov2-s': (23_975_942, 23_975_942),
    'eomt_dinov2-b': (93_663_110, 93_663_110),
    'eomt_dinov2-l': (316_695_686, 316_695_686),
    'eomt_dinov3-s': (23_356_934, 23_356_934),
    'eomt_dinov3-b': (92_425_094, 92_425_094),
    'eomt_dinov3-l': (315_032_710, 315_032_710),
}

# channels, blocks, heads, blocks with queries
SIZES = dict(s=(384, 12, 6, 3), b=(768, 12, 12, 3), l=(1024, 24, 16, 4))


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameter_totals_of_the_bases(config_dir, name):
    model = Config.fromfile(config_dir / f'_base_/models/{name}.py').model
    full = meta_model(dict(model, metainfo='coco'))
    model.update(text_mapper=None, contrastive_loss=None)
    predicting = meta_model(dict(model, metainfo='coco'))
    totals = (sum(p.numel() for p in m.parameters()) for m in (full, predicting))
    assert tuple(totals) == PARAMETERS[name]
    assert len(full.panoptic_head.mask_annealing) == full.backbone.num_joint_blocks
    assert (full.panoptic_head.task_queries is None) == name.startswith('eomt')


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('family', ('dinov2', 'dinov3'))
def test_bases_of_eomt_have_as_many_parameters_as_transformers(size, family):
    channels, depth, heads, joint = SIZES[size]
    options = dict(
        hidden_size=channels,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_blocks=joint,
        num_labels=133,
        image_size=640,
    )
    with torch.device('meta'):
        if family == 'dinov2':
            peer = EomtForUniversalSegmentation(EomtConfig(**options))
        else:
            options.update(intermediate_size=4 * channels)
            peer = EomtDinov3ForUniversalSegmentation(EomtDinov3Config(**options))
    assert sum(p.numel() for p in peer.parameters()) == PARAMETERS[f'eomt_{family}-{size}'][1]
