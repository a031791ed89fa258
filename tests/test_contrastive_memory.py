"""The memory of the contrastive loss: what it holds, what it teaches, and that it resumes."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from oneformer.models import QueryTextContrastiveLoss, contrastive_loss
from oneformer.models.contrastive_loss import text_key
from oneformer.weights import Weights, fit

Q, C = 3, 4


def batches(count, size, seed=0):
    """Queries (size, Q, C), texts of this shape, and keys, some of which come again."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        queries, texts = torch.randn(2, size, Q, C, generator=generator)
        yield queries, texts, torch.randint(4, (size,), generator=generator).tolist()


def plain_loss(batch, past, scale):
    """The two directions, one image and one candidate after the other.

    Args:
        batch: Triples of queries, texts and key.
        past: The same, in any order.
    """

    def unit(x):
        return x.flatten() / x.flatten().norm()

    total = 0
    for queries, texts, key in batch:
        candidates = list(batch) + [other for other in past if other[2] != key]
        for own, mine, theirs in ((queries, texts, 1), (texts, queries, 0)):
            exponents = [scale * unit(own) @ unit(other[theirs]) for other in candidates]
            prediction = scale * unit(own) @ unit(mine)
            total = total - prediction + torch.stack(exponents).exp().sum().log()
    return 0.5 * total / len(batch)


@pytest.mark.parametrize('memory, size', [(5, 1), (5, 2), (3, 4)])
def test_it_equals_a_plain_loop_over_the_last_images(memory, size):
    loss = QueryTextContrastiveLoss(memory=memory, num_features=Q * C)
    past = []
    for queries, texts, keys in batches(8, size):
        queries.requires_grad_()
        texts.requires_grad_()
        value = loss(queries, texts, keys)
        expected = plain_loss(list(zip(queries, texts, keys)), past, loss.logit_scale.exp()[0])
        torch.testing.assert_close(value, expected)
        if value > 0:
            of_value = torch.autograd.grad(value, (queries, texts, loss.logit_scale))
            of_expected = torch.autograd.grad(expected, (queries, texts, loss.logit_scale))
            for one, other in zip(of_value, of_expected):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        past = [*zip(queries.detach(), texts.detach(), keys), *past][:memory]
    assert value > 0


def test_without_it_the_loss_is_the_original_one():
    loss = QueryTextContrastiveLoss()
    assert list(loss.state_dict()) == ['logit_scale']
    for queries, texts, keys in batches(3, 4):
        value = loss(queries, texts, keys)
        assert value == loss(queries, texts)
        expected = plain_loss(list(zip(queries, texts, keys)), [], loss.logit_scale.exp()[0])
        torch.testing.assert_close(value, expected)


def test_evaluation_does_not_change_it():
    loss = QueryTextContrastiveLoss(memory=3, num_features=Q * C).eval()
    for batch in batches(2, 2):
        loss(*batch)
    assert (loss.memory_keys == -1).all()


def test_texts_in_another_order_have_the_same_key():
    texts, filler = ['a photo with a ball', 'a photo with a sky'], 'a panoptic photo'
    key = text_key(texts, filler)
    assert key >= 0 and key == text_key(texts[::-1], filler)
    assert (
        len({key, text_key(texts, 'a semantic photo'), text_key([*texts, texts[0]], filler)}) == 3
    )


def test_processes_share_one_memory(monkeypatch):
    """Two processes with an image each remember, and learn, what one process does with two."""
    alone = QueryTextContrastiveLoss(memory=5, num_features=Q * C)
    ranks = [QueryTextContrastiveLoss(memory=5, num_features=Q * C) for _ in range(2)]

    def one_process(rank, queries, texts, keys):
        gathered = iter(F.normalize(whole.flatten(1), dim=-1) for whole in (queries, texts))
        with monkeypatch.context() as patch:
            patch.setattr(contrastive_loss, 'gather_with_gradient', lambda x: next(gathered))
            patch.setattr(contrastive_loss, 'all_gather', lambda x: [torch.tensor(keys)])
            patch.setattr(contrastive_loss, 'get_rank', lambda: rank)
            own = slice(rank, rank + 1)
            return ranks[rank](queries[own], texts[own], keys[own])

    for batch in batches(4, 2):
        expected = alone(*batch)
        values = [one_process(rank, *batch) for rank in range(2)]
        torch.testing.assert_close(sum(values) / 2, expected)
        for name, tensor in alone.state_dict().items():
            assert all(torch.equal(loss.state_dict()[name], tensor) for loss in ranks), name


def test_a_resumed_training_has_the_same_losses(tmp_path):
    first = QueryTextContrastiveLoss(memory=5, num_features=Q * C)
    *before, last = batches(5, 2)
    for batch in before:
        first(*batch)
    torch.save(first.state_dict(), tmp_path / 'weights.pth')
    resumed = QueryTextContrastiveLoss(memory=5, num_features=Q * C)
    resumed.load_state_dict(torch.load(tmp_path / 'weights.pth'))
    assert torch.equal(resumed(*last), first(*last))
    for name, tensor in first.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)


def test_checkpoints_with_and_without_it_load_strictly():
    without = QueryTextContrastiveLoss()
    small, large = (QueryTextContrastiveLoss(memory=M, num_features=Q * C) for M in (3, 5))
    for loss in (small, large):
        loss(*next(batches(1, 2)))
    without.logit_scale.data += 1
    for source, target in ((small, without), (without, small), (large, small)):
        target.load_state_dict(source.state_dict(), strict=True)
        assert target.logit_scale == source.logit_scale
    assert (small.memory_keys == -1).all() and (small.memory_queries == 0).all()


@pytest.fixture
def model(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.backbone.pretrained = False
    cfg.model.contrastive_loss.memory = 4
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    model.init_weights()
    return model


def one_image(labels, texts):
    metainfo = dict(task='panoptic', texts=texts, filler='a panoptic photo', img_id=0)
    sample = DetDataSample(metainfo=dict(metainfo, batch_input_shape=(64, 64)))
    sample.gt_instances = InstanceData(labels=torch.tensor(labels))
    target_map = torch.zeros(1, 64, 64, dtype=torch.int16)
    target_map[0, :20, :30] = 1
    sample.gt_target_map = PixelData(sem_seg=target_map)
    return torch.randn(1, 3, 64, 64), [sample]


def test_a_batch_of_one_teaches_the_text_branch(model):
    first = model(*one_image([0], ['a photo with a ball']), mode='loss')['loss_contrastive']
    assert first == 0
    again = model(*one_image([0], ['a photo with a ball']), mode='loss')['loss_contrastive']
    assert again == 0  # the same texts are not negative
    images, samples = one_image([4], ['a photo with a sky'])
    encoded = model.panoptic_head.encode(model.extract_feat(images))
    queries = model.panoptic_head.decode(encoded, [['panoptic']]).initial_queries[:, 0]
    texts = model.text_mapper([samples[0].texts], [samples[0].filler])
    loss = model.contrastive_loss(queries, texts, [7])
    loss.backward()
    assert loss > 0
    for part in (model.text_mapper, model.panoptic_head.task_queries):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-6


def test_published_checkpoints_fit_a_model_that_has_it(model, config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.backbone.pretrained = False
    without = MODELS.build(cfg.model)
    ours, theirs = model.state_dict(), without.state_dict()
    assert ours.keys() - theirs.keys() == {
        f'contrastive_loss.memory_{name}' for name in ('queries', 'texts', 'keys')
    }
    for state, fitted in ((theirs, model), (ours, without)):
        assert (
            fit(Weights.of(state, 'FILE'), fitted, 'exact').tensors.keys()
            == fitted.state_dict().keys()
        )
    model.load_state_dict(theirs, strict=True)
    without.load_state_dict(ours, strict=True)
