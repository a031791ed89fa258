"""The forward pass equals Hugging Face's, tensor by tensor, with the same random weights."""

import pytest
import torch
from hf_peer import DERIVED_OF_OURS, peer_and_ours, randomise, renamed_weights
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from plain_paths import text_list

from oneformer.models.text_mapper import token_ids
from oneformer.tasks import TASK_TOKEN_IDS, TASKS

pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')


@pytest.fixture(scope='module')
def models(config_dir):
    peer, ours = peer_and_ours(config_dir)
    missing, unexpected = ours.load_state_dict(renamed_weights(peer.state_dict()), strict=False)
    # every tensor of either side is accounted for
    assert not unexpected
    assert all(DERIVED_OF_OURS.fullmatch(key) for key in missing)
    return peer, ours


@pytest.fixture(scope='module')
def images():
    return torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('task', TASKS)
def test_scores_masks_and_queries_equal_the_peers(models, images, task):
    peer, ours = models
    with torch.no_grad():
        expected = run_peer(peer, images, task)
        samples = [DetDataSample(metainfo=dict(task=task)) for _ in images]
        outputs = ours(images, samples, mode='tensor')
    pairs = dict(
        cls_scores=expected.transformer_decoder_class_predictions,
        mask_preds=expected.transformer_decoder_mask_predictions,
        object_queries=expected.transformer_decoder_object_queries,
    )
    assert outputs.keys() == pairs.keys()
    for name, reference in pairs.items():
        assert reference.std() > 0.1, f'{name} of the peer is degenerate'
        torch.testing.assert_close(outputs[name], reference, atol=1e-4, rtol=0, msg=name)
    # masks of both signs, so that masked attention is put to the test
    assert 0.05 < (pairs['mask_preds'] > 0).float().mean() < 0.95


def test_tasks_of_one_pass_equal_separate_passes(models, images):
    _, ours = models
    head = ours.panoptic_head
    with torch.no_grad():
        encoded = head.encode(ours.extract_feat(images))
        together = head.decode(encoded, [list(TASKS)] * 2)
        for t, task in enumerate(TASKS):
            alone = head.decode(encoded, [[task]] * 2)
            torch.testing.assert_close(
                together.cls_scores[:, :, t], alone.cls_scores[:, :, 0], atol=1e-4, rtol=0
            )
            torch.testing.assert_close(
                together.mask_embeds[:, :, t], alone.mask_embeds[:, :, 0], atol=1e-4, rtol=0
            )
    # and the token does matter
    assert (together.cls_scores[-1, :, 0] - together.cls_scores[-1, :, 1]).abs().max() > 0.01


def test_initial_queries_equal_the_peers_contrastive_queries(models, images):
    peer, ours = models
    with torch.no_grad():
        expected = run_peer(peer, images, 'panoptic').transformer_decoder_contrastive_queries
        head = ours.panoptic_head
        decoded = head.decode(head.encode(ours.extract_feat(images)), [['panoptic']] * 2)
    torch.testing.assert_close(decoded.initial_queries[:, 0], expected, atol=1e-4, rtol=0)


def run_peer(peer, images, task):
    """The peer asks for texts whenever it could be trained; the image model does not see them."""
    return peer.model(
        pixel_values=images,
        task_inputs=torch.tensor([TASK_TOKEN_IDS[task]] * len(images)),
        text_inputs=padded_ids(['an image']).expand(len(images), 16, -1),
    )


def padded_ids(texts):
    ids = torch.zeros(len(texts), 77, dtype=torch.long)
    for row, text in zip(ids, texts):
        row[: len(token_ids(text))] = torch.tensor(token_ids(text))
    return ids


def test_text_queries_equal_the_peers_without_the_causal_mask(models, monkeypatch):
    peer, ours = models
    lists = [
        text_list(['a photo with a cat'] * 2, 'a panoptic photo', 16),
        text_list([], 'an instance photo', 16),
    ]
    ids = torch.stack([padded_ids(texts) for texts in lists])  # B N 77
    mapper = ours.text_mapper
    with torch.no_grad():
        expected = peer.model.text_mapper(ids)
        causal = mapper([['a photo with a cat'] * 2, []], ['a panoptic photo', 'an instance photo'])
        # Hugging Face builds a causal mask and never applies it
        monkeypatch.setattr(mapper.text_encoder, 'causal', False)
        features = mapper.encode(ids.flatten(0, 1)).unflatten(0, (2, 16))
        context = mapper.context.weight.expand(2, -1, -1)
    torch.testing.assert_close(torch.cat([features, context], 1), expected, atol=1e-4, rtol=0)
    # ours is causal, as the original
    assert (causal - expected).abs().max() > 0.01


def test_the_full_swin_t_shape_agrees_up_to_flipped_attention_bits(config_dir):
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation

    peer = OneFormerForUniversalSegmentation(OneFormerConfig(num_labels=150, is_training=False))
    peer = randomise(peer).eval()
    model = Config.fromfile(config_dir / 'oneformer_swin-l_ade20k.py').model
    model.backbone.update(
        embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7, init_cfg=None
    )
    model.panoptic_head.update(in_channels=[96, 192, 384, 768], num_queries=150)
    model.update(text_mapper=None, contrastive_loss=None)
    ours = MODELS.build(model).eval()
    missing, unexpected = ours.load_state_dict(renamed_weights(peer.state_dict()), strict=False)
    assert not unexpected and all(DERIVED_OF_OURS.fullmatch(key) for key in missing)

    image = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = peer(pixel_values=image, task_inputs=torch.tensor([TASK_TOKEN_IDS['panoptic']]))
        outputs = ours(image, [DetDataSample(metainfo=dict(task='panoptic'))], mode='tensor')
    scores, masks = expected.class_queries_logits, expected.masks_queries_logits
    assert scores.std() > 0.1 and masks.std() > 0.1
    torch.testing.assert_close(outputs['cls_scores'], scores, atol=1e-2, rtol=0)
    torch.testing.assert_close(outputs['mask_preds'], masks, atol=1e-2, rtol=0)
    same_sign = ((outputs['mask_preds'] > 0) == (masks > 0)).double().mean()
    assert same_sign >= 0.9999
