"""``OneFormerInferencer`` and ``tools/predict.py``: anything in, plain arrays and files out."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.config import Config
from mmengine.structures import PixelData
from PIL import Image
from pycocotools import mask as coco_mask

from oneformer.inference import OneFormerInferencer
from oneformer.inference.settings import TEST_SETTINGS
from oneformer.metainfo import resolve_metainfo
from oneformer.results.prediction import labels_of_names
from oneformer.tasks import TASKS
from oneformer.zoo import find_config

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'
LOOSE = dict(object_mask_thr=0.1, iou_thr=0.0, score_thr=0.0)  # untrained weights are unsure


@pytest.fixture(scope='module')
def images():
    """Three images of two sizes, BGR."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((6, 9), (9, 6), (6, 9))]
    return [cv2.resize(c, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR) for c in coarse]


@pytest.fixture(scope='module')
def weights(config_dir, images, tmp_path_factory):
    """A checkpoint of random weights whose queries prediction many classes."""
    cfg = Config.fromfile(config_dir / f'{QUICKSTART}.py').model
    torch.manual_seed(4)
    model = MODELS.build(cfg).eval()
    with torch.no_grad():
        for parameter in model.panoptic_head.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.12)
        model.panoptic_head.query_embed.weight.normal_()
        # random queries agree on a class: teach each its own from what tells them apart
        image = torch.from_numpy(images[0][..., ::-1].copy()).permute(2, 0, 1)[None]
        queries = model((image - 127) / 128, mode='tensor')['object_queries'][0]
        features = model.panoptic_head.transformer_decoder.post_norm(queries)
        mean = features.mean(0)
        head = model.panoptic_head.cls_embed
        wanted = 4 * torch.eye(head.out_features)[torch.arange(len(queries)) % head.out_features]
        head.weight.copy_((torch.linalg.pinv(features - mean, rtol=0.02) @ wanted).mT)
        head.bias.copy_(-head.weight @ mean)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture(scope='module')
def inferencer(weights):
    """On the CPU, by the config's name in the zoo."""
    return OneFormerInferencer(QUICKSTART, weights, 'cpu')


@pytest.fixture
def folder(tmp_path, images):
    """Images in a folder and a sub-folder, one of them truncated, and a text."""
    root = tmp_path / 'images'
    (root / 'street').mkdir(parents=True)
    for name, image in zip(('a.png', 'street/a.png', 'street/b.jpg'), images):
        cv2.imwrite(str(root / name), image)
    whole = cv2.imencode('.jpg', images[0])[1].tobytes()
    (root / 'broken.jpg').write_bytes(whole[: len(whole) // 2])
    (root / 'notes.txt').write_text('no image')
    return root


def write_video(path, frames, fps=5, codec='mp4v'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()


FIELDS = dict(
    panoptic=('panoptic_map', 'segments'),
    instance=('masks', 'labels', 'scores', 'boxes'),
    semantic=('semantic_map',),
)


def assert_same(a, b, tasks=TASKS):
    """Predictions are equal up to rounding, which may decide single pixels."""
    for name in (name for task in tasks for name in FIELDS[task]):
        one, other = getattr(a, name), getattr(b, name)
        if name == 'segments':
            assert [s['label'] for s in one] == [s['label'] for s in other]
            assert [s['score'] for s in one] == pytest.approx([s['score'] for s in other], abs=1e-4)
        elif name == 'scores':
            np.testing.assert_allclose(one, other, atol=1e-4)
        else:
            assert one.shape == other.shape and (one != other).sum() <= 0.001 * one.size, name


def test_an_array_gives_arrays_that_fit_together(inferencer, images):
    (prediction,) = inferencer(images[0], **LOOSE, progress=False)
    size = images[0].shape[:2]
    classes, things = inferencer.dataset_meta['classes'], inferencer.dataset_meta['thing_classes']
    assert prediction.name == 'array_000000' and prediction.path is None
    assert prediction.panoptic_map.shape == prediction.semantic_map.shape == size
    assert prediction.panoptic_map.dtype == np.int32
    assert len(prediction.segments) > 2
    ids, areas = np.unique(prediction.panoptic_map, return_counts=True)
    assert {s['id']: s['area'] for s in prediction.segments} == {
        k: n for k, n in zip(ids.tolist(), areas.tolist()) if k
    }
    for segment in prediction.segments:
        assert segment['category'] == classes[segment['label']]
        assert segment['isthing'] == (segment['category'] in things)
        assert 0.1 < segment['score'] <= 1
    count = len(prediction.labels)
    assert count > 0 and prediction.masks.shape == (count, *size) and prediction.masks.dtype == bool
    assert prediction.scores.shape == (count,) and prediction.boxes.shape == (count, 4)
    assert (np.diff(prediction.scores) <= 0).all()
    for mask, box in zip(prediction.masks, prediction.boxes):
        rows, columns = np.nonzero(mask)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == (expected if len(rows) else [0] * 4)
    assert set(np.unique(prediction.semantic_map)) <= set(range(len(classes)))


def test_a_file_is_predicted_like_its_array_in_bgr(inferencer, images, tmp_path):
    path = tmp_path / 'image.png'
    Image.fromarray(images[0][..., ::-1]).save(path)
    from_file, from_array = inferencer([path, images[0]], **LOOSE, progress=False)
    assert from_file.path == str(path) and from_file.name == 'image.png'
    assert_same(from_file, from_array)
    (swapped,) = inferencer(images[0][..., ::-1], **LOOSE, progress=False)
    assert not np.array_equal(swapped.panoptic_map, from_array.panoptic_map)


@pytest.mark.parametrize('kind', ['grey', 'alpha', 'deep', 'turned'])
def test_images_of_any_kind_are_predicted_upright(kind, inferencer, images, tmp_path):
    path = tmp_path / 'image.png'
    if kind == 'grey':
        Image.fromarray(images[0][..., 0]).save(path)
    elif kind == 'alpha':
        cv2.imwrite(str(path), np.dstack([images[0], images[0][..., 0]]))
    elif kind == 'deep':
        cv2.imwrite(str(path), images[0].astype(np.uint16) * 257)
    else:
        path = path.with_suffix('.jpg')
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        Image.fromarray(images[0]).save(path, exif=exif)
    (prediction,) = inferencer(path, tasks='semantic', progress=False)
    size = images[0].shape[:2]
    assert prediction.semantic_map.shape == (size[::-1] if kind == 'turned' else size)


@pytest.mark.parametrize(
    ('channels', 'message'),
    [
        (1, 'image.tiff holds numbers of float32 from 0.* to 0.*: set value_range='),
        (3, 'image.tiff is damaged, not an image, or .* of floats'),
    ],
)
def test_an_image_of_floats_is_said_to_be_none(channels, message, inferencer, images, tmp_path):
    path = tmp_path / 'image.tiff'
    cv2.imwrite(str(path), (images[0][..., :channels] / 255).astype(np.float32))
    with pytest.raises(ValueError, match=message):
        inferencer(path, progress=False)


def test_three_tasks_at_once_are_three_single_predictions(inferencer, images):
    (together,) = inferencer(images[1], **LOOSE, progress=False)
    for task in TASKS:
        (alone,) = inferencer(images[1], tasks=task, **LOOSE, progress=False)
        assert_same(together, alone, [task])
        others = [name for other in TASKS if other != task for name in FIELDS[other]]
        assert all(getattr(alone, name) is None for name in others)


def test_the_batch_size_does_not_change_the_predictions(inferencer, images):
    one_by_one = inferencer(images, **LOOSE, progress=False)
    in_pairs = inferencer(images, **LOOSE, batch_size=2, progress=False)
    assert [p.name for p in in_pairs] == [f'array_{k:06d}' for k in range(3)]
    for a, b in zip(one_by_one, in_pairs):
        assert_same(a, b)


def test_images_share_a_batch_only_if_their_padding_is_the_same(inferencer, images, monkeypatch):
    sizes = []
    extract_feat = inferencer.model.extract_feat
    monkeypatch.setattr(
        inferencer.model,
        'extract_feat',
        lambda images: sizes.append(tuple(images.shape)) or extract_feat(images),
    )
    narrower = np.ascontiguousarray(images[0][:, :-1])  # by less than the padding
    inferencer([*images, narrower], **LOOSE, batch_size=2, progress=False)
    assert sizes == [(2, 3, 160, 256), (1, 3, 256, 160), (1, 3, 160, 256)]


def test_only_wanted_classes_remain_and_the_others_are_void(inferencer, images):
    (everything,) = inferencer(images[0], **LOOSE, progress=False)
    # a thing and stuff that the prediction has
    categories = {s['isthing']: s['category'] for s in everything.segments}
    wanted = [categories[True], categories[False]]
    classes = list(inferencer.dataset_meta['classes'])
    labels = [classes.index(name) for name in wanted]
    names = [f' {wanted[0].upper()}', wanted[1]]
    (some,) = inferencer(images[0], classes=names, **LOOSE, progress=False)

    kept = [s for s in everything.segments if s['category'] in wanted]
    assert 0 < len(kept) < len(everything.segments)
    assert [(s['category'], s['area'], s['score']) for s in some.segments] == [
        (s['category'], s['area'], s['score']) for s in kept
    ]
    for before, now in zip(kept, some.segments):
        np.testing.assert_array_equal(
            everything.panoptic_map == before['id'], some.panoptic_map == now['id']
        )
    assert (some.panoptic_map == 0).sum() == some.panoptic_map.size - sum(s['area'] for s in kept)
    of_wanted = np.isin(everything.labels, labels)
    np.testing.assert_array_equal(some.scores, everything.scores[of_wanted])
    np.testing.assert_array_equal(some.masks, everything.masks[of_wanted])
    np.testing.assert_array_equal(
        some.semantic_map,
        np.where(np.isin(everything.semantic_map, labels), everything.semantic_map, -1),
    )


@pytest.mark.parametrize(
    'dataset, name, meant',
    [
        ('coco', 'tree', 'tree-merged'),
        ('coco', 'wall', 'wall-other-merged'),
        ('coco', 'sky', 'sky-other-merged'),
        ('coco', 'traffic-light', 'traffic light'),
        ('ade20k', 'pavement', 'sidewalk, pavement'),
        ('ade20k', 'Windowpane', 'window '),  # an alias, which no part of the name is
        ('mapillary', 'crosswalk - plain', 'Crosswalk - Plain'),
    ],
)
def test_classes_are_named_as_in_fine_tuning(dataset, name, meant):
    metainfo = resolve_metainfo(dataset)
    (label,) = labels_of_names([name], metainfo)
    assert metainfo['classes'][label] == meant


def test_a_name_of_two_classes_is_refused_with_both():
    with pytest.raises(ValueError, match=r"'Ground' may be each of \['earth, .*', 'land, .*'\]"):
        labels_of_names(['wall', 'Ground'], resolve_metainfo('ade20k'))


def test_thresholds_are_honoured(inferencer, images):
    def predicted(**thresholds):
        (prediction,) = inferencer(images[0], **{**LOOSE, **thresholds}, progress=False)
        return prediction

    loose = predicted()
    middle = float(np.median(loose.scores))
    np.testing.assert_array_equal(
        predicted(score_thr=middle).scores, loose.scores[loose.scores >= middle]
    )
    assert len(predicted(max_per_image=3).labels) <= 3 < len(loose.labels)
    middle = float(np.median([s['score'] for s in loose.segments]))
    sure = predicted(object_mask_thr=middle).segments
    assert 0 < len(sure) < len(loose.segments) and min(s['score'] for s in sure) > middle
    assert sum(s['area'] for s in predicted(iou_thr=0.9).segments) < sum(
        s['area'] for s in loose.segments
    )
    assert inferencer.model.test_cfg['iou_thr'] == 0.8  # the next call begins with the config's


def test_a_video_is_streamed_not_collected(inferencer, images, tmp_path, monkeypatch):
    write_video(tmp_path / 'clip.mp4', images[::2] * 10)
    read = []
    capture_type = cv2.VideoCapture

    class Capture:
        def __init__(self, path):
            self.capture = capture_type(path)

        def read(self):
            read.append(1)
            return self.capture.read()

        def __getattr__(self, name):
            return getattr(self.capture, name)

    monkeypatch.setattr(cv2, 'VideoCapture', Capture)
    stream = inferencer.stream(tmp_path / 'clip.mp4', tasks='semantic', progress=False)
    names = [next(stream).name for _ in range(3)]
    assert names == [f'clip/{k:06d}' for k in range(3)] and len(read) == 3


def test_globs_take_what_matches_and_name_it_below_their_folder(inferencer, folder):
    names = [p.name for p in inferencer(f'{folder}/**/a.png', tasks='semantic', progress=False)]
    assert names == ['a.png', 'street/a.png']


def test_a_broken_file_is_an_error_unless_someone_is_told(inferencer, folder):
    with pytest.raises(ValueError, match=r'broken\.jpg is damaged'):
        inferencer(folder, tasks='semantic', progress=False)
    told = []
    predicted = inferencer(
        folder, tasks='semantic', progress=False, on_unreadable=lambda *e: told.append(e)
    )
    assert [p.name for p in predicted] == ['a.png', 'street/a.png', 'street/b.jpg']
    ((name, error),) = told
    assert name == str(folder / 'broken.jpg') and 'damaged' in str(error)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(tasks='depth'), "unknown task 'depth'"),
        (dict(tasks=[]), 'no task'),
        (dict(classes=['bal']), r"no class 'bal': did you mean \['ball'\]"),
        (dict(classes=[]), 'no class: name one or more'),
        (dict(classes=[None]), 'class None is not a name'),
        (dict(classes=5), 'no class: name one or more'),
        (dict(tasks=5), 'no task'),
        (dict(batch_size=0), 'batch_size is 0'),
        (dict(batch_size=1.5), 'batch_size is 1.5, it has to be a whole number'),
        (dict(max_per_image='all'), 'max_per_image is all, it has to be a whole number'),
        (dict(score_thr=None), 'score_thr is None, it has to be between 0 and 1'),
        (dict(iou_thr='0.5'), 'iou_thr is 0.5, it has to be between 0 and 1'),
        (dict(object_mask_thr=float('nan')), 'object_mask_thr is nan'),
        (dict(inputs=5), 'input 5 is not an image: give an array, a path'),
        (dict(inputs=['.', None]), 'input None is not an image'),
        (dict(inputs=''), "input '' is not an image"),
        (dict(score_thr=30), 'score_thr is 30, it has to be between 0 and 1'),
        (dict(inputs=[]), 'no input'),
        (dict(inputs='nowhere.jpg'), 'nowhere.jpg does not exist'),
        (dict(inputs='nowhere/*.jpg'), 'no file matches'),
        (dict(inputs=np.zeros((4, 4))), r'float64 and shape \(4, 4\) is not an image'),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_computed(
    arguments, message, inferencer, images
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inferencer.stream(**{'inputs': images[0], **arguments})


def predict(run_tool, weights, *arguments):
    """Run the tool; what it printed, and what it said when it ended with exit code 1."""
    options = ['--model', QUICKSTART, '--weights', weights, '--device', 'cpu']
    options += ['--object-mask-thr', 0.1, '--iou-thr', 0, '--score-thr', 0.05]
    try:
        return run_tool('predict', *arguments, *options), None
    except SystemExit as end:
        return None, str(end)


def test_coco_photographs_get_files_that_the_evaluator_reads(
    run_tool, weights, inferencer, shared_dir, tmp_path
):
    images = shared_dir / 'data/coco_panoptic_tiny/images'
    out_dir = tmp_path / 'out'
    printed, _ = predict(run_tool, weights, images, '--out-dir', out_dir, '--batch-size', 2)
    assert 'predicted images and frames: 4;' in printed
    stems = sorted(path.stem for path in images.iterdir())
    for task in TASKS:
        overlays = sorted((out_dir / 'overlays' / task).iterdir())
        assert [path.name for path in overlays] == [f'{stem}.jpg' for stem in stems]
        for stem, overlay in zip(stems, overlays):
            assert cv2.imread(str(overlay)).shape == cv2.imread(str(images / f'{stem}.jpg')).shape

    # the written predictions as ground truth: the returned predictions score 100 against them
    metainfo = {key: inferencer.dataset_meta[key] for key in ('classes', 'thing_classes')}
    dataset = DATASETS.build(
        dict(
            type='PanopticDataset',
            metainfo=metainfo,
            ann_file=str(out_dir / 'panoptic.json'),
            data_prefix=dict(img=str(images), seg=str(out_dir / 'panoptic')),
            pipeline=[
                dict(type='LoadPhoto'), dict(type='LoadSegmentMap'), dict(type='PackSegmentInputs')
            ],
            test_mode=True,
        )
    )  # fmt: skip
    quality = METRICS.build(dict(type='PanopticQuality'))
    quality.dataset_meta = dataset.metainfo
    predictions = inferencer(images, object_mask_thr=0.1, iou_thr=0, score_thr=0.05, progress=False)
    records = json.loads((out_dir / 'instance.json').read_text())
    assert len(dataset) == len(predictions) == 4
    for data, prediction in zip(dataset, predictions):
        sample = data['data_samples']
        assert sample.img_path == prediction.path
        codes = [len(metainfo['classes'])] + [
            s['label'] + 1000 * s['id'] for s in prediction.segments
        ]
        sem_seg = torch.tensor(codes)[torch.from_numpy(prediction.panoptic_map)][None]
        sample.pred_panoptic_seg = PixelData(sem_seg=sem_seg)
        quality.process(None, [sample.to_dict()])

        stem = prediction.name.removesuffix('.jpg')
        labels = cv2.imread(str(out_dir / f'semantic/{stem}.png'), cv2.IMREAD_UNCHANGED)
        assert (labels == prediction.semantic_map).mean() > 0.999
        own = [record for record in records if record['image_id'] == stem]
        assert [record['category_id'] for record in own] == prediction.labels.tolist()
        for record, mask in zip(own, prediction.masks):
            assert (coco_mask.decode(record['segmentation']) == mask).mean() > 0.999
    assert quality.evaluate(4)['panoptic/PQ'] > 99.9


def test_a_folder_with_a_broken_file_is_done_but_for_it(run_tool, weights, folder, tmp_path):
    out_dir = tmp_path / 'out'
    _, message = predict(run_tool, weights, folder, '--out-dir', out_dir, '--classes', 'grass')
    assert message.startswith('not readable (1):\n') and str(folder / 'broken.jpg') in message
    names = {'a.png', 'street/a.png', 'street/b.png'}  # sub-folders are mirrored
    for kind in ('panoptic', 'semantic'):
        written = {str(p.relative_to(out_dir / kind)) for p in (out_dir / kind).rglob('*.png')}
        assert written == names
    content = json.loads((out_dir / 'panoptic.json').read_text())
    assert [i['file_name'] for i in content['images']] == ['a.png', 'street/a.png', 'street/b.jpg']
    labels = cv2.imread(str(out_dir / 'semantic/a.png'), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(labels)) <= {5, 255}  # grass, and void
    assert json.loads((out_dir / 'instance.json').read_text()) == []
    assert not list(out_dir.rglob('*.tmp*'))


def test_inputs_behind_the_classes_are_not_taken_for_classes(
    run_tool, weights, inferencer, folder, tmp_path, capsys
):
    image = folder / 'a.png'
    for arguments, message in (
        ([image, '--classes', 'grass', image], 'a.png is a file, not a class: write inputs first'),
        (['--classes', 'grass', folder], 'no input: write images'),
    ):
        with pytest.raises(SystemExit):
            run_tool('predict', '--weights', weights, *arguments)
        assert message in capsys.readouterr().err
    (prediction,) = inferencer(image, tasks='panoptic', **LOOSE, progress=False)
    wanted = sorted({segment['label'] for segment in prediction.segments})[:2]
    classes, out_dir = inferencer.dataset_meta['classes'], tmp_path / 'out'
    twice = [word for label in wanted for word in ('--classes', classes[label])]
    printed, _ = predict(run_tool, weights, image, '--out-dir', out_dir, *twice)
    assert 'results are in' in printed
    (annotation,) = json.loads((out_dir / 'panoptic.json').read_text())['annotations']
    found = sorted({info['category_id'] for info in annotation['segments_info']})
    assert found == wanted and len(wanted) == 2


def test_where_nothing_is_predicted_no_results_are_claimed(
    run_tool, weights, folder, tmp_path, capsys
):
    _, message = predict(run_tool, weights, folder / 'broken.jpg', '--out-dir', tmp_path / 'out')
    assert 'broken.jpg' in message and not (tmp_path / 'out').exists()
    printed = capsys.readouterr().out
    assert 'predicted images and frames: 0\n' in printed and 'results are in' not in printed


@pytest.mark.parametrize('frames', [True, False])
def test_a_video_becomes_a_video_per_task(frames, run_tool, weights, images, tmp_path):
    write_video(tmp_path / 'clip.mp4', images[::2] * 2, fps=7)
    out_dir = tmp_path / 'out'
    printed, _ = predict(
        run_tool, weights, tmp_path / 'clip.mp4', '--out-dir', out_dir,
        '--tasks', 'panoptic', 'semantic', '--batch-size', 3, *['--frames'] * frames,
    )  # fmt: skip
    assert 'predicted images and frames: 4;' in printed
    for task in ('panoptic', 'semantic'):
        (path,) = (out_dir / 'overlays' / task).iterdir()
        video = cv2.VideoCapture(str(path))
        assert path.name == 'clip.mp4' and video.get(cv2.CAP_PROP_FPS) == 7
        drawn = [video.read()[1] for _ in range(4)]
        assert all(frame.shape == images[0].shape for frame in drawn) and not video.read()[0]
        assert np.abs(drawn[0].astype(int) - images[0]).mean() > 5
    pngs = sorted(str(path.relative_to(out_dir)) for path in out_dir.rglob('*.png'))
    assert pngs == [
        f'{kind}/clip/{k:06d}.png' for kind in ('panoptic', 'semantic') for k in range(4 * frames)
    ]
    assert (out_dir / 'panoptic.json').exists() == frames


@pytest.mark.parametrize('suffix', ['.avi', '.mkv'])
def test_a_truncated_video_is_reported_and_what_it_has_is_kept(
    suffix, run_tool, weights, inferencer, images, tmp_path
):
    path = tmp_path / f'clip{suffix}'
    write_video(path, images[::2] * 10, codec='MJPG')
    assert len(inferencer(path, tasks='semantic', progress=False)) == 20
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    out_dir = tmp_path / 'out'
    _, message = predict(
        run_tool, weights, path, '--out-dir', out_dir, '--tasks', 'semantic', '--batch-size', 4
    )
    (number,) = re.search(r'is damaged: only (\d+) of 20 frames', message).groups()
    assert message.startswith('not readable (1):\n') and 4 < int(number) < 15
    video = cv2.VideoCapture(str(out_dir / 'overlays/semantic/clip.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == int(number)
    with pytest.raises(ValueError, match=f'{number} of 20 frames'):
        inferencer(path, tasks='semantic', progress=False)


def test_an_error_leaves_nothing_half_written(inferencer, images, folder, tmp_path):
    write_video(tmp_path / 'clip.mp4', images[::2] * 4)
    out_dir = tmp_path / 'out'
    stream = inferencer.stream(tmp_path / 'clip.mp4', out_dir, progress=False)
    next(stream)
    stream.close()
    with pytest.raises(ValueError, match='damaged'):
        inferencer([folder / 'street/b.jpg', folder / 'broken.jpg'], out_dir, progress=False)
    written = {str(p.relative_to(out_dir)) for p in out_dir.rglob('*') if p.is_file()}
    assert written == {f'overlays/{task}/b.jpg' for task in TASKS} | {
        'panoptic/b.png', 'semantic/b.png'
    }  # fmt: skip


def test_results_that_would_overwrite_each_other_are_refused(inferencer, folder):
    out_dir = folder / 'results'
    pair = [folder / 'a.png', folder / 'street' / 'a.png']
    with pytest.raises(ValueError, match='would both be called a: write them to different'):
        inferencer.stream(pair, out_dir)
    with pytest.raises(ValueError, match='lies in .*choose another'):
        inferencer.stream(folder, folder)
    assert not out_dir.exists()


def test_images_that_differ_in_their_suffix_keep_it_in_the_results(inferencer, images, tmp_path):
    folder, out_dir = tmp_path / 'images', tmp_path / 'out'
    folder.mkdir()
    names, stems = ['a.jpg', 'a.png', 'b.png'], ['a.jpg', 'a.png', 'b']
    for name, image in zip(names, images):
        cv2.imwrite(str(folder / name), image)
    predictions = inferencer(folder, out_dir, tasks=['panoptic', 'semantic'], progress=False)
    assert [prediction.name for prediction in predictions] == names
    for kind, suffix in (('overlays/semantic', '.jpg'), ('panoptic', '.png'), ('semantic', '.png')):
        written = sorted(path.name for path in (out_dir / kind).iterdir())
        assert written == [stem + suffix for stem in stems]
    listed = json.loads((out_dir / 'panoptic.json').read_text())['images']
    assert [(i['id'], i['file_name']) for i in listed] == list(zip(stems, names))


def test_a_video_shares_its_name_with_an_image_but_its_frames_do_not(inferencer, images, tmp_path):
    write_video(tmp_path / 'clip.mp4', images[::2])
    cv2.imwrite(str(tmp_path / 'clip.png'), images[0])
    out_dir, options = tmp_path / 'out', dict(tasks='semantic', progress=False)
    pair = [tmp_path / 'clip.mp4', tmp_path / 'clip.png']
    assert len(inferencer(pair, out_dir, frames=True, **options)) == 3
    overlays = (out_dir / 'overlays/semantic').iterdir()
    assert sorted(path.name for path in overlays) == ['clip.jpg', 'clip.mp4']

    (tmp_path / 'clip').mkdir()
    cv2.imwrite(str(tmp_path / 'clip/000001.png'), images[0])
    with pytest.raises(ValueError, match=r'clip/000001.png and of a frame of .*clip.mp4 may both'):
        inferencer.stream(tmp_path, tmp_path.parent / 'elsewhere', frames=True)
    inferencer.stream(tmp_path, tmp_path.parent / 'elsewhere')  # without PNGs of frames


def test_only_weights_of_this_very_model_are_loaded(weights, config_dir, tmp_path):
    def attempt(change=None, model=QUICKSTART, **meta):
        checkpoint = torch.load(weights, weights_only=True)
        if change:
            change(checkpoint['state_dict'])
        path = tmp_path / 'changed.pth'
        torch.save(dict(checkpoint, meta=meta), path)
        return OneFormerInferencer(model, path, 'cpu')

    with pytest.raises(ValueError, match='no weights: give a checkpoint'):
        OneFormerInferencer(QUICKSTART)
    with pytest.raises(ValueError, match='weights .*nowhere.pth do not exist'):
        OneFormerInferencer(QUICKSTART, tmp_path / 'nowhere.pth')
    with pytest.raises(ValueError, match='weights .* are a folder: give the file of a checkpoint'):
        OneFormerInferencer(QUICKSTART, tmp_path)
    with pytest.raises(FileNotFoundError, match='neither a config.*oneformer_swin-l_ade20k'):
        attempt(model='oneformer_swin_ade20k')
    missing = r'missing in the checkpoint \(1\):\n.*level_embed\S*$'  # and no option of training
    with pytest.raises(ValueError, match=f'give the config that it was trained with\n{missing}'):
        attempt(lambda tensors: tensors.pop('panoptic_head.level_embed.weight'))
    with pytest.raises(ValueError, match=r'not in the model \(1\):\n  surplus'):
        attempt(lambda tensors: tensors.update(surplus=torch.zeros(1)))
    with pytest.raises(
        ValueError, match=r'of another shape \(1\):\n.*query_embed.weight: \(2, 64\)'
    ):
        attempt(lambda t: t.update({'panoptic_head.query_embed.weight': torch.zeros(2, 64)}))
    with pytest.raises(ValueError, match=r'of another shape \(1\):\n.*cls_embed.weight: \(5, 64\)'):
        attempt(lambda t: t.update({'panoptic_head.cls_embed.weight': torch.zeros(5, 64)}))
    with pytest.raises(ValueError, match='has 4 classes, but the config 8: give the config'):
        attempt(lambda tensors: tensors.update({'panoptic_head.cls_embed.bias': torch.zeros(5)}))
    with pytest.raises(
        ValueError, match=r'has no sem_seg_head\.predictor\.class_embed\.bias: it is'
    ):
        attempt(
            lambda tensors: tensors.update({'sem_seg_head.predictor.x': torch.zeros(1)})
            or [tensors.pop(key) for key in list(tensors) if key.startswith('panoptic_head')]
        )
    with pytest.raises(ValueError, match='not name its 8 classes.*: give the config'):
        attempt(model=None)
    with pytest.raises(ValueError, match='does not name its things.*give the config'):
        attempt(model=None, dataset_meta=dict(classes=[f'class {k}' for k in range(8)]))
    renamed = dict(classes=[f'class {k}' for k in range(8)], thing_classes=['class 7'])
    assert attempt(dataset_meta=renamed).model.is_thing.tolist() == [False] * 7 + [True]


@pytest.mark.parametrize('device', ['cuda:99', 'gpu', 'meta'])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(device, tmp_path):
    with pytest.raises(ValueError, match=f'device {device} c'):
        OneFormerInferencer(QUICKSTART, tmp_path / 'nowhere.pth', device)


@pytest.mark.parametrize(
    'content, message',
    [
        ('x = 1', 'mine.py has no model'),
        (
            'model = dict(type="RTMDet")',
            'mine.py has a RTMDet without metainfo, which is not a One',
        ),
        ('model = dict(type="OneFormer", metainfo="coco")', 'has no transforms in test_dataloader'),
        (
            'model = dict(metainfo="coco")\n'
            'test_dataloader = dict(dataset=dict(pipeline=[dict(type="Resize")]))',
            'test pipeline of config .*mine.py begins with Resize',
        ),
        ('model = dict(', 'mine.py cannot be read .SyntaxError'),
        ('model = nowhere', 'mine.py cannot be read .NameError'),
    ],
)
def test_a_config_of_no_whole_model_says_what_it_lacks(content, message, weights, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(content)
    with pytest.raises(ValueError, match=message):
        OneFormerInferencer(config, weights, 'cpu')
    with pytest.raises(ValueError, match='the model is a dict: give a Config'):
        OneFormerInferencer({}, weights, 'cpu')


SMALL_SWIN = dict(
    backbone=dict(
        type='SwinTransformer',
        embed_dims=16,
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2, 2),
        window_size=4,
        out_indices=(0, 1, 2, 3),
        _delete_=True,
    ),
    panoptic_head=dict(
        in_channels=[16, 32, 64, 128],
        feat_channels=32,
        num_queries=20,
        pixel_decoder=dict(
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=32),
                    ffn_cfg=dict(embed_dims=32, feedforward_channels=64),
                ),
            ),
            positional_encoding=dict(num_feats=16),
        ),
        task_queries=dict(num_layers=1, feedforward_channels=64),
        transformer_decoder=dict(num_layers=1, feedforward_channels=64),
    ),
    text_mapper=None,
    contrastive_loss=None,
)


def test_weights_alone_give_the_predictions_of_their_config(config_dir, images, tmp_path):
    cfg = Config.fromfile(config_dir / 'oneformer_swin-l_ade20k.py')
    cfg.model.test_cfg.max_per_image = 20
    cfg.merge_from_dict(dict(model=SMALL_SWIN))
    path = tmp_path / 'swin.pth'
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        model.panoptic_head.cls_embed.bias[:-1][model.is_thing] += 1
    meta = dict(dataset_meta=resolve_metainfo('ade20k'))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    predictions = [
        OneFormerInferencer(config, path, 'cpu')(
            images[0], object_mask_thr=0.001, iou_thr=0.0, score_thr=0.0, progress=False
        )[0]
        for config in (cfg, None)
    ]
    assert len(predictions[0].segments) > 0 and len(predictions[0].labels) > 0
    assert_same(*predictions)
    # as a file of a run in several processes, without names and without what is rebuilt
    bare = {
        f'module.{key}': tensor
        for key, tensor in model.state_dict().items()
        if not key.endswith('relative_position_index')
    }
    torch.save(dict(state_dict=bare, meta=None), path)
    unnamed = OneFormerInferencer(weights=path, device='cpu')
    assert unnamed.dataset_meta['classes'] == resolve_metainfo('ade20k')['classes']


@pytest.mark.parametrize(
    'dataset, config',
    [
        ('ade20k', 'oneformer_swin-l_ade20k'),
        ('cityscapes', 'oneformer_swin-l_cityscapes'),
        ('coco', 'oneformer_r50_coco'),
        ('mapillary', 'oneformer_swin-l_mapillary'),
    ],
)
def test_settings_assumed_for_weights_alone_are_those_of_the_configs(dataset, config):
    cfg = Config.fromfile(find_config(config))
    (resize,) = (step for step in cfg.test_pipeline if step.type == 'ResizeShortEdge')
    assert TEST_SETTINGS[dataset] == (
        *resize.short_edges,
        resize.max_size,
        cfg.model.test_cfg.object_mask_thr,
    )
