"""Images seen in windows: objects come out whole, and the memory is bounded."""

import pytest
import torch
import torch.nn.functional as F
from given_masks import GivenMasks
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from oneformer.kernels.mask_resize import MaskResize
from oneformer.models import fusion
from oneformer.models.large_images import check_window, merge_windows, window_places
from oneformer.models.merged_windows import MergedWindows, Window, axis_shares, groups

SKY, GROUND, BALL, CAR = range(4)
IS_THING = torch.tensor([False, False, True, True])
INPUT, GRID = (256, 384), (64, 96)
WINDOW = dict(size=128, overlap=64)  # 32 x 32 on the grid, every 16
Q = 9


def scene():
    """Labels and masks of objects on the grid, which do not overlap; every point has one."""
    rows, columns = torch.arange(GRID[0])[:, None], torch.arange(GRID[1])

    def disc(y, x, radius):
        return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2

    things = [
        (BALL, disc(30, 45, 20)),  # larger than a window
        (BALL, disc(8, 24, 5)),  # across a window's border
        (CAR, disc(8, 36, 5)),  # next to it, of another class
        (BALL, disc(50, 80, 3)),
        (BALL, disc(50, 88, 3)),  # two of a class in the same windows
    ]
    free = ~torch.stack([mask for _, mask in things]).any(0)
    stuff = [(SKY, free & (rows < 24)), (GROUND, free & (rows >= 24))]
    labels, masks = zip(*stuff, *things)
    return torch.tensor(labels), torch.stack(masks)


def logits_of(masks):
    return 20.0 * masks.float() - 10


def class_scores_of(labels, number):
    """Sure scores of the first queries; the others find nothing."""
    labels = torch.cat([labels, torch.full((number - len(labels),), len(IS_THING))])
    return 12.0 * F.one_hot(labels, len(IS_THING) + 1)


def corner_of(place):
    """First row and column of a window on the grid."""
    return [axis.start // 4 for axis in place]


def perfect_windows(labels, masks, seed=0, noise=0.0):
    """A network that finds what is visible in a window, in any order."""
    generator = torch.Generator().manual_seed(seed)
    windows = []
    for place in window_places(INPUT, WINDOW):
        rows, columns = (slice(axis.start // 4, axis.stop // 4) for axis in place)
        part = masks[:, rows, columns]
        visible = part.flatten(1).any(1).nonzero()[:, 0]
        visible = visible[torch.randperm(len(visible), generator=generator)]
        features = torch.full((Q, *part.shape[1:]), -10.0)
        features[: len(visible)] = logits_of(part[visible])
        features += noise * torch.randn(features.shape, generator=generator)
        windows.append(
            Window(class_scores_of(labels[visible], Q), torch.eye(Q), features, *corner_of(place))
        )
    return windows


@pytest.fixture(scope='module')
def undivided():
    labels, masks = scene()
    return GivenMasks(class_scores_of(labels, len(labels)), logits_of(masks))


@pytest.fixture(scope='module')
def merged():
    return merge_windows(perfect_windows(*scene()), INPUT)


@pytest.fixture(scope='module')
def resize():
    return MaskResize(GRID, INPUT, (250, 380), (200, 410))


def test_panoptic_segments_are_whole(undivided, merged, resize):
    expected, segments = fusion.panoptic_map(undivided, resize, IS_THING, 0.8, 0.8)
    codes, found = fusion.panoptic_map(merged, resize, IS_THING, 0.8, 0.8)
    assert sorted(s['label'] for s in found) == sorted(s['label'] for s in segments)
    assert len(found) == 7
    pairs = torch.stack([expected, codes]).flatten(1)
    pairs, pixels = pairs.unique(dim=1, return_counts=True)
    assert torch.equal(pairs[0] % INSTANCE_OFFSET, pairs[1] % INSTANCE_OFFSET)
    assert pairs.shape[1] == len(expected.unique())  # each segment is one segment


def test_instances_are_whole(undivided, merged, resize):
    expected = fusion.instances(undivided, resize, IS_THING, 20)
    found = fusion.instances(merged, resize, IS_THING, 60)

    def sure(prediction):
        keep = prediction['scores'] > 0.5
        order = prediction['bboxes'][keep].double() @ torch.tensor([1.0, 1e3, 1e6, 1e9]).double()
        return [prediction[name][keep][order.argsort()] for name in ('labels', 'masks', 'bboxes')]

    assert len(sure(expected)[0]) == 5
    for ours, theirs in zip(sure(found), sure(expected)):
        assert torch.equal(ours, theirs)


def test_semantic_labels_are_those_of_the_whole_image(undivided, merged, resize):
    expected = fusion.semantic_map(undivided, resize)
    agreement = (fusion.semantic_map(merged, resize) == expected).double().mean()
    assert agreement > 0.999


def test_windows_that_differ_a_little_still_make_whole_objects(resize):
    labels, masks = scene()
    merged = merge_windows(perfect_windows(labels, masks, seed=1, noise=4), INPUT)
    _, found = fusion.panoptic_map(merged, resize, IS_THING, 0.8, 0.8)
    assert sorted(s['label'] for s in found) == sorted(labels.tolist())


def test_merged_queries_have_mean_classes_and_the_home_windows_masks():
    """Two windows side by side; each has an object of its own, and they share one."""
    masks = torch.zeros(3, 32, 48, dtype=torch.bool)
    masks[0, 4:28, 4:44] = True  # in both, 28 and 28 columns wide
    masks[1, :4, :20] = True  # reaches 4 columns into the overlap
    masks[2, 28:, 30:] = True
    places = window_places((128, 192), WINDOW)
    left, right = logits_of(masks[:2, :, :32]), logits_of(masks[[2, 0], :, 16:])
    right[1] += 2
    scores = [class_scores_of(torch.tensor(labels), 2) for labels in ([BALL, SKY], [SKY, BALL])]
    scores[1][1, BALL] = 2.0
    windows = [
        Window(s.float(), torch.eye(2), features, *corner_of(place))
        for place, s, features in zip(places, scores, (left, right))
    ]
    merged = MergedWindows(windows)
    assert merged.group_of.tolist() == [0, 1, 2, 0]
    expected = (scores[0][0].float().softmax(-1) + scores[1][1].softmax(-1)) / 2
    torch.testing.assert_close(merged.cls_scores.softmax(-1)[0], expected)
    both, alone, other = merged.mask_logits(torch.tensor([0, 1, 2]))
    assert torch.equal(both > 0, masks[0]) and torch.equal(alone > 0, masks[1])
    share = (torch.arange(16) + 0.5) / 16  # of the right one in the overlap
    torch.testing.assert_close(both[10, 16:32], 10 + 2 * share)
    assert (alone[:, 24:] == -50).all() and (other[:, :24] == -50).all()  # each only at home


def slow_semantic_scores(windows, geometry):
    """Class scores of every window at full size, averaged by share."""
    grid, input_size, content, size = geometry

    def resized(masks):
        masks = F.interpolate(masks[None], size=input_size, mode='bilinear')
        return F.interpolate(masks[..., : content[0], : content[1]], size=size, mode='bilinear')[0]

    depths, scores = [], []
    for window in windows:
        y, x = window.mask_features.shape[1:]
        pad = (window.left, grid[1] - window.left - x, window.top, grid[0] - window.top - y)
        masks = F.pad(
            torch.einsum('qc,cyx->qyx', window.mask_embeds, window.mask_features)[None],
            pad,
            mode='replicate',
        )[0]
        depth = []
        for start, span, length in ((window.top, y, grid[0]), (window.left, x, grid[1])):
            before = [p + 0.5 if start else 1e9 for p in range(span)]
            after = [span - p - 0.5 if start + span < length else 1e9 for p in range(span)]
            depth.append(torch.tensor([min(pair) for pair in zip(before, after)]).double())
        depths.append(F.pad(depth[0][:, None] * depth[1], pad))
        classes = window.cls_scores.softmax(-1)[:, :-1]
        scores.append(torch.einsum('qk,qhw->khw', classes, resized(masks).sigmoid()))
    shares = torch.stack(depths) / sum(depths)
    return sum(resized(share[None].float()) * score for share, score in zip(shares, scores))


def test_semantic_scores_of_windows_are_averaged_by_share():
    generator = torch.Generator().manual_seed(3)
    geometry = ((40, 64), (160, 256), (150, 251), (170, 199))
    places = window_places(geometry[1], dict(size=96, overlap=32))
    windows = [
        Window(
            3 * torch.randn(12, 41, generator=generator),
            torch.randn(12, 8, generator=generator),
            torch.randn(8, 24, 24, generator=generator),
            *corner_of(place),
        )
        for place in places
    ]
    assert len(windows) == 2 * 4
    expected = slow_semantic_scores(windows, geometry)
    queries, resize = merge_windows(windows, geometry[2]), MaskResize(*geometry)
    total = torch.zeros(40, *geometry[-1])
    fusion.add_class_scores(total, queries, resize, flipped=False)
    torch.testing.assert_close(total, expected, atol=2e-5, rtol=0)
    best, second = expected.topk(2, dim=0).values
    sure = best - second >= 1e-5
    labels = fusion.semantic_map(queries, resize)
    assert torch.equal(labels[sure], expected.argmax(0)[sure])


@pytest.mark.parametrize('length', [128, 160, 192, 224, 1024, 1056])
def test_windows_cover_the_image_and_share_it(length):
    spans = [(rows.start, rows.stop) for rows, _ in window_places((length, 64), WINDOW)]
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(start % 32 == 0 and stop - start == 128 for start, stop in spans)
    assert all(one[1] - other[0] >= 64 for one, other in zip(spans, spans[1:]))
    shares, homes = axis_shares([(start // 4, stop // 4) for start, stop in spans])
    torch.testing.assert_close(shares.sum(0), torch.ones(length // 4))
    points = [point for home in homes for point in range(home.start, home.stop)]
    assert points == list(range(length // 4))
    for i, home in enumerate(homes):
        assert (shares[i, home] == shares[:, home].amax(0)).all()


def test_linked_queries_are_numbered_by_their_first():
    assert groups(6, [(4, 1), (2, 5), (4, 5)]).tolist() == [0, 1, 1, 2, 1, 1]
    assert groups(3, []).tolist() == [0, 1, 2]


@pytest.fixture(scope='module')
def model(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    cfg.backbone.pretrained = False
    cfg.update(criterion=None, text_mapper=None, contrastive_loss=None)
    cfg.test_cfg.update(object_mask_thr=0.0, iou_thr=0.0)
    torch.manual_seed(2)
    model = MODELS.build(cfg).eval()
    for parameter in model.panoptic_head.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        model.panoptic_head.mask_embed[-1].weight.mul_(0.01)
    return model


def predict(model, images, shapes, window):
    model.test_cfg['window'] = window
    samples = [DetDataSample(metainfo=dict(ori_shape=s, img_shape=s)) for s in shapes]
    with torch.no_grad():
        return model.predict(images, samples)


def assert_same(one, other):
    assert torch.equal(one.pred_panoptic_seg.sem_seg, other.pred_panoptic_seg.sem_seg)
    assert one.pred_panoptic_seg.segments_info == other.pred_panoptic_seg.segments_info
    assert torch.equal(one.pred_sem_seg.sem_seg, other.pred_sem_seg.sem_seg)
    for name in ('labels', 'scores', 'masks', 'bboxes'):
        assert torch.equal(one.pred_instances[name], other.pred_instances[name])


def test_an_image_of_one_window_has_the_same_predictions_as_without(model):
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    shapes = [(96, 128), (90, 101)]
    whole = predict(model, images, shapes, None)
    for one, other in zip(whole, predict(model, images, shapes, dict(size=128, overlap=32))):
        assert_same(one, other)


def test_the_network_sees_windows_and_the_predictions_have_the_size_of_the_image(
    model, monkeypatch
):
    seen = []
    extract = model.extract_feat
    monkeypatch.setattr(model, 'extract_feat', lambda x: seen.append(x.shape) or extract(x))
    images = torch.randn(2, 3, 160, 192, generator=torch.Generator().manual_seed(0))
    shapes = [(160, 192), (90, 101)]
    predictions = predict(model, images, shapes, dict(size=128, overlap=64))
    assert seen == [(2, 3, 128, 128)] * 4
    seen.clear()
    together = predict(model, images, shapes, dict(size=128, overlap=64, batch=3))
    assert seen == [(6, 3, 128, 128), (2, 3, 128, 128)]
    for one, other in zip(together, predictions):
        assert (one.pred_sem_seg.sem_seg == other.pred_sem_seg.sem_seg).double().mean() > 0.999
        assert one.pred_instances.masks.shape == other.pred_instances.masks.shape
    for prediction, shape in zip(predictions, shapes):
        assert prediction.pred_panoptic_seg.sem_seg.shape == (1, *shape)
        assert prediction.pred_sem_seg.sem_seg.shape == (1, *shape)
        assert prediction.pred_instances.masks.shape[1:] == shape


def test_windows_of_an_image_do_not_depend_on_the_other_images_of_a_batch(model):
    images = torch.randn(2, 3, 160, 192, generator=torch.Generator().manual_seed(0))
    for content, padded in [((64, 60), (128, 128)), ((128, 124), (160, 128))]:
        (_, among_others) = predict(model, images, [(160, 192), content], WINDOW)
        (alone,) = predict(model, images[1:, :, : padded[0], : padded[1]], [content], WINDOW)
        agreement = (among_others.pred_sem_seg.sem_seg == alone.pred_sem_seg.sem_seg).double()
        assert agreement.mean() > 0.999


@pytest.mark.parametrize(
    'window, message',
    [
        (dict(size=1024), r"has the keys \['size'\], but takes size and overlap"),
        (dict(size=1000, overlap=256), 'size 1000 and overlap 256, but both must be'),
        (dict(size=256, overlap=160), 'overlap at most half of size'),
        (dict(size=256, overlap=0), 'positive multiples of 32'),
        (dict(size=256, overlap=64, batch=0), 'has batch 0: it has to be a whole number'),
        (dict(size=256, overlap=64, batchs=2), "keys .*'batchs'.* takes size and overlap, and opt"),
    ],
)
def test_windows_that_do_not_work_are_refused(window, message):
    with pytest.raises(ValueError, match=message):
        check_window(window)
