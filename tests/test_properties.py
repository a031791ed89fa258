"""Properties that hold for any legal input, on cases that hypothesis generates; never at random.

Legend: H, W pixels, K classes, S segments, N targets, Q queries, L decoder outputs.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from given_masks import GivenMasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from pycocotools import mask as mask_utils

from oneformer.datasets.label_images import NUM_IDS, segment_indices
from oneformer.datasets.overlaps import paint_instances, topmost_map
from oneformer.datasets.task_sampling import derive_targets, sample_targets
from oneformer.evaluation.writers import PanopticWriter, ResultImage
from oneformer.kernels.mask_resize import MaskResize
from oneformer.models import fusion
from oneformer.models.targets import batch_targets
from oneformer.panoptic_codes import decode_segments
from oneformer.run_length import decode_mask, encode_mask, encode_segmentation, read_counts
from oneformer.tasks import TASKS, Prompts

SIZES = [(1, 1), (1, 40), (40, 1), (1, 300), (2, 3), (8, 8), (17, 5), (32, 32), (33, 64)]
IGNORES = [(), ('void',), ('crowd',), ('void', 'crowd')]


def cases(number):
    """This many cases, the same ones in each run."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass
class Scene:
    """An image's segments.

    Attributes:
        segment_map: (H, W), int16, 0 is void and k is segments[k - 1].
        segments: Dicts of S segments.
        is_thing: Of the K classes.
        task: A word.
        ignore: As datasets have it.
        known_labels: Classes that are annotated, or None for all.
        seed: For what else is random.
    """

    segment_map: np.ndarray
    segments: list
    is_thing: list
    task: str
    ignore: tuple
    known_labels: tuple | None
    seed: int


@st.composite
def scenes(draw, is_thing=None, most=12):
    """Images from one pixel, with no segment up to twice as many as queries, of any kind."""
    is_thing = is_thing or draw(st.lists(st.booleans(), min_size=1, max_size=5))
    height, width = draw(st.sampled_from(SIZES))
    count = draw(st.integers(0, most))
    seed = draw(st.integers(0, 1 << 16))
    rng = np.random.default_rng(seed)
    kind = draw(st.sampled_from(['noise', 'void', 'pixels', 'stripes', 'one']))
    segment_map = np.zeros((height, width), np.int16)
    flat = segment_map.ravel()
    if kind == 'noise':
        flat[:] = rng.integers(0, count + 1, flat.size)
    elif kind == 'pixels':  # one for each segment, as far as there are pixels
        places = rng.permutation(flat.size)[:count]
        flat[places] = np.arange(1, len(places) + 1)
    elif kind == 'stripes':
        flat[:] = np.arange(flat.size) * (count + 1) // flat.size
    elif kind == 'one':
        flat[:] = min(count, 1)
    crowd = draw(st.sampled_from(['none', 'some', 'all']))
    segments = []
    for number in range(count):
        label = int(rng.integers(len(is_thing)))
        iscrowd = crowd == 'all' or crowd == 'some' and bool(rng.integers(2))
        segments.append(dict(id=number + 1, label=label, isthing=is_thing[label], iscrowd=iscrowd))
    known = None
    if draw(st.booleans()):
        more = draw(st.sets(st.integers(0, len(is_thing) - 1)))
        known = tuple(sorted({s['label'] for s in segments} | more))
    task, ignore = draw(st.sampled_from(TASKS)), draw(st.sampled_from(IGNORES))
    return Scene(segment_map, segments, is_thing, task, ignore, known, seed)


def targets_by_loop(scene):
    """What each pixel asks for: a target as (label, members), 'background' or 'unknown'."""
    members = {}
    for index, segment in enumerate(scene.segments, 1):
        if segment['iscrowd'] or not (scene.segment_map == index).any():
            continue
        if scene.task == 'instance' and not segment['isthing']:
            continue
        key = segment['label'] if scene.task == 'semantic' else -index
        members.setdefault(key, (segment['label'], []))[1].append(index)
    wanted = {0: 'unknown' if 'void' in scene.ignore else 'background'}
    for index, segment in enumerate(scene.segments, 1):
        lost = segment['iscrowd'] and 'crowd' in scene.ignore
        wanted[index] = 'unknown' if lost else 'background'
    for label, indices in members.values():
        for index in indices:
            wanted[index] = label, tuple(indices)
    return members, wanted


@cases(200)
@given(scenes())
def test_targets_are_those_of_a_plain_loop(scene):
    labels, target_map = derive_targets(scene.segment_map, scene.segments, scene.task, scene.ignore)
    members, wanted = targets_by_loop(scene)
    assert labels.tolist() == [label for label, _ in members.values()]
    meaning = {0: 'background', -1: 'unknown'}
    meaning |= {k: (label, tuple(m)) for k, (label, m) in enumerate(members.values(), 1)}
    for index in np.unique(scene.segment_map):
        found = np.unique(target_map[scene.segment_map == index])
        assert [meaning[k] for k in found] == [wanted[index]]


@st.composite
def masks(draw):
    height, width = draw(st.sampled_from(SIZES))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    share = draw(st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
    return rng.random((height, width)) < share


@cases(150)
@given(masks())
def test_run_length_codes_are_those_of_pycocotools_and_come_back(mask):
    height, width = mask.shape
    code = encode_mask(mask)
    assert code == mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(decode_mask(code), mask)
    counts = read_counts(code['counts'])
    runs = np.repeat(np.arange(len(counts)) % 2, counts)
    np.testing.assert_array_equal(runs, mask.ravel('F'))
    for segmentation in (
        dict(size=[height, width], counts=counts.tolist()),
        dict(size=[height, width], counts=code['counts'].decode()),
    ):
        read = decode_mask(encode_segmentation(segmentation, height, width))
        np.testing.assert_array_equal(read, mask)


@cases(100)
@given(st.binary(max_size=12), st.sampled_from(SIZES))
def test_a_run_length_code_of_any_bytes_is_refused_or_covers_the_image(text, size):
    try:
        code = encode_segmentation(dict(size=list(size), counts=text), *size)
    except ValueError:
        return
    assert read_counts(text).sum() == math.prod(size)
    assert decode_mask(code).shape == size


@cases(100)
@given(
    st.lists(st.integers(1, NUM_IDS - 1), max_size=20, unique=True),
    st.integers(0, 3),
    st.sampled_from(SIZES),
    st.integers(0, 1 << 16),
)
def test_ids_of_three_bytes_are_found_by_position(ids, num_void, size, seed):
    void_ids, listed = ids[:num_void], ids[num_void:]
    unlisted = next(i for i in (1, NUM_IDS - 1, *range(2, 30)) if i not in ids)
    choices = np.array([0, unlisted, *ids])
    id_map = np.random.default_rng(seed).choice(choices, size)
    png = np.stack([id_map >> shift & 255 for shift in (16, 8, 0)], -1).astype(np.uint8)
    position = {0: 0, unlisted: -1, **dict.fromkeys(void_ids, 0)}
    position |= {number: k for k, number in enumerate(listed, 1)}
    expected = np.vectorize(position.__getitem__, otypes=[np.int16])(id_map)
    np.testing.assert_array_equal(segment_indices(png, listed, void_ids), expected)


@cases(50)
@given(scenes())
def test_of_overlapping_masks_the_smaller_is_on_top_and_crowds_are_below(scene):
    rng = np.random.default_rng(scene.seed)
    size = scene.segment_map.shape
    drawn = [rng.random(size) < rng.random() for _ in scene.segments]
    sample = dict(height=size[0], width=size[1], segments_info=scene.segments)
    codes = [encode_mask(mask) for mask in drawn]
    painted, table = paint_instances(sample, codes)
    flat, _ = paint_instances(sample, codes, flat=True)
    np.testing.assert_array_equal(topmost_map(painted, table), flat)
    heights = [(s['iscrowd'], m.sum(), -k) for k, (s, m) in enumerate(zip(scene.segments, drawn))]
    for place in np.ndindex(size):
        here = sorted((k for k, mask in enumerate(drawn) if mask[place]), key=heights.__getitem__)
        assert flat[place] == (here[0] + 1 if here else 0)
        if table is not None and here:  # all objects, and crowds where there is none
            objects = [k + 1 for k in here if not scene.segments[k]['iscrowd']]
            assert table[painted[place] - 1] == tuple(objects or [here[0] + 1])
            assert painted[place] > len(codes) or painted[place] == here[0] + 1


@cases(50)
@given(scenes())
def test_targets_of_overlapping_masks_are_the_masks(scene):
    rng = np.random.default_rng(scene.seed)
    size = scene.segment_map.shape
    drawn = [rng.random(size) < rng.random() for _ in scene.segments]
    sample = dict(height=size[0], width=size[1], segments_info=scene.segments)
    region_map, table = paint_instances(sample, [encode_mask(mask) for mask in drawn])
    results = dict(gt_seg_map=region_map, segments_info=scene.segments, ignore=scene.ignore)
    results |= {} if table is None else dict(region_segments=table)
    labels, target_map, regions = sample_targets(results, 'instance')
    wanted = [
        (s['label'], mask)
        for s, mask in zip(scene.segments, drawn)
        if s['isthing'] and not s['iscrowd'] and mask.any()
    ]
    if table is None:
        assert regions is None
    assert labels.tolist() == [label for label, _ in wanted]
    regions = np.eye(len(labels), dtype=bool) if regions is None else regions
    assert target_map.dtype == np.int16 and target_map.max() <= regions.shape[1]
    for (_, mask), members in zip(wanted, regions, strict=True):
        np.testing.assert_array_equal(np.isin(target_map, np.flatnonzero(members) + 1), mask)
    # what no target covers is void, or the topmost there is a crowd, or stuff
    taken = np.any([mask for _, mask in wanted], axis=0) if wanted else np.zeros(size, bool)
    void = ~np.any(drawn, axis=0) if drawn else np.ones(size, bool)
    assert (target_map[void] == (-1 if 'void' in scene.ignore else 0)).all()
    objects = [m for m, s in zip(drawn, scene.segments) if not s['iscrowd']]
    crowd = ~void & ~np.any(objects, axis=0) if objects else ~void
    assert (target_map[crowd] == (-1 if 'crowd' in scene.ignore else 0)).all()
    assert (target_map[~void & ~crowd & ~taken] == 0).all()


def data_sample(scene, batch_size):
    labels, target_map = derive_targets(scene.segment_map, scene.segments, scene.task, scene.ignore)
    classes = [f'class {k}' for k in range(len(scene.is_thing))]
    return DetDataSample(
        metainfo=dict(
            img_id=scene.seed,
            img_path=f'{scene.seed}.jpg',
            task=scene.task,
            texts=Prompts().targets(labels, classes),
            filler=Prompts().filler_of(scene.task),
            known_labels=scene.known_labels,
            ignore=scene.ignore,
            batch_input_shape=batch_size,
        ),
        gt_instances=InstanceData(labels=torch.from_numpy(labels)),
        gt_target_map=PixelData(sem_seg=torch.from_numpy(target_map)[None]),
    )


@st.composite
def batches(draw, **kwargs):
    """One to three images of one set of classes, of any sizes and tasks."""
    is_thing = draw(st.lists(st.booleans(), min_size=1, max_size=5))
    count = draw(st.integers(1, 3))
    return [draw(scenes(is_thing=is_thing, **kwargs)) for _ in range(count)]


def padded_size(scenes):
    """The size of a batch, a multiple of 32."""
    sizes = np.max([scene.segment_map.shape for scene in scenes], 0)
    return tuple(int(-(-side // 32) * 32) for side in sizes)


def assert_finite_gradients(losses, parameters):
    assert all(torch.isfinite(value) for value in losses.values()), losses
    sum(losses.values()).backward()
    missing = [name for name, p in parameters if p.grad is None]
    assert not missing
    wrong = [name for name, p in parameters if not torch.isfinite(p.grad).all()]
    assert not wrong


L, Q, C = 2, 5, 4


@cases(400)
@given(batches(), st.sampled_from([0.0, 1.0, 100.0]))
def test_losses_are_finite_under_the_same_keys_for_any_targets(scenes, scale):
    torch.manual_seed(scenes[0].seed)
    K, B = len(scenes[0].is_thing), len(scenes)
    height, width = padded_size(scenes)
    samples = [data_sample(scene, (height, width)) for scene in scenes]
    targets = batch_targets(samples, scenes[0].is_thing)
    criterion = MODELS.build(dict(type='SetCriterion', num_classes=K, num_points=16))
    outputs = dict(
        cls_scores=scale * torch.randn(L, B, Q, K + 1),
        mask_embeds=scale * torch.randn(L, B, Q, C),
        mask_features=torch.randn(B, C, height // 4, width // 4),
    )
    leaves = [(name, tensor.requires_grad_()) for name, tensor in outputs.items()]
    losses = criterion(**outputs, targets=targets)
    names = ('loss_cls', 'loss_mask', 'loss_dice')
    assert set(losses) == {f'{prefix}{name}' for prefix in ('', 'd0.') for name in names}
    assert_finite_gradients(losses, leaves)
    assert all(value >= 0 for value in losses.values())


@st.composite
def predictions(draw):
    """Logits of queries from hopeless to certain, and the size of the image."""
    is_thing = draw(st.lists(st.booleans(), min_size=1, max_size=6))
    size = draw(st.sampled_from(SIZES))
    torch.manual_seed(draw(st.integers(0, 1 << 16)))
    num_queries, scale = draw(st.integers(1, 12)), draw(st.sampled_from([0.0, 1.0, 10.0, 1000.0]))
    cls_scores = scale * torch.randn(num_queries, len(is_thing) + 1)
    padded = [-(-side // 32) * 32 for side in size]
    grid = tuple(side // 4 for side in padded)
    coarse = draw(st.sampled_from([1.0, 5.0, 100.0])) * torch.randn(1, num_queries, 3, 3)
    logits = F.interpolate(coarse, size=grid, mode='bilinear')[0]
    resize = MaskResize(grid, tuple(padded), size, size, logits.device)
    return GivenMasks(cls_scores, logits), resize, torch.tensor(is_thing), size


@pytest.fixture(scope='module')
def out_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('results')


@cases(350)
@given(
    prediction=predictions(),
    score_thr=st.sampled_from([0.0, 0.3, 0.8]),
    iou_thr=st.sampled_from([0, 0.8]),
)
def test_each_panoptic_segment_is_listed_exactly_once_also_in_the_files(
    prediction, score_thr, iou_thr, out_dir
):
    queries, resize, is_thing, size = prediction
    K = len(is_thing)
    codes, segments = fusion.panoptic_map(queries, resize, is_thing, score_thr, iou_thr)
    assert codes.shape == size
    assert [s['id'] for s in segments] == list(range(1, len(segments) + 1))
    assert all(0 <= s['label'] < K and s['isthing'] == is_thing[s['label']] for s in segments)
    assert all(score_thr < s['score'] <= 1 for s in segments)
    of_segment = [s['label'] + INSTANCE_OFFSET * s['id'] * s['isthing'] for s in segments]
    assert len(set(of_segment)) == len(segments)
    assert set(codes.unique().tolist()) - {K} == set(of_segment)

    # what is written says the same of every pixel
    names = [f'class {k}' for k in range(K)]
    things = [name for name, thing in zip(names, is_thing) if thing]
    categories = [10 * k + 7 for k in range(K)]
    meta = dict(classes=names, thing_classes=things, category_ids=categories)
    written = decode_segments(codes.numpy(), K, segments)
    assert [s['id'] for s in written[1]] == [s['id'] for s in segments]
    assert [s['area'] for s in written[1]] == [s['area'] for s in segments]
    content = PanopticWriter(str(out_dir), meta).write(ResultImage(3, 'a.jpg', 'a'), *written)
    infos = content['annotation']['segments_info']
    png = cv2.imread(str(out_dir / 'panoptic/a.png'))
    positions = segment_indices(png, [info['id'] for info in infos])
    areas = np.bincount(positions.ravel(), minlength=len(infos) + 1)
    assert [info['area'] for info in infos] == areas[1:].tolist() and 0 not in areas[1:]
    category_at = np.array([-1, *(info['category_id'] for info in infos)])[positions]
    label_at = codes.numpy() % INSTANCE_OFFSET
    np.testing.assert_array_equal(category_at, np.array([*categories, -1])[label_at])
    pairs = set(zip(codes.flatten().tolist(), positions.ravel().tolist()))
    assert len(pairs) == len(set(codes.flatten().tolist())) == len(np.unique(positions))


@cases(150)
@given(predictions(), st.integers(1, 40))
def test_instances_are_things_with_tight_boxes_and_labels_are_classes(prediction, most):
    queries, resize, is_thing, size = prediction
    K = len(is_thing)
    found = fusion.instances(queries, resize, is_thing, most)
    assert len(found['labels']) <= min(most, K * len(queries.cls_scores))
    assert is_thing[found['labels']].all()
    assert ((found['scores'] >= 0) & (found['scores'] <= 1)).all()
    assert found['masks'].shape == (len(found['labels']), *size)
    for mask, box, score in zip(found['masks'].numpy(), found['bboxes'], found['scores']):
        if not mask.any():
            assert box.tolist() == [0, 0, 0, 0] and score == 0
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    label_map = fusion.semantic_map(queries, resize)
    assert label_map.shape == size and label_map.min() >= 0 and label_map.max() < K


CLASSES = [True, False, True, False, True]


@pytest.fixture(scope='module')
def tiny(config_dir):
    """The quick start's model with 32 channels, one layer of each kind and 8 queries."""
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    names = [f'class {k}' for k in range(len(CLASSES))]
    things = [name for name, thing in zip(names, CLASSES) if thing]
    cfg.metainfo = dict(classes=names, thing_classes=things)
    cfg.backbone.pretrained = False
    head = cfg.panoptic_head
    head.update(feat_channels=32, num_queries=8)
    head.pixel_decoder.encoder.num_layers = 1
    layer = head.pixel_decoder.encoder.layer_cfg
    layer.self_attn_cfg.embed_dims = layer.ffn_cfg.embed_dims = 32
    layer.ffn_cfg.feedforward_channels = 32
    head.pixel_decoder.positional_encoding.num_feats = 16
    head.task_queries.update(num_layers=1, feedforward_channels=32)
    head.transformer_decoder.update(num_layers=1, feedforward_channels=32)
    cfg.text_mapper.update(num_context=2, embed_dims=32, num_layers=1)
    cfg.criterion.num_points = 64
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.train()


@cases(30)
@given(st.lists(scenes(is_thing=CLASSES, most=16), min_size=2, max_size=4))
def test_a_training_step_on_any_batch_gives_every_parameter_a_finite_gradient(tiny, scenes):
    tiny.zero_grad()
    torch.manual_seed(0)
    images = [
        torch.randint(0, 256, (3, *scene.segment_map.shape), dtype=torch.uint8) for scene in scenes
    ]
    samples = [data_sample(scene, None) for scene in scenes]
    batch = tiny.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    losses = tiny(batch['inputs'], batch['data_samples'], mode='loss')
    names = {f'{d}loss_{name}' for d in ('', 'd0.') for name in ('cls', 'mask', 'dice')}
    assert set(losses) == names | {'loss_contrastive'}
    trained = [(name, p) for name, p in tiny.named_parameters() if p.requires_grad]
    assert_finite_gradients(losses, trained)
