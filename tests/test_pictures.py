"""Pictures of many objects: shades, captions that cover nothing, scores, legend, speed."""

import time

import cv2
import drawn_objects as drawn
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from oneformer.visualization import OneFormerVisualizer, Regions, paint, paint_prediction
from oneformer.visualization import captions as captions_module
from oneformer.visualization.captions import Layout, place_captions, text_size
from oneformer.visualization.legend import place_legend
from oneformer.visualization.regions import instance_regions, panoptic_regions
from oneformer.visualization.shades import region_colors

PALETTE = np.array([(220, 20, 60), (0, 0, 142), (128, 64, 128), (70, 130, 180)], np.uint8)


def grid(rows, columns, side, gap=0):
    """A map of squares, numbered from 1."""
    region_map = np.zeros((rows * (side + gap), columns * (side + gap)), np.int32)
    for number in range(rows * columns):
        y, x = divmod(number, columns)
        y, x = y * (side + gap), x * (side + gap)
        region_map[y : y + side, x : x + side] = number + 1
    return region_map


def hue(color):
    return cv2.cvtColor(np.array(color, np.uint8)[None, None], cv2.COLOR_RGB2HSV)[0, 0, 0]


@pytest.mark.parametrize('gap', [0, 3])
@pytest.mark.parametrize('label', range(4))
def test_instances_have_shades_of_their_class_and_neighbours_differ(label, gap):
    region_map = grid(6, 8, 20, gap)
    shades = region_colors(region_map, [label] * 48, PALETTE)[1:]
    assert shades[0].tolist() == PALETTE[label].tolist()
    assert len({tuple(shade) for shade in shades.tolist()}) == 48
    coloured = [shade for shade in shades if np.ptp(shade.astype(int)) > 20]
    turned = [abs(int(hue(s)) - int(hue(PALETTE[label]))) for s in coloured]
    assert max(min(t, 180 - t) for t in turned) <= 7  # of 180
    of_square = shades.reshape(6, 8, 3).astype(int)
    for axis in (0, 1):
        assert abs(np.diff(of_square, axis=axis)).max(-1).min() >= 25


def test_a_shade_depends_neither_on_other_classes_nor_on_later_instances():
    region_map = grid(2, 5, 20)
    shades = region_colors(region_map, [0, 1] * 5, PALETTE)
    alone = region_colors(np.where(region_map % 2 == 1, region_map, 0), [0, 1] * 5, PALETTE)
    assert np.array_equal(shades[1::2], alone[1::2])
    fewer = region_colors(np.where(region_map < 7, region_map, 0), [0, 1] * 3, PALETTE)
    assert np.array_equal(shades[:7], fewer)


def test_no_caption_covers_another_or_leaves_the_picture():
    rng = np.random.default_rng(0)
    region_map = np.ones((300, 400), np.int32)
    for number in range(2, 122):
        y, x = rng.integers(0, 290), rng.integers(0, 390)
        region_map[y : y + rng.integers(4, 40), x : x + rng.integers(4, 40)] = number
    texts = [f'object {number} 0.90' for number in range(1, 122)]
    layout = Layout(region_map.shape)
    title = (4, 0, 90, 20)
    layout.take(title)
    boxes = place_captions(region_map, texts, 0.375, layout)
    placed = [box for box in boxes if box is not None]
    assert boxes[0] is not None and 25 < len(placed) < 121
    painted = np.zeros(region_map.shape, int)
    for x, y, width, height in [title, *placed]:
        assert x >= 0 and y >= 0 and x + width <= 400 and y + height <= 300
        painted[y : y + height, x : x + width] += 1
    assert painted.max() == 1
    for text, box in zip(texts, boxes):
        assert box is None or box[2:] == text_size(text, 0.375)


def test_a_small_object_is_named_beside_it_and_a_large_one_inside():
    region_map = np.zeros((200, 300), np.int32)
    region_map[100:106, 100:106], region_map[120:190, 150:290] = 1, 2
    small, large = place_captions(region_map, ['cat 0.9', 'dog 0.9'], 0.3, Layout((200, 300)))
    assert (region_map[small[1] : small[1] + small[3], small[0] : small[0] + small[2]] == 0).all()
    assert abs(small[0] + small[2] / 2 - 103) < 20 and abs(small[1] + small[3] / 2 - 103) < 20
    assert (region_map[large[1] : large[1] + large[3], large[0] : large[0] + large[2]] == 2).all()


def larger(array, factor):
    return torch.tensor(array.repeat(factor, -1).repeat(factor, -2))


def seen(factor=1):
    """A sample with the drawn objects, predicted, that many times as large."""
    sample = DetDataSample()
    sample.pred_panoptic_seg = PixelData(sem_seg=larger(drawn.panoptic_map(), factor)[None])
    infos = [
        dict(id=k, label=label, isthing=True, score=score)
        for k, (label, score) in enumerate(zip(drawn.LABELS, drawn.SCORES), 1)
    ]
    infos += [dict(id=0, label=k, isthing=False, score=0.5) for k in (2, 3)]
    sample.pred_panoptic_seg.set_metainfo(dict(segments_info=infos))
    sample.pred_instances = InstanceData(
        labels=torch.tensor(drawn.LABELS), scores=torch.tensor(drawn.SCORES),
        masks=larger(drawn.masks(), factor),
    )  # fmt: skip
    return sample


def test_captions_say_scores_and_the_best_instance_is_the_first_and_on_top():
    regions = instance_regions(seen(), drawn.CLASSES, 0.65)
    assert regions.captions == ['cat 0.95', 'dog 0.90', 'cat 0.80', 'dog 0.70']
    whole = instance_regions(seen(), drawn.CLASSES, 0)
    assert whole.captions == [*regions.captions, 'cat 0.60']
    for number, mask in enumerate(drawn.masks()[:4], 1):
        assert np.array_equal(whole.region_map == number, mask)
    captions = panoptic_regions(seen(), drawn.CLASSES, 0).captions
    expected = ['grass 0.50', 'sky 0.50', *regions.captions, 'cat 0.60']
    assert sorted(captions) == sorted(expected)


def test_the_legend_names_the_classes_that_are_seen(monkeypatch):
    written = []
    draw = cv2.putText
    monkeypatch.setattr(
        'cv2.putText', lambda image, text, *rest: written.append(text) or draw(image, text, *rest)
    )
    region_map = np.zeros((240, 320), np.int32)
    region_map[:100], region_map[150:200, 50:200] = 1, 2
    image = np.full((240, 320, 3), 90, np.uint8)
    regions = Regions('x', region_map, [3, 0], ['', ''])
    painted = paint(image, regions, PALETTE, 0.5, drawn.CLASSES)
    assert written == ['sky', 'cat'] and painted.shape == image.shape
    swatches = (painted[..., None, :] == PALETTE).all(-1).sum((0, 1))  # blended elsewhere
    assert (swatches[[3, 0]] > 40).all() and not swatches[[1, 2]].any()
    written.clear()
    paint(image, regions, PALETTE, 0.5)
    assert not written


def test_a_legend_of_many_classes_covers_a_fifth_at_most():
    entries = [(f'class {k}', PALETTE[0]) for k in range(150)]
    legend = place_legend(entries, np.zeros((300, 400), bool), 0.4, Layout((300, 400)))
    assert legend.box[2] * legend.box[3] <= 0.2 * 300 * 400
    assert legend.lines[-1][0] == f'+ {150 - len(legend.lines) + 1} more'
    assert place_legend(entries, np.zeros((90, 120), bool), 0.3, Layout((90, 120))) is None


def test_tool_and_hook_paint_a_prediction_alike():
    visualizer = OneFormerVisualizer(name='alike')
    visualizer.dataset_meta = dict(classes=drawn.CLASSES, palette=PALETTE)
    height, width = (8 * side for side in drawn.SIZE)
    image = np.full((height, width, 3), 90, np.uint8)
    row = visualizer.draw_row(image, seen(8), pred_score_thr=0)
    for place, task in enumerate(('panoptic', 'instance'), 1):
        prediction = paint_prediction(image, seen(8), task, visualizer.dataset_meta)
        panel = row[:, place * (width + 6) :][:, :width]
        assert (panel == prediction).all(-1)[60:].mean() > 0.95  # below the title


def test_hundreds_of_instances_are_painted_in_a_moment():
    region_map = grid(20, 25, 30, 10)
    image = np.zeros((*region_map.shape, 3), np.uint8)
    regions = Regions('x', region_map, [0] * 500, ['cat 0.90'] * 500)
    paint(image, regions, PALETTE, 0.5, drawn.CLASSES)
    start = time.process_time()
    paint(image, regions, PALETTE, 0.5, drawn.CLASSES)
    assert time.process_time() - start < 3


def test_places_are_looked_for_in_crops(monkeypatch):
    """The time of a region is that of its box, not of the picture."""
    sizes = []
    transform = cv2.distanceTransform
    monkeypatch.setattr(
        captions_module.cv2,
        'distanceTransform',
        lambda mask, *rest: sizes.append(mask.shape) or transform(mask, *rest),
    )
    place_captions(grid(3, 3, 10, 300), ['x'] * 9, 0.3, Layout((930, 930)))
    assert sizes == [(12, 12)] * 9
