"""mmdet's own inference takes the configs of this project, paths and arrays alike."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from oneformer.inference import OneFormerInferencer, mmdet_apis
from oneformer.panoptic_codes import id_picture

FIELDS = dict(panoptic='pred_panoptic_seg', instance='pred_instances', semantic='pred_sem_seg')


@pytest.fixture(scope='module')
def cfg(config_dir):
    """The quick start, with thresholds for a model that is unsure."""
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.test_cfg.update(object_mask_thr=0.0, iou_thr=0.0, max_per_image=20)
    return cfg


@pytest.fixture(scope='module')
def weights(cfg, tmp_path_factory):
    """A checkpoint of random weights."""
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for parameter in model.panoptic_head.parameters():  # or all masks are alike
            if parameter.dim() > 1:
                parameter.normal_(std=0.12)
        model.panoptic_head.query_embed.weight.normal_()
        model.panoptic_head.cls_embed.bias[:-1][model.is_thing] += 1
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=model.metainfo)), path)
    return str(path)


@pytest.fixture(scope='module')
def image():
    """Of 50 x 70 pixels, BGR."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(coarse, (70, 50), interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def path(image, tmp_path):
    """The image as a file."""
    path = tmp_path / 'street.png'
    cv2.imwrite(str(path), image)
    return str(path)


@pytest.fixture
def inferencer(cfg, weights):
    """mmdet's."""
    return DetInferencer(cfg, weights, device='cpu', show_progress=False)


def test_paths_arrays_and_lists_give_what_our_inferencer_gives(
    inferencer, cfg, weights, image, path
):
    (expected,) = OneFormerInferencer(cfg, weights, 'cpu')(path, score_thr=0.0, progress=False)
    assert len(expected.labels) > 2 and expected.segments
    for inputs in (path, image, [path, image]):
        predictions = inferencer(inputs, batch_size=2)['predictions']
        assert len(predictions) == (2 if isinstance(inputs, list) else 1)
        for prediction in predictions:
            order = np.argsort(-np.array(prediction['scores']), kind='stable')
            assert np.array(prediction['labels'])[order].tolist() == expected.labels.tolist()
            np.testing.assert_allclose(np.array(prediction['scores'])[order], expected.scores, 1e-4)
            best = prediction['masks'][order[0]]
            assert (coco_mask.decode(best) == expected.masks[0]).mean() > 0.999
            codes = prediction['panoptic_seg'].astype(int) @ [1, 256, 65536]
            labels = np.zeros(len(expected.segments) + 1, int)
            labels[1:] = [segment['label'] for segment in expected.segments]
            known = expected.panoptic_map > 0
            agreement = codes % INSTANCE_OFFSET == labels[expected.panoptic_map]
            assert known.any() and agreement[known].mean() > 0.999
        samples = inferencer(inputs, return_datasamples=True)['predictions']
        semantic = samples[0].pred_sem_seg.sem_seg[0].numpy()
        assert (semantic == expected.semantic_map).mean() > 0.999


@pytest.mark.parametrize('task', list(FIELDS))
def test_results_and_pictures_of_each_task_are_written(task, cfg, weights, image, path, tmp_path):
    own = Config(dict(cfg))
    own.model = dict(cfg.model, test_cfg=dict(cfg.model.test_cfg, tasks=(task,)))
    inferencer = DetInferencer(own, weights, device='cpu', show_progress=False)
    out = inferencer([path, image], out_dir=str(tmp_path / 'out'), no_save_pred=False)
    written = sorted(str(p.relative_to(tmp_path / 'out')) for p in tmp_path.rglob('out/*/*'))
    panoptic = ['preds/0_panoptic_seg.png', 'preds/street_panoptic_seg.png']
    assert written == sorted(
        ['preds/0.json', 'preds/street.json', 'vis/00000001.jpg', 'vis/street.png']
        + panoptic * (task == 'panoptic')
    )
    for picture in out['visualization']:  # of the image, a gap and the prediction
        assert picture.shape == (50, 2 * 70 + 6, 3)
    drawn = mmcv.imread(str(tmp_path / 'out/vis/street.png'), channel_order='rgb')
    assert np.array_equal(drawn, out['visualization'][0])
    assert np.array_equal(drawn[:, :70], image[..., ::-1])
    if task == 'panoptic':
        maps = [cv2.imread(str(tmp_path / 'out' / name)) for name in panoptic]
        assert np.array_equal(*maps) and maps[0].any()


def test_a_file_that_is_damaged_is_named(inferencer, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG')
    with pytest.raises(ValueError, match=r'broken\.png is damaged'):
        inferencer(str(tmp_path / 'broken.png'))
    with pytest.raises(ValueError, match=r'an array of uint8 and shape \(5, 5, 4\)'):
        inferencer(np.zeros((5, 5, 4), np.uint8))


def test_a_first_class_that_is_written_as_void_is_told(cfg, weights, monkeypatch):
    told = []
    monkeypatch.setattr(mmdet_apis, 'print_log', lambda text, **_: told.append(text))
    own = Config(dict(cfg))
    own.model = dict(cfg.model, metainfo=dict(classes=list('abcdefgh'), thing_classes=['b']))
    DetInferencer(own, weights, device='cpu', show_progress=False)
    assert len(told) == 1 and "both for void and for 'a', the first class, which is" in told[0]


def test_other_loaders_stay_mmdets(inferencer, cfg, image):
    other = Config(dict(cfg))
    steps = [dict(type='LoadImageFromFile'), *cfg.test_pipeline[1:]]
    other.test_dataloader = dict(dataset=dict(pipeline=steps))
    loader = inferencer._init_pipeline(other).transforms[0]
    assert type(loader).__module__.startswith('mmdet.')
    other.test_dataloader = dict(dataset=dict(pipeline=cfg.test_pipeline[1:]))
    with pytest.raises(ValueError, match='LoadImageFromFile is not found'):
        inferencer._init_pipeline(other)
    array = TRANSFORMS.build(dict(type='mmdet.LoadImageFromNDArray', to_float32=True))
    loaded = array(dict(img=image))
    assert loaded['img'].dtype == np.float32 and loaded['ori_shape'] == (50, 70)


def test_functions_take_arrays_and_then_paths(cfg, weights, image, path):
    model = init_detector(Config(dict(cfg)), weights, device='cpu')
    from_arrays = inference_detector(model, [image, image])
    from_file = inference_detector(model, path)
    for sample in from_arrays:
        assert torch.equal(sample.pred_sem_seg.sem_seg, from_file.pred_sem_seg.sem_seg)


def test_options_of_how_images_are_read_hold_for_both(cfg, weights, image, path, tmp_path):
    own = Config(dict(cfg))
    dataset = dict(cfg.test_dataloader.dataset, orientation='stored', value_range=(0, 510))
    own.test_dataloader = dict(cfg.test_dataloader, dataset=dataset)
    deep, turned = image.astype(np.uint16) * 2, tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(turned, exif=exif)
    cv2.imwrite(str(tmp_path / 'deep.png'), deep)
    model = init_detector(Config(dict(own)), weights, device='cpu')
    maps = [
        inference_detector(model, given).pred_sem_seg.sem_seg
        for given in (path, deep, str(tmp_path / 'deep.png'), str(turned))
    ]
    inferencer = DetInferencer(own, weights, device='cpu', show_progress=False)
    inputs = [deep, str(tmp_path / 'deep.png'), str(turned), Image.fromarray(image[..., ::-1])]
    for sample in inferencer(inputs, return_datasamples=True)['predictions']:
        maps.append(sample.pred_sem_seg.sem_seg)
    assert {tuple(m.shape) for m in maps} == {(1, 50, 70)}  # also of what is stored on its side
    for k in (1, 2, 4, 5, 7):
        assert torch.equal(maps[k], maps[0])


def test_ids_become_colours():
    ids = np.array([[0, 1, 256], [65536, 70007, (1 << 24) - 1]])
    assert (id_picture(ids).astype(int) @ [1, 256, 65536] == ids).all()
