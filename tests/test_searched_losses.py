"""What was not looked for in an image is neither taught nor punished there; what was is both."""

import json
import shutil

import pytest
import torch
from interrupted import write_config
from mmdet.registry import MODELS
from test_partial_labels import SIDE, B, K, L, Q, on_one_side, run, sample

from oneformer.models.targets import batch_targets, known_scores, searched_scores

THINGS = [True] * K
CAT, DOG, BIRD, COW, FOX = range(K)
# of image 0 a cat and a dog are annotated, and there may be more dogs; of image 1 a bird and a dog
IMAGES = (
    dict(labels=[CAT, DOG], known_labels=(CAT, DOG, COW), searched_labels=(CAT, COW)),
    dict(labels=[BIRD, DOG], known_labels=(DOG, BIRD), searched_labels=(DOG, BIRD)),
)
SUMS = ('loss_cls', *(f'd{i}.loss_cls' for i in range(L - 1)))


def fixed_points(num_sets, num_points, device, key):
    """The same points in each call."""
    seed = sum(map(ord, str(key)))
    return torch.rand(num_sets, num_points, 2, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def criterion(double):
    criterion = MODELS.build(dict(type='SetCriterion', num_classes=K, num_points=200))
    criterion.sample_points = fixed_points
    return criterion


def left_half(count=2):
    """Targets that cover most of the left half; the right one is background."""
    pixels = torch.zeros(SIDE, SIDE, dtype=torch.int16)
    for number, rows in enumerate((slice(0, 30), slice(34, 64))[:count], 1):
        pixels[rows, : SIDE // 2] = number
    return pixels


def targets_of(*images, task='instance', pixels=None, things=THINGS):
    samples = []
    for number, image in enumerate(images):
        image = {'ignore': ('crowd',), **image}
        labels = image.pop('labels')
        target_map = left_half(len(labels)) if pixels is None else pixels
        samples.append(sample(task, target_map, labels, **image))
        samples[-1].set_metainfo(dict(img_id=number))
    for one in samples:
        one.gt_instances.labels = one.gt_instances.labels.long()
    return batch_targets(samples, things)


def outputs():
    """As of ``on_one_side``: even queries lie on the right half, odd ones on the left."""
    return [tensor.detach().double().requires_grad_() for tensor in on_one_side()]


def match(criterion, tensors, targets):
    return criterion.match(known_scores(tensors[0], targets), *tensors[1:], targets)


def slow_class_loss(scores, images, queries):
    """The class loss query by query; ``images`` say which classes each of them is about."""
    losses = []
    for layer in range(L):
        total = weights = 0.0
        for b, image in enumerate(images):
            matched = dict(zip(queries[b][layer].tolist(), image['labels']))
            for q in range(Q):
                wanted, logits = matched.get(q, K), scores[layer, b, q]
                taught = set(image.get('searched_labels', range(K)))
                taught |= {wanted} if wanted < K else set()
                open_space = q % 2 == 0 and len(image.get('searched_labels', range(K))) < K
                no_object = logits[K].detach() if wanted == K and open_space else logits[K]
                terms = [logits[k] for k in sorted(taught)] + [no_object]
                right = no_object if wanted == K else logits[wanted]
                weight = 0.1 if wanted == K else 1.0
                total += weight * (torch.logsumexp(torch.stack(terms), 0) - right)
                weights += weight
        losses.append(2 * total / weights)
    return losses


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_the_class_loss_is_that_of_a_plain_loop(task, criterion):
    images = (*IMAGES[:1], dict(labels=[FOX, FOX]))
    targets = targets_of(*images, task=task)
    tensors = outputs()
    queries = match(criterion, tensors, targets)
    losses = criterion(*tensors, targets)
    ours = [losses[name] for name in (*SUMS[1:], SUMS[0])]
    expected = slow_class_loss(tensors[0], images, queries)
    torch.testing.assert_close(torch.stack(ours), torch.stack(expected), rtol=1e-12, atol=0)
    (ours,) = torch.autograd.grad(sum(ours), tensors[:1], retain_graph=True)
    (expected,) = torch.autograd.grad(sum(expected), tensors[:1])
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-14)


def test_each_image_of_a_batch_leaves_its_own_unknown_classes_alone(criterion):
    targets = targets_of(*IMAGES)
    tensors = outputs()
    queries = match(criterion, tensors, targets)
    _, (scores, *_) = run(criterion, targets, tensors)
    for b, image in enumerate(IMAGES):
        known, searched = set(image['known_labels']), set(image['searched_labels'])
        for label in range(K):
            gradient = scores[:, b, :, label]
            if label not in known:
                assert (gradient == 0).all()
            elif label in searched:
                assert (gradient != 0).all()
            else:  # annotated in part: only where it is annotated
                for layer in range(L):
                    own = queries[b][layer][image['labels'].index(label)].item()
                    assert (gradient[layer] != 0).nonzero().flatten().tolist() == [own]
                    assert gradient[layer, own] < 0
    # the other image may as well not be there, but for the number of queries that share the loss
    alone = run(criterion, targets[:1], [t[:, :1] for t in tensors[:2]] + [tensors[2][:1]])[1][0]
    ratio = scores[:, :1] / alone
    assert ((alone == 0) == (scores[:, :1] == 0)).all()
    torch.testing.assert_close(
        ratio[alone != 0], torch.full_like(ratio[alone != 0], ratio[0, 0, 0, 0])
    )


def test_unknown_classes_change_nothing_in_the_image(criterion):
    targets = targets_of(*IMAGES)
    losses, _ = run(criterion, targets, outputs())
    tensors = outputs()
    tensors[0].data[:, 0, :, [BIRD, FOX]] += 30
    tensors[0].data[:, 1, :, [CAT, COW, FOX]] -= 30
    others, _ = run(criterion, targets, tensors)
    assert losses == others
    tensors[0].data[:, 1, :, BIRD] += 1
    others, _ = run(criterion, targets, tensors)
    assert losses['loss_cls'] != others['loss_cls']


def test_what_was_looked_for_in_vain_is_taught_to_be_absent(criterion):
    image = dict(labels=[], known_labels=(BIRD,), searched_labels=(BIRD,))
    _, (scores, embeds, features) = run(criterion, targets_of(image, image), outputs())
    assert (scores[..., BIRD] > 0).all()
    others = [k for k in range(K + 1) if k != BIRD]
    assert (scores[..., others] == 0).all()  # nor is it taught that nothing is there
    assert (embeds == 0).all() and (features == 0).all()
    nothing = dict(labels=[], known_labels=(), searched_labels=())
    losses, gradients = run(criterion, targets_of(nothing, nothing), outputs())
    assert all(value == 0 for value in losses.values())
    assert all((gradient == 0).all() for gradient in gradients)


def test_pixels_that_are_unknown_teach_nothing(criterion):
    pixels = left_half()
    pixels[:, SIDE // 2 :] = -1
    targets = targets_of(*IMAGES, pixels=pixels)
    tensors = outputs()
    queries = match(criterion, tensors, targets)
    _, (scores, *_) = run(criterion, targets, tensors)
    for b in range(B):
        for layer in range(L):
            taught = {q for q in range(Q) if q % 2 or q in queries[b][layer].tolist()}
            assert {q for q in range(Q) if (scores[layer, b, q] != 0).any()} == taught


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_an_image_that_was_searched_for_everything_is_like_any_other(task, criterion):
    every = tuple(range(K))
    plain = targets_of(*(dict(labels=image['labels']) for image in IMAGES), task=task)
    said = dict(known_labels=every, searched_labels=every)
    full = targets_of(*(dict(labels=image['labels'], **said) for image in IMAGES), task=task)
    expected, gradients = run(criterion, plain, outputs())
    losses, ours = run(criterion, full, outputs())
    assert losses == expected
    assert all(torch.equal(*pair) for pair in zip(ours, gradients))
    # without a word about it nothing is computed for it
    scores = outputs()[0]
    assert searched_scores(scores, None, plain, [None] * B) is scores


def test_stuff_is_not_asked_for_by_the_instance_task(criterion):
    things = [True, True, False, False, False]
    image = dict(labels=[CAT], known_labels=(CAT, DOG), searched_labels=(CAT, DOG))
    (instance,) = targets_of(image, task='instance', things=things)
    (semantic,) = targets_of(image, task='semantic', things=things)
    assert instance.unsearched is None
    assert torch.equal(semantic.unsearched, left_half(1) == 0)


def test_training_on_images_of_both_kinds_resumes_bit_for_bit(
    tiny_set, config_dir, tmp_path, run_tool
):
    folder = tmp_path / 'set'
    shutil.copytree(tiny_set, folder)
    path = folder / 'panoptic_train.json'
    content = json.loads(path.read_text())
    ids = [category['id'] for category in content['categories']]
    for number, image in enumerate(content['images']):
        keys = (
            dict(neg_category_ids=ids[:2], not_exhaustive_category_ids=ids[2:5]),
            dict(searched_category_ids=ids[number % 3 :: 2], neg_category_ids=[]),
            {},
        )
        image.update(keys[number % 3])
    path.write_text(json.dumps(content))
    config = write_config(tmp_path / 'config.py', config_dir, folder, iters=3)
    run_tool('train', config, '--work-dir', tmp_path / 'a')
    (tmp_path / 'b').mkdir()
    shutil.copy(tmp_path / 'a/iter_2.pth', tmp_path / 'b')
    run_tool('train', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'b/iter_2.pth')
    weights = [
        torch.load(tmp_path / f'{run}/iter_3.pth', weights_only=False)['state_dict'] for run in 'ab'
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(torch.isfinite(value).all() for value in weights[0].values())
