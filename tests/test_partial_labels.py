"""What labels leave open is not held against the model: classes, pixels, and queries on them."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from oneformer.models.targets import Targets, batch_targets

L, B, Q, C, K = 3, 2, 6, 8, 5
SIDE = 64  # pixels of the input, the mask features have a quarter
KNOWN = torch.tensor([True, False, True, True, False])


@pytest.fixture
def criterion():
    torch.manual_seed(0)
    return MODELS.build(dict(type='SetCriterion', num_classes=K, num_points=200))


def outputs():
    """Class scores, mask embeddings and mask features, that want gradients."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((L, B, Q, K + 1), (L, B, Q, C), (B, C, SIDE // 4, SIDE // 4))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def target_map():
    """Two targets, a square in each left corner."""
    pixels = torch.zeros(SIDE, SIDE, dtype=torch.int16)
    pixels[:24, :24], pixels[40:, :24] = 1, 2
    return pixels


def right_half():
    pixels = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    pixels[:, SIDE // 2 :] = True
    return pixels


def run(criterion, targets, tensors=None):
    """Losses with fixed points, and gradients of the outputs."""
    torch.manual_seed(2)
    tensors = tensors or outputs()
    losses = criterion(*tensors, targets)
    return losses, torch.autograd.grad(sum(losses.values()), tensors)


def both(**kwargs):
    return [Targets(torch.tensor([0, 3]), target_map(), i, **kwargs) for i in range(B)]


def test_classes_that_are_not_annotated_get_no_gradient_and_change_nothing(criterion):
    losses, (scores, *_) = run(criterion, both(known=KNOWN))
    assert (scores[..., :-1][..., ~KNOWN] == 0).all()
    assert (scores[..., :-1][..., KNOWN] != 0).all()
    # the matching does not see them either
    tensors = outputs()
    tensors[0] = tensors[0].detach().clone()
    tensors[0][..., :-1][..., ~KNOWN] += 30
    others, _ = run(criterion, both(known=KNOWN), [tensors[0].requires_grad_(), *tensors[1:]])
    assert losses == others
    # it is for their sake: annotated, they are pushed down
    _, (pushed, *_) = run(criterion, both())
    assert (pushed[..., :-1][..., ~KNOWN] > 0).any()


def test_known_classes_share_the_softmax_among_themselves(criterion):
    tensors = outputs()
    known, _ = run(criterion, both(known=KNOWN), tensors)
    kept = torch.cat([KNOWN, torch.tensor([True])])
    small = MODELS.build(dict(type='SetCriterion', num_classes=3, num_points=200))
    targets = [Targets(torch.tensor([0, 2]), target_map(), i) for i in range(B)]  # renumbered
    expected, _ = run(small, targets, [tensors[0][..., kept], *tensors[1:]])
    for name in expected:
        torch.testing.assert_close(known[name], expected[name])


def test_unknown_pixels_count_in_neither_matching_nor_losses(criterion):
    def half_known():
        pixels = target_map()
        pixels[right_half()] = -1
        return [Targets(torch.tensor([0, 3]), pixels, i, has_unknown=True) for i in range(B)]

    losses, (*_, features) = run(criterion, half_known())
    # bilinear samples reach one pixel of the features over the border
    assert (features[..., SIDE // 8 + 1 :] == 0).all()
    assert (features[..., : SIDE // 8] != 0).any()
    # what the prediction says there does not matter
    tensors = outputs()
    tensors[2].data[..., SIDE // 8 + 1 :] *= -5
    others, _ = run(criterion, half_known(), tensors)
    for name in losses:
        torch.testing.assert_close(others[name], losses[name])
    # it does where the pixels are known to be background
    others, _ = run(criterion, both(), tensors)
    assert others['loss_mask'] != losses['loss_mask']


def on_one_side():
    """Outputs whose even queries lie on the right half, the odd ones on the left."""
    scores, embeds, features = (tensor.detach() for tensor in outputs())
    embeds[:] = 0
    embeds[:, :, 0::2, 0], embeds[:, :, 1::2, 0] = 5.0, -5.0
    features[:, 0] = -1
    features[:, 0, :, SIDE // 8 :] = 1
    return [tensor.requires_grad_() for tensor in (scores, embeds, features)]


@pytest.mark.parametrize('with_targets', [True, False])
def test_a_query_on_unannotated_pixels_is_not_taught_to_be_no_object(criterion, with_targets):
    def targets(unannotated):
        if with_targets:
            return both(unannotated=unannotated)
        none = torch.zeros(0, dtype=torch.long), torch.zeros(SIDE, SIDE, dtype=torch.int16)
        return [Targets(*none, i, unannotated=unannotated) for i in range(B)]

    tensors = on_one_side()
    _, (scores, *_) = run(criterion, targets(right_half()), tensors)
    queries = criterion.match(*tensors, targets(right_half()))
    for b in range(B):
        for layer in range(L):
            for q in range(Q):
                taught = q % 2 == 1 or q in queries[b][layer].tolist()
                assert (scores[layer, b, q] != 0).any() == taught
    _, (scores, *_) = run(criterion, targets(None), on_one_side())
    assert (scores != 0).any(-1).all()


def test_nothing_to_learn_does_not_divide_by_zero(criterion):
    none = torch.zeros(0, dtype=torch.long), torch.full((SIDE, SIDE), -1)
    everywhere = torch.ones(SIDE, SIDE, dtype=torch.bool)
    targets = [Targets(*none, i, unannotated=everywhere, has_unknown=True) for i in range(B)]
    tensors = on_one_side()
    losses, gradients = run(criterion, targets, tensors)
    assert all(value == 0 for value in losses.values())
    assert all((gradient == 0).all() for gradient in gradients)


def sample(task, target_map, labels, **metainfo):
    return DetDataSample(
        metainfo=dict(
            img_id=0,
            task=task,
            texts=['a photo with a crate'] * len(labels),
            filler=f'a {task} photo',
            batch_input_shape=target_map.shape,
            **metainfo,
        ),
        gt_instances=InstanceData(labels=torch.tensor(labels)),
        gt_target_map=PixelData(sem_seg=target_map[None]),
    )


def test_which_pixels_are_open_depends_on_what_the_task_asks_for():
    target_map = torch.tensor([[1, 0, -1]], dtype=torch.int16)
    is_thing = [True, True, False]

    def unannotated(task, known):
        (target,) = batch_targets(
            [sample(task, target_map, [0], known_labels=known, ignore=('crowd',))], is_thing
        )
        assert target.has_unknown
        return target.unannotated.tolist()[0]

    # an instance set of all things: what is not labelled is not a thing
    assert unannotated('instance', (0, 1)) == [False, False, True]
    # of some things: it may be one of the others
    assert unannotated('instance', (0,)) == [False, True, True]
    assert unannotated('semantic', (0, 1)) == [False, True, True]
    assert unannotated('panoptic', None) == [False, False, True]


def test_a_whole_step_leaves_classes_alone_that_no_image_annotates(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.backbone.pretrained = False
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    target_map = torch.zeros(64, 64, dtype=torch.int16)
    target_map[:32] = 1
    partial = dict(known_labels=(1, 5), ignore=('void',))
    samples = [
        sample('semantic', target_map, [1], **partial),
        sample('semantic', target_map, [5], **partial),
    ]
    losses = model(torch.randn(2, 3, 64, 64), samples, mode='loss')
    sum(losses.values()).backward()
    (bias,) = (p for n, p in model.named_parameters() if p.shape == (9,))
    unknown = [0, 2, 3, 4, 6, 7]
    assert (bias.grad[unknown] == 0).all()
    assert (bias.grad[[1, 5, 8]] != 0).all()
