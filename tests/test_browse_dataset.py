"""Pictures of what training sees: panels of the tasks, unknown pixels, texts, for all labels."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from oneformer.inspection import browsing
from oneformer.tasks import Prompts
from oneformer.visualization import text_below

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'
CLASSES = ('sky', 'cat')
COLORS = np.array([(10, 20, 250), (250, 120, 0)], np.uint8)
HEIGHT, WIDTH = 320, 400
SKY, CAT, CROWD, VOID = (30, 200), (170, 30), (170, 300), (300, 200)  # (row, column) of pixels


def drawing(**others):
    """A sample with sky, a cat, a crowd of cats and void, as it reaches SampleTask."""
    segment_map = np.zeros((HEIGHT, WIDTH), np.int16)
    segment_map[:100], segment_map[120:250, :180], segment_map[120:250, 200:] = 1, 2, 3
    segments = [
        dict(label=0, isthing=False, iscrowd=False),
        dict(label=1, isthing=True, iscrowd=False),
        dict(label=1, isthing=True, iscrowd=True),
    ]
    results = dict(
        img=np.full((HEIGHT, WIDTH, 3), 90, np.uint8),
        img_path='images/a.jpg',
        gt_seg_map=segment_map,
        segments_info=segments,
        classes=CLASSES,
        labels_kind='panoptic',
        known_labels=None,
        tasks=('panoptic', 'instance', 'semantic'),
        ignore=(),
    )
    return dict(results, **others)


def panels(picture):
    """The panels of a picture, without the texts below."""
    count = (picture.shape[1] + 6) // (WIDTH + 6)
    assert picture.shape[1] == count * WIDTH + (count - 1) * 6
    return [picture[:HEIGHT, i * (WIDTH + 6) :][:, :WIDTH] for i in range(count)]


def shown(panel, place):
    """What a panel shows around a pixel: a class, 'image' or 'unknown'."""
    row, column = place
    patch = panel[row - 8 : row + 8, column - 8 : column + 8].reshape(-1, 3).astype(float)
    if {0, 90, 255} == set(np.unique(patch)):
        return 'unknown'
    for name, color in zip(('image', *CLASSES), (np.full(3, 90), *COLORS)):
        blended = 90 if name == 'image' else 0.45 * 90 + 0.55 * color
        if abs(patch - blended).max() <= (0 if name == 'image' else 0.55 * 24 + 2):
            return name
    return 'something else'


@pytest.mark.parametrize('ignore', [(), ('void',), ('void', 'crowd')])
def test_each_task_has_its_panel_and_unknown_pixels_are_hatched(ignore):
    picture = browsing.draw_targets(drawing(ignore=ignore), Prompts(), COLORS)
    image, panoptic, instance, semantic = panels(picture)
    assert (image == 90).all()
    void, crowd = ('unknown' if word in ignore else 'image' for word in ('void', 'crowd'))
    places = (SKY, CROWD, VOID)
    assert [shown(panoptic, place) for place in places] == ['sky', crowd, void]
    assert [shown(semantic, place) for place in places] == ['sky', crowd, void]
    # stuff is known to be no thing
    assert [shown(instance, place) for place in places] == ['image', crowd, void]
    assert shown(panoptic, CAT) == shown(instance, CAT) == shown(semantic, CAT) == 'cat'


def test_only_tasks_that_the_labels_can_teach_are_drawn():
    picture = browsing.draw_targets(drawing(tasks=('instance',)), Prompts(), COLORS)
    _, instance = panels(picture)
    assert shown(instance, CAT) == 'cat' and shown(instance, SKY) == 'image'


def test_small_images_are_enlarged_and_maps_of_the_image_fitted():
    small = drawing(img=np.full((80, 100, 3), 90, np.uint8))  # as a test pipeline resizes it
    _, panoptic, _, _ = panels(browsing.draw_targets(small, Prompts(), COLORS))
    assert [shown(panoptic, place) for place in (SKY, CAT, VOID)] == ['sky', 'cat', 'image']


def test_the_texts_are_those_of_the_prompts_and_the_filler_is_last():
    steps, prompts = browsing.steps_before_task(
        [
            dict(type='LoadPhoto'),
            dict(type='SampleTask', prompts=dict(template='{article} {name}')),
            dict(type='PackSegmentInputs'),
        ]
    )
    assert [step['type'] for step in steps] == ['LoadPhoto']
    texts = prompts.targets([1, 0, 1], ('owl', 'cat'))
    lines = browsing.task_lines(texts, prompts.filler_of('instance'))
    assert lines == ['an owl', 'a cat  x 2', 'others: an instance photo']


def test_long_lines_are_wrapped_and_every_panel_gets_the_same_height():
    panel = np.zeros((10, 200, 3), np.uint8)
    words = ' '.join(f'word{i}' for i in range(30))
    first, second = text_below([panel, panel], [[words], ['short']])
    assert first.shape == second.shape and first.shape[1] == 200
    ink = np.flatnonzero((first[10:] < 128).any((1, 2)))
    assert ink.max() > 5 * np.flatnonzero((second[10:] < 128).any((1, 2))).max()
    assert (first[10:, -2:] > 128).all()


@pytest.fixture
def browse_tiny(run_tool, config_dir, tiny_set, tmp_path):
    """Run the tool on the tiny set; returns the pictures it wrote by name."""

    def browse(*arguments, split='train'):
        out = tmp_path / f'pictures{len(list(tmp_path.iterdir()))}'
        printed = run_tool(
            'browse_dataset', config_dir / QUICKSTART, '--out-dir', out, '--split', split,
            *arguments, '--cfg-options', f'{split}_dataloader.dataset.data_root={tiny_set}',
        )  # fmt: skip
        files = sorted(out.iterdir())
        assert all(str(file) in printed for file in files)
        return {file.name: cv2.imread(str(file)) for file in files}

    return browse


def test_the_tool_draws_augmented_images_by_seed(browse_tiny):
    pictures = browse_tiny('--num', 3)
    assert len(pictures) == 3
    for picture in pictures.values():  # 160 px, enlarged, in four panels
        assert picture.shape[1] == 4 * 320 + 3 * 6 and picture.shape[0] > 320
    again = browse_tiny('--num', 3)
    assert pictures.keys() == again.keys()
    assert all(np.array_equal(pictures[name], again[name]) for name in pictures)
    assert browse_tiny('--num', 3, '--seed', 1).keys() != pictures.keys()


def test_the_tool_draws_what_is_evaluated_too(browse_tiny):
    assert len(browse_tiny(split='val')) == 5


def test_all_sets_of_a_joint_training_are_drawn(tiny_set, config_dir, tmp_path):
    cfg = Config.fromfile(config_dir / QUICKSTART)
    dataset = dict(cfg.train_dataloader.dataset, data_root=str(tiny_set))
    labels = dict(
        dataset,
        type='SemanticDataset',
        ann_file='',
        img_suffix='.jpg',
        data_prefix=dict(img='train', seg=str(tmp_path / 'labels')),
    )
    (tmp_path / 'labels').mkdir()
    for image in (tiny_set / 'train').iterdir():
        values = np.full(cv2.imread(str(image)).shape[:2], 4, np.uint8)
        values[:9], values[-9:] = 255, 5
        cv2.imwrite(str(tmp_path / f'labels/{image.stem}.png'), values)
    cfg.train_dataloader.dataset = dict(type='JointDataset', datasets=[dataset, labels])
    paths = list(browsing.browse(cfg, 'train', 1, tmp_path / 'drawn', seed=0))
    assert [path.name.split('_')[0] for path in paths] == ['train-0', 'train-1']
    widths = [cv2.imread(str(path)).shape[1] for path in paths]
    assert widths == [4 * 320 + 3 * 6, 2 * 320 + 6]


def test_a_set_without_labels_cannot_be_drawn(tiny_set, config_dir, tmp_path):
    cfg = Config.fromfile(config_dir / QUICKSTART)
    text = (tiny_set / 'panoptic_val.json').read_text()
    (tmp_path / 'test.json').write_text(text.replace('"annotations"', '"others"'))
    cfg.test_dataloader.dataset.update(
        data_root=str(tiny_set), ann_file=str(tmp_path / 'test.json')
    )
    with pytest.raises(ValueError, match='test.json has no labels to draw'):
        list(browsing.browse(cfg, 'test', 1, tmp_path / 'drawn', seed=0))


@pytest.mark.parametrize(
    ('side', 'shape', 'factor'),
    [
        (40, (480, 640), 1),
        (10, (480, 640), 2),
        (4, (320, 320), 5),
        (4, (480, 640), 2),
        (4, (900, 1700), 1),
    ],
)
def test_objects_are_drawn_large_enough_to_be_recognised(side, shape, factor):
    """Half of the objects have 20 pixels, in panels of 1600 at most."""
    segment_map = np.zeros(shape, np.int16)
    for number in range(1, 4):
        segment_map[number * 60 : number * 60 + side, 10 : 10 + side] = number
    segments = [dict(label=1, isthing=True, iscrowd=False)] * 3
    sample = drawing(
        img=np.full((*shape, 3), 90, np.uint8), gt_seg_map=segment_map, segments_info=segments
    )
    picture = browsing.draw_targets(dict(sample, tasks=('instance',)), Prompts(), COLORS)
    assert picture.shape[1] == 2 * shape[1] * factor + 6
