"""Where Hugging Face differs from the original we follow the original; each difference is named.

The text encoder's missing causal mask is in test_hf_parity.py, the normalisers over several
processes in test_distributed.py.
"""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from given_masks import GivenMasks
from hf_peer import peer_and_ours, renamed_weights
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample

from oneformer.kernels.mask_resize import MaskResize
from oneformer.models import fusion
from oneformer.tasks import TASK_TOKEN_IDS, Prompts

transformers = pytest.importorskip(
    'transformers', reason='the peer is installed by requirements/tests.txt'
)

CLASSES = {'0': dict(name='sky', isthing=0), '1': dict(name='cat', isthing=1)}
IS_THING = torch.tensor([False, True])


@pytest.fixture
def processor(tmp_path):
    (tmp_path / 'classes.json').write_text(json.dumps(CLASSES))
    return transformers.OneFormerImageProcessor(
        repo_path=str(tmp_path), class_info_file='classes.json', num_text=4
    )


def predictions(cls_scores, masks):
    """Raw outputs of one image as the peer's post-processing takes them."""
    return SimpleNamespace(class_queries_logits=cls_scores[None], masks_queries_logits=masks[None])


def ours_of(cls_scores, masks, size):
    """The same for our post-processing, with the size of the input and the prediction."""
    resize = MaskResize(masks.shape[1:], size, size, size)
    return GivenMasks(cls_scores, masks), resize


def confident(labels, num_classes=2):
    """Class logits that are sure of the given labels."""
    return 12.0 * F.one_hot(torch.tensor(labels), num_classes + 1)


def encode(processor, maps, task):
    inputs = processor.encode_inputs(
        [torch.zeros(3, 4, 4)] * len(maps),
        task_inputs=[task] * len(maps),
        segmentation_maps=maps,
        instance_id_to_semantic_id={5: 0, 6: 1, 7: 1},
        return_tensors='pt',
    )
    return inputs['text_inputs']


def test_the_padding_text_of_panoptic_has_the_article_of_the_original(processor):
    (texts,) = encode(processor, [torch.full((4, 4), 5).numpy()], 'panoptic')
    assert texts[-1] == 'an panoptic photo'
    assert Prompts().filler_of('panoptic') == 'a panoptic photo'


def test_texts_of_one_image_do_not_leak_into_the_next(processor, models):
    maps = [torch.full((4, 4), 6).numpy(), torch.full((4, 4), 5).numpy()]
    first, second = encode(processor, maps, 'panoptic')
    assert 'a photo with a cat' in first
    assert 'a photo with a cat' in second  # although there is only sky
    mapper = models[1].text_mapper
    sky = ['a photo with a sky']
    with torch.no_grad():
        together = mapper([['a photo with a cat'], sky], ['panoptic'] * 2)
        alone = mapper([sky], ['panoptic'])
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


@pytest.fixture(scope='module')
def models(config_dir):
    peer, ours = peer_and_ours(config_dir, dropout=0.1)
    ours.load_state_dict(renamed_weights(peer.state_dict()), strict=False)
    return peer.eval(), ours.eval()


def test_inputs_are_padded_to_multiples_of_32(models):
    peer, ours = models
    image = torch.full((3, 117, 150), 90, dtype=torch.uint8)
    data = ours.data_preprocessor(dict(inputs=[image], data_samples=[DetDataSample()]))
    padding = data['inputs'][0, :, 117:]
    assert data['inputs'].shape == (1, 3, 128, 160) and not padding.any()  # after normalisation
    with torch.no_grad():
        masks = ours(**data, mode='tensor')['mask_preds']
        theirs = peer.model(
            pixel_values=torch.zeros(1, 3, 117, 150),
            task_inputs=torch.tensor([TASK_TOKEN_IDS['panoptic']]),
            text_inputs=torch.zeros(1, 16, 77, dtype=torch.long),
        ).transformer_decoder_mask_predictions
    assert masks.shape[-2:] == (32, 40)
    assert theirs.shape[-2:] == (30, 38)


def test_evaluation_has_no_dropout(models):
    peer, ours = models
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))

    def run_ours():
        with torch.no_grad():
            return ours(images, mode='tensor')['cls_scores']

    def run_peer():
        with torch.no_grad():
            return peer.model(
                pixel_values=images,
                task_inputs=torch.tensor([TASK_TOKEN_IDS['panoptic']]),
                text_inputs=torch.zeros(1, 16, 77, dtype=torch.long),
            ).transformer_decoder_class_predictions

    assert torch.equal(run_ours(), run_ours())
    assert not torch.equal(run_peer(), run_peer())  # its pixel decoder drops out in eval() too
    ours.train()
    assert not torch.equal(run_ours(), run_ours())
    ours.eval()


def test_semantic_masks_are_resized_before_they_are_added(processor):
    generator = torch.Generator().manual_seed(0)
    cls_scores = 3 * torch.randn(6, 3, generator=generator)
    masks = 4 * torch.randn(6, 16, 24, generator=generator)
    size = (64, 96)
    ours = fusion.semantic_map(*ours_of(cls_scores, masks, size))
    resized = F.interpolate(masks[None], size=size, mode='bilinear', align_corners=False)[0]
    scores = torch.einsum('qk,qhw->khw', cls_scores.softmax(-1)[:, :2], resized.sigmoid())
    assert torch.equal(ours, scores.argmax(0))
    (theirs,) = processor.post_process_semantic_segmentation(
        predictions(cls_scores, masks), target_sizes=[size]
    )
    assert 0 < (theirs != ours).float().mean() < 0.1


def test_panoptic_pixels_below_one_half_are_void(processor):
    cls_scores = confident([1])
    masks = torch.full((1, 8, 8), -0.5)  # sigmoid 0.38
    masks[0, :, :4] = 5
    # one query wins every pixel, twice as many as its mask has
    codes, _ = fusion.panoptic_map(*ours_of(cls_scores, masks, (8, 8)), IS_THING, 0.5, 0.8)
    assert (codes[:, :4] != 2).all() and (codes[:, 4:] == 2).all()
    (theirs,) = processor.post_process_panoptic_segmentation(
        predictions(cls_scores, masks), label_ids_to_fuse={0}
    )
    assert (theirs['segmentation'] == theirs['segmentation'][0, 0]).all()


def test_panoptic_ids_are_unique_and_stuff_is_one_segment(processor):
    cls_scores = confident([0, 1, 0, 1])  # sky, cat, sky, cat
    masks = torch.full((4, 8, 8), -9.0)
    for q in range(4):
        masks[q, 2 * q : 2 * q + 2] = 9
    queries, resize = ours_of(cls_scores, masks, (8, 8))
    codes, segments = fusion.panoptic_map(queries, resize, IS_THING, 0.5, 0.8)
    assert codes[::2, 0].tolist() == [0, 1 + 2 * INSTANCE_OFFSET, 0, 1 + 3 * INSTANCE_OFFSET]
    assert [(s['id'], s['label']) for s in segments] == [(1, 0), (2, 1), (3, 1)]
    (theirs,) = processor.post_process_panoptic_segmentation(
        predictions(cls_scores, masks), label_ids_to_fuse={0}
    )
    ids = [segment['id'] for segment in theirs['segments_info']]
    assert len(ids) == 4  # stuff is listed twice
    rows = theirs['segmentation'][::2, 0].tolist()
    assert rows[1] == rows[3]  # and the cats share an id


def test_instances_overlap_and_keep_their_own_pixels(processor):
    cls_scores = confident([1, 1])
    masks = torch.full((2, 16, 16), -8.0)
    masks[0, :8, :8] = 8  # 64 pixels
    masks[1, 4:12, 4:12] = 8  # 64 pixels, 16 of them shared
    ours = fusion.instances(*ours_of(cls_scores, masks, (16, 16)), IS_THING, 2)
    binary = ours['masks']
    assert binary.flatten(1).sum(1).tolist() == [64, 64]
    assert (binary[0] & binary[1]).sum() == 16
    assert ours['scores'].min() > 0.99
    (theirs,) = processor.post_process_instance_segmentation(predictions(cls_scores, masks))
    areas = [(theirs['segmentation'] == s['id']).sum() for s in theirs['segments_info']]
    assert sorted(map(int, areas)) != [64, 64]
