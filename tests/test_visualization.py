"""Pictures: regions in their colours, ground truth beside predictions, in all backends."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from oneformer.visualization import OneFormerVisualizer, Regions, class_colors, paint

CLASSES = ('sky', 'cat')
PALETTE = [(10, 20, 250), (250, 120, 0)]
SIZE = (60, 90)


def sample(**fields):
    segment_map = torch.zeros(1, *SIZE, dtype=torch.int16)
    segment_map[0, :20], segment_map[0, 30:50, 20:60] = 1, 2
    sample = DetDataSample(
        metainfo=dict(
            segments_info=[
                dict(id=5, label=0, category='sky', isthing=False, iscrowd=False),
                dict(id=6, label=1, category='cat', isthing=True, iscrowd=True),
            ]
        ),
        gt_panoptic_seg=PixelData(sem_seg=segment_map),
    )
    for name, value in fields.items():
        setattr(sample, name, value)
    return sample


def panels(tmp_path, data_sample, **kwargs):
    """The drawn panels, RGB, without the image."""
    visualizer = OneFormerVisualizer(name=str(tmp_path))
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    image = np.full((*SIZE, 3), 90, np.uint8)
    path = tmp_path / 'drawn.png'
    visualizer.add_datasample('x', image, data_sample, out_file=str(path), **kwargs)
    row = cv2.imread(str(path))[..., ::-1]
    width = SIZE[1]
    count = (row.shape[1] + 6) // (width + 6)
    drawn = [row[:, i * (width + 6) :][:, :width] for i in range(count)]
    np.testing.assert_array_equal(drawn[0], image)
    return drawn[1:]


def close(pixel, label):
    """Whether a pixel has the blended colour of a class; segments of a class differ a little."""
    expected = 0.45 * 90 + 0.55 * np.array(PALETTE[label])
    return abs(pixel.astype(float) - expected).max() <= 0.55 * 24 + 2


def test_ground_truth_and_each_prediction_get_a_panel_with_their_colours(tmp_path):
    pred_map = torch.full((1, *SIZE), 2)  # void
    pred_map[0, :25] = 0
    pred_map[0, 30:50, 20:60] = 1 + INSTANCE_OFFSET * 2
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 30:50, 20:60], masks[1, :20, :20] = True, True
    truth, panoptic, instance, semantic = panels(
        tmp_path,
        sample(
            pred_panoptic_seg=PixelData(sem_seg=pred_map),
            pred_instances=InstanceData(
                labels=torch.tensor([1, 1]), scores=torch.tensor([0.9, 0.1]), masks=masks
            ),
            pred_sem_seg=PixelData(sem_seg=torch.ones(1, *SIZE, dtype=torch.long)),
        ),
    )
    void, sky, cat = (56, 85), (15, 2), (32, 22)  # away from captions and outlines
    assert close(truth[sky], 0) and close(truth[cat], 1) and (truth[void] == 90).all()
    assert close(panoptic[sky], 0) and close(panoptic[cat], 1) and (panoptic[void] == 90).all()
    assert close(instance[cat], 1) and (instance[sky] == 90).all()
    assert (instance[2, 2] == 90).all()  # scored below 0.3
    assert close(semantic[void], 1) and close(semantic[sky], 1)
    assert (truth[30, 40] == 255).all()  # outline


def test_empty_predictions_leave_the_image_as_it_is(tmp_path):
    truth, panoptic, instance = panels(
        tmp_path,
        sample(
            pred_panoptic_seg=PixelData(sem_seg=torch.full((1, *SIZE), 2)),
            pred_instances=InstanceData(
                labels=torch.zeros(0, dtype=torch.long),
                scores=torch.zeros(0),
                masks=torch.zeros(0, *SIZE, dtype=torch.bool),
            ),
        ),
    )
    assert close(truth[17, 85], 0)
    for panel in (panoptic, instance):
        assert (panel[20:] == 90).all()  # below the title
    assert len(panels(tmp_path, sample(), draw_gt=False)) == 0


def test_without_a_palette_classes_get_different_colours():
    colors = class_colors(40, None)
    assert len({tuple(color) for color in colors.tolist()}) == 40
    image = np.zeros((8, 8, 3), np.uint8)
    painted = paint(image, Regions('x', np.ones((8, 8), int), [3], ['']), colors, 1.0)
    assert abs(painted[4, 4].astype(int) - colors[3]).max() <= 24


@pytest.fixture
def both_backends(tmp_path, config_dir):
    """A config that draws into the local folder and into TensorBoard."""
    path = tmp_path / 'drawing.py'
    base = config_dir / 'oneformer_efficientnet-lite0_quickstart.py'
    path.write_text(
        f'_base_ = {str(base)!r}\n'
        "vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]\n"
        'visualizer = dict(vis_backends=vis_backends)\n'
        'default_hooks = dict(visualization=dict(draw=True))\n'
        'model = dict(backbone=dict(pretrained=False))\n'
    )
    return path


def test_the_hook_draws_into_both_backends_of_one_run(both_backends, run_tool, tiny_set, tmp_path):
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = MODELS.build(Config.fromfile(both_backends).model)
    with torch.no_grad():  # nothing is ever found: the panoptic prediction is empty
        model.panoptic_head.cls_embed.bias[-1] = 100
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'empty.pth')
    run_tool(
        'test', both_backends, tmp_path / 'empty.pth', '--work-dir', tmp_path / 'run',
        '--tasks', 'panoptic', '--cfg-options', f'test_dataloader.dataset.data_root={tiny_set}/',
    )  # fmt: skip
    (folder,) = (tmp_path / 'run').glob('*/vis_data')
    events = EventAccumulator(str(folder), size_guidance=dict(images=0)).Reload()
    logged = events.Images('test_img')
    pictures = sorted(
        (folder / 'vis_image').glob('test_img_*.png'),
        key=lambda path: int(path.stem.split('_')[-1]),
    )
    images = sorted((tiny_set / 'val').glob('*.jpg'))
    assert len(list((folder / 'vis_image').iterdir())) == len(logged) == len(images) == 5
    for image, picture, event in zip(images, pictures, logged):
        image, picture = cv2.imread(str(image)), cv2.imread(str(picture))
        board = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(board, picture)
        width = image.shape[1]
        assert picture.shape[1] == 3 * width + 2 * 6  # image, ground truth, the panoptic prediction
        truth, prediction = (picture[:, i * (width + 6) :][:, :width] for i in (1, 2))
        assert np.abs(truth.astype(int) - image)[25:].mean() > 10
        np.testing.assert_array_equal(prediction[25:], image[25:])
