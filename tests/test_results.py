"""Predictions in other tools' formats: pixels, ids and counts come back, or the loss is said."""

import base64
import io
import json
import sys
import tracemalloc
from types import SimpleNamespace

import cv2
import drawn_objects as drawn
import echo
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from test_your_data import SMALL

from oneformer.inference import OneFormerInferencer, Prediction
from oneformer.panoptic_codes import boxes_of_ids, decode_segments
from oneformer.results.categories import Categories
from oneformer.results.outlines import filled, one_polygon
from oneformer.run_length import encode_crop

NAMES = dict(classes=drawn.CLASSES, thing_classes=drawn.THINGS)
IMAGES = ['a.png', 'cam0/1.png', 'cam1/1.png', '0001.png']


@pytest.fixture(scope='module')
def model(config_dir, tmp_path_factory):
    """A config and weights."""
    folder = tmp_path_factory.mktemp('model')
    config = echo.write_config(config_dir, folder / 'my_panoptic.py', 'panoptic', NAMES)
    return config, echo.save_weights(config, folder / 'weights.pth')


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder of images, in which every model sees the drawn objects."""
    drawn.see(monkeypatch)
    for number, name in enumerate(IMAGES):
        echo.write_image(tmp_path / 'images' / name, echo.noise(drawn.SIZE, number))
    return tmp_path / 'images'


@pytest.fixture
def predict(model, images, run_tool, tmp_path):
    """Run tools/predict.py on all images; returns the folder of results."""

    def run(*options, inputs=images):
        run_tool(
            'predict', inputs, '--model', model[0], '--weights', model[1], '--device', 'cpu',
            '--out-dir', tmp_path / 'out', *options,
        )  # fmt: skip
        return tmp_path / 'out'

    return run


@pytest.fixture
def prediction(model, images):
    """The prediction of one image, by all tasks."""
    (found,) = OneFormerInferencer(*model, 'cpu')(images / 'a.png', progress=False)
    return found


def fill(polygon):
    """The mask of a polygon by COCO's rule."""
    code = mask_utils.frPyObjects([polygon], *drawn.SIZE)
    return mask_utils.decode(code)[..., 0].astype(bool)


def test_a_coco_dataset_has_every_pixel_and_whole_ids_for_pycocotools(predict):
    path = predict('--format', 'coco') / 'coco.json'
    coco, truth = COCO(path), drawn.masks()
    assert [image['file_name'] for image in coco.loadImgs([1, 2, 3, 4])] == sorted(IMAGES)
    assert {c['id']: c['name'] for c in coco.loadCats(coco.getCatIds())} == {0: 'cat', 1: 'dog'}
    assert sorted(coco.anns) == list(range(1, 21))
    for image_id in coco.getImgIds():
        found = coco.loadAnns(coco.getAnnIds(image_id))
        assert [a['category_id'] for a in found] == drawn.LABELS
        assert [a['score'] for a in found] == pytest.approx(drawn.SCORES)
        for annotation, mask in zip(found, truth):
            assert np.array_equal(coco.annToMask(annotation), mask)
            ys, xs = np.nonzero(mask)
            sides = [np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation['bbox'] == [xs.min(), ys.min(), *sides]
            assert annotation['area'] == mask.sum() and annotation['iscrowd'] == 0


def test_results_come_back_through_our_data_sets(predict, images):
    out = predict('--format', 'coco')
    common = dict(metainfo=NAMES, pipeline=[dict(type='LoadPhoto'), dict(type='LoadSegmentMap')])
    instance = DATASETS.build(
        dict(
            type='InstanceDataset', ann_file=str(out / 'coco.json'),
            data_prefix=dict(img=str(images)), **common,
        )
    )  # fmt: skip
    panoptic = DATASETS.build(
        dict(
            type='PanopticDataset', ann_file=str(out / 'panoptic.json'),
            data_prefix=dict(img=str(images), seg=str(out / 'panoptic')), **common,
        )
    )  # fmt: skip
    assert len(instance) == len(panoptic) == 4
    codes = drawn.panoptic_map()
    for sample in panoptic:
        assert len(sample['segments_info']) == len(np.unique(codes)) - 1
        for number, segment in enumerate(sample['segments_info'], 1):
            own = sample['gt_seg_map'] == number
            assert len(np.unique(codes[own])) == 1 and segment['area'] == own.sum()
            assert codes[own][0] % 1000 == segment['label']
    for sample in instance:
        assert [s['label'] for s in sample['segments_info']] == drawn.LABELS
        assert (sample['gt_seg_map'] > 0).sum() == drawn.masks().any(0).sum()


def test_segments_of_panoptic_json_have_boxes_scores_and_crowds(predict):
    out = predict('--tasks', 'panoptic')
    content = json.loads((out / 'panoptic.json').read_text())
    for annotation in content['annotations']:
        png = cv2.imread(str(out / 'panoptic' / annotation['file_name']))[..., ::-1].astype(int)
        ids = png @ [1, 256, 65536]
        for segment in annotation['segments_info']:
            ys, xs = np.nonzero(ids == segment['id'])
            sides = [np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert segment['bbox'] == [xs.min(), ys.min(), *sides]
            assert segment['area'] == len(xs) and segment['iscrowd'] == 0
            code = drawn.panoptic_map()[ys[0], xs[0]]
            scores = [0.5, *drawn.SCORES]
            assert segment['score'] == pytest.approx(scores[code // 1000])


def test_labelme_gets_masks_of_every_pixel_and_finds_the_image(predict, images):
    out = predict('--format', 'labelme')
    for name in IMAGES:
        path = (out / 'labelme' / name).with_suffix('.json')
        content = json.loads(path.read_text())
        assert (path.parent / content['imagePath']).samefile(images / name)
        assert content['imageData'] is None
        assert [content['imageHeight'], content['imageWidth']] == [*drawn.SIZE]
        # as labelme's shapes_to_label reads them
        for shape, truth, label in zip(content['shapes'][::-1], drawn.masks(), drawn.LABELS):
            mask = np.zeros(drawn.SIZE, bool)
            (x1, y1), (x2, y2) = np.asarray(shape['points']).astype(int)
            png = Image.open(io.BytesIO(base64.b64decode(shape['mask'])))
            mask[y1 : y2 + 1, x1 : x2 + 1] = np.array(png).astype(bool)
            assert np.array_equal(mask, truth) and shape['label'] == drawn.CLASSES[label]
            assert shape['shape_type'] == 'mask' and 'score' in shape['description']


@pytest.mark.parametrize('kind', ['array', 'turned', 'deep'])
def test_labelme_gets_the_pixels_where_it_would_show_others(kind, model, images, tmp_path):
    image, options = images / 'a.png', {}
    if kind == 'array':
        image = cv2.imread(str(image))
    elif kind == 'turned':
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.open(image).save(tmp_path / 'turned.jpg', exif=exif)
        image, options = tmp_path / 'turned.jpg', dict(orientation='stored')
    else:
        cv2.imwrite(str(tmp_path / 'deep.png'), np.full(drawn.SIZE, 60000, np.uint16))
        image = tmp_path / 'deep.png'
    out = tmp_path / 'out'
    OneFormerInferencer(*model, 'cpu')(image, out, formats='labelme', progress=False, **options)
    (path,) = out.glob('labelme/*.json')
    data = base64.b64decode(json.loads(path.read_text())['imageData'])
    assert Image.open(io.BytesIO(data)).size == (drawn.WIDTH, drawn.HEIGHT)


def test_a_row_of_yolo_is_one_object_whatever_its_pieces_and_holes(model, images, said, tmp_path):
    out = tmp_path / 'out'
    OneFormerInferencer(*model, 'cpu')(images, out, formats='yolo', progress=False)
    for name in IMAGES:
        text = (out / 'yolo/labels' / name).with_suffix('.txt').read_text().splitlines()
        assert [int(row.split()[0]) for row in text] == drawn.LABELS
        for row, mask in zip(text, drawn.masks()):
            shares = np.array(row.split()[1:], float).reshape(-1, 2)
            assert np.array_equal(fill((shares * drawn.SIZE[::-1]).ravel().tolist()), mask)
    assert '  0: "cat"\n' in (out / 'yolo/data.yaml').read_text()
    (warning,) = [line for line in said() if line.startswith('yolo: ')]
    assert '8 of 20 objects have several pieces or holes' in warning and '%' in warning


@given(st.integers(0, 2**25 - 1))
@settings(max_examples=150, deadline=None)
def test_any_mask_is_one_polygon_by_cocos_rule_and_without_bridges_by_opencvs(bits):
    crop = np.array([bits >> k & 1 for k in range(25)], bool).reshape(5, 5)
    crop[2, 2] = True
    polygon, parts = one_polygon(crop)
    assert len(polygon) >= 3
    code = mask_utils.frPyObjects([polygon.ravel().tolist()], 5, 5)
    assert np.array_equal(mask_utils.decode(code)[..., 0], crop)
    drawn_by_opencv = filled(polygon, crop.shape)
    assert (drawn_by_opencv >= crop).all()
    if parts == 1:
        assert np.array_equal(drawn_by_opencv, crop)


@given(st.integers(0, 2**12 - 1), st.integers(0, 3), st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_the_code_of_a_crop_is_that_of_the_whole_mask(bits, x, y):
    crop = np.array([bits >> k & 1 for k in range(12)], bool).reshape(4, 3)
    whole = np.zeros((8, 6), bool)
    whole[y : y + 4, x : x + 3] = crop
    expected = mask_utils.encode(np.asfortranarray(whole, np.uint8))
    assert encode_crop(crop, x, y, whole.shape) == expected


def user_json(path, entries, categories=('dog', 'cat', 'sky', 'Grass')):
    content = dict(images=entries, annotations=[])
    content['categories'] = [dict(id=7 + k, name=name) for k, name in enumerate(categories)]
    echo.write_json(path, content)
    return path


def listed(**size):
    size = size or dict(height=drawn.HEIGHT, width=drawn.WIDTH)
    return [dict(id=100 + k, file_name=name, **size) for k, name in enumerate(IMAGES)]


def test_ids_and_names_are_those_of_the_users_json(predict, tmp_path):
    out = predict('--format', 'coco', '--ann-file', user_json(tmp_path / 'mine.json', listed()))
    name_of = {100 + k: name for k, name in enumerate(IMAGES)}
    category = {'cat': 8, 'dog': 7, 'sky': 9, 'Grass': 10}
    panoptic, coco = (json.loads((out / f'{k}.json').read_text()) for k in ('panoptic', 'coco'))
    for content in (panoptic, coco):
        assert {i['id']: i['file_name'] for i in content['images']} == name_of
    assert {c['name']: c['id'] for c in panoptic['categories']} == category
    assert {c['name']: c['id'] for c in coco['categories']} == {'cat': 8, 'dog': 7}
    records = json.loads((out / 'instance.json').read_text())
    for entries in (records, coco['annotations']):
        assert {a['image_id'] for a in entries} == set(name_of)
        assert [a['category_id'] for a in entries[:5]] == [[8, 7][k] for k in drawn.LABELS]
    assert {s['category_id'] for s in panoptic['annotations'][0]['segments_info']} == {7, 8, 9, 10}


@pytest.mark.parametrize(
    'entries, categories, message',
    [
        (listed()[1:], drawn.CLASSES, r"does not list 1 of the 4 images: '.*a.png'"),
        (
            [dict(id=1, file_name='1.png'), *listed()[:1], *listed()[3:]],
            drawn.CLASSES,
            'cam0/1.png and .*cam1/1.png both end with 1.png',
        ),
        (listed(), ('cat', 'dog', 'grss', 'sky'), r"for 1 of .*: 'grass' \('grass' looks like"),
        (listed(height=5, width=6), drawn.CLASSES, '64 x 48 pixels, but image id .*width 6'),
        (listed() + [dict(id=1, file_name='a.png')], drawn.CLASSES, 'lists a.png twice'),
        ([dict(id=1)], drawn.CLASSES, 'image id 1 has file_name None'),
        (listed(), (None,), "has the category .*'name': None"),
        ([], drawn.CLASSES, 'lists no image'),
    ],
)
def test_what_the_users_json_does_not_list_is_refused(
    entries, categories, message, predict, tmp_path
):
    path = user_json(tmp_path / 'mine.json', entries, categories)
    with pytest.raises(SystemExit, match=message):
        predict('--ann-file', path)
    assert not list(tmp_path.glob('out/*.json'))


def test_classes_that_are_left_out_need_no_category(predict, tmp_path):
    path = user_json(tmp_path / 'mine.json', listed(), ('dog',))
    out = predict('--ann-file', path, '--classes', 'dog', '--tasks', 'instance')
    assert {r['category_id'] for r in json.loads((out / 'instance.json').read_text())} == {7}


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(formats='csv'), "unknown format 'csv': choose of coco, labelme, yolo"),
        (dict(formats=['coco']), 'give a folder'),
        (dict(ann_file='nowhere.json'), 'nowhere.json, whose ids .* does not exist'),
    ],
)
def test_wrong_options_are_refused_before_anything_is_predicted(options, message, model, images):
    inferencer = OneFormerInferencer(*model, 'cpu')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inferencer.stream(images, **options)


def test_objects_are_segments_or_regions_where_no_instances_were_asked(prediction):
    content = prediction.to_coco('panoptic')
    assert len(content['annotations']) == len(prediction.segments) == 7
    assert {c['name']: c['isthing'] for c in content['categories']}['sky'] == 0
    content = prediction.to_coco('semantic')
    assert [a['category_id'] for a in content['annotations']] == [0, 1, 2, 3]
    assert sum(a['area'] for a in content['annotations']) == drawn.HEIGHT * drawn.WIDTH
    prediction.masks = None
    assert len(prediction.to_labelme()['shapes']) == 7
    with pytest.raises(ValueError, match='no instance: predict with tasks='):
        prediction.to_coco('instance')


def test_supervision_gets_every_pixel_and_reads_our_coco_files(prediction, predict, images):
    supervision = pytest.importorskip('supervision', reason='installed by requirements/tests.txt')
    detections = prediction.to_supervision()
    assert np.array_equal(np.asarray(detections.mask), drawn.masks())
    assert detections.class_id.tolist() == drawn.LABELS
    names = [prediction.names[k] for k in drawn.LABELS]
    assert detections['class_name'].tolist() == names
    assert detections.confidence == pytest.approx(drawn.SCORES)
    assert len(prediction.to_supervision('panoptic')) == 7
    prediction.masks, prediction.labels = prediction.masks[:0], prediction.labels[:0]
    assert len(prediction.to_supervision()) == 0

    coco = predict('--format', 'coco', 'yolo') / 'coco.json'
    dataset = supervision.DetectionDataset.from_coco(str(images), str(coco), force_masks=True)
    assert dataset.classes == ['cat', 'dog'] and len(dataset) == 4
    for _, _, found in dataset:
        assert np.array_equal(np.asarray(found.mask), drawn.masks())


def test_fiftyone_gets_every_pixel(prediction, monkeypatch):
    def label(**fields):
        return SimpleNamespace(**fields)

    monkeypatch.setitem(
        sys.modules,
        'fiftyone',
        SimpleNamespace(Detection=label, Detections=label, Segmentation=label),
    )
    fields = prediction.to_fiftyone()
    assert set(fields) == {'panoptic', 'instance', 'semantic'}
    found = fields['instance'].detections
    assert [d.label for d in found] == [drawn.CLASSES[k] for k in drawn.LABELS]
    for detection, truth in zip(found, drawn.masks()):
        for whole in (round, int):  # fractions lead back to the very pixels
            x, y, w, h = (
                whole(share * side)
                for share, side in zip(detection.bounding_box, drawn.SIZE[::-1] * 2)
            )
            mask = np.zeros(drawn.SIZE, bool)
            mask[y : y + h, x : x + w] = detection.mask
            assert np.array_equal(mask, truth)
    assert np.array_equal(fields['semantic'].mask, prediction.semantic_map + 1)


@pytest.mark.parametrize('package', ['supervision', 'fiftyone'])
def test_without_a_package_the_error_says_how_to_get_it(package, prediction, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f'pip install {package}'):
        getattr(prediction, f'to_{package}')()


def commands(page, language):
    """The blocks of code of a page, in a language."""
    parts = page.split(f'```{language}\n')[1:]
    return [part.split('```')[0] for part in parts]


def test_every_command_of_the_page_runs(
    root_dir, model, images, tmp_path, run_command, monkeypatch
):
    page = (root_dir / 'docs/results.md').read_text()
    for path in model:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    user_json(tmp_path / 'my_labels.json', listed())
    made = []
    for line in ''.join(commands(page, 'bash')).replace('\\\n', ' ').splitlines():
        program, command, *arguments = line.split()
        assert (program, command) == ('oneformer', 'predict')
        run_command('predict', *arguments)
        made.append(arguments)
    assert len(made) >= 4
    pytest.importorskip('supervision', reason='installed by requirements/tests.txt')
    monkeypatch.chdir(tmp_path)
    for block in commands(page, 'python'):
        exec(block, {})  # it asserts nothing, but has to run


def test_the_loop_of_correction_runs_once(config_dir, predict, run_tool, tmp_path):
    """Predict, correct, read, train: an object deleted and one given another class."""
    out = predict('--format', 'coco', 'labelme')
    shapes = json.loads((out / 'labelme/a.json').read_text())
    shapes['shapes'].pop()
    (out / 'labelme/a.json').write_text(json.dumps(shapes))
    imported = tmp_path / 'imported'
    printed = run_tool('convert_labels', 'labelme', out / 'labelme', imported, '--workers', 1)
    assert 'nothing is wrong' in printed
    parts = [COCO(str(imported / f'{split}.json')) for split in ('train', 'val')]
    predicted = json.loads((out / 'coco.json').read_text())['annotations']
    assert sum(len(part.anns) for part in parts) == len(predicted) - 1
    content = json.loads((out / 'coco.json').read_text())
    removed = content['annotations'].pop(0)
    content['annotations'][0]['category_id'] = 0
    images = tmp_path / 'data/mine'
    for split in ('train', 'val'):
        echo.write_json(images / f'{split}.json', content)
        (images / split).symlink_to(tmp_path / 'images')
    names = dict(classes=drawn.THINGS, thing_classes=drawn.THINGS)
    config = echo.write_config(config_dir, tmp_path / 'corrected.py', 'instance', names)
    dataset = DATASETS.build(
        dict(
            type='InstanceDataset', metainfo=names, pipeline=[],
            ann_file=str(images / 'train.json'), data_prefix=dict(img=str(images / 'train')),
        )
    )  # fmt: skip
    first = next(d for d in map(dataset.get_data_info, range(4)) if d['img_id'] == 1)
    assert [s['label'] for s in first['segments_info']] == [0, *drawn.LABELS[2:]]
    assert removed['id'] not in {s['id'] for s in first['segments_info']}
    run_tool('train', config, '--cfg-options', *SMALL)
    assert (tmp_path / 'work_dirs/my_instance/iter_2.pth').exists()


def test_hundreds_of_objects_of_a_large_image_take_little_memory():
    pytest.importorskip('supervision', reason='installed by requirements/tests.txt')
    rng = np.random.default_rng(0)
    codes = np.full((3000, 4000), 4, np.int32)
    for number in range(1, 301):
        y, x = rng.integers(0, 2800), rng.integers(0, 3800)
        codes[y : y + 200, x : x + 200] = 1000 * number
    id_map, segments = decode_segments(codes, 4)
    boxes = boxes_of_ids(id_map, [segment['id'] for segment in segments])
    meta = dict(NAMES, category_ids=range(4))
    prediction = Prediction(
        'large', None, id_map, [{**s, 'bbox': box, 'score': 0.9} for s, box in zip(segments, boxes)]
    )
    prediction.categories = Categories.of(meta)
    exports = prediction.to_coco, prediction.to_labelme, prediction.to_supervision
    for export in exports:
        tracemalloc.start()
        export()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50e6  # 300 dense masks take 3.6 GB
