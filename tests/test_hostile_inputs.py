"""Hostile inputs: each row of the table in docs/robustness.md happens as it says there.

A case is a function of a ``Place`` with the name of its row. It goes through a dataset, a tool or
the inferencer. If the last cell of the row ends in a text in backticks, the error has to contain
it; else nothing may be raised. In no case is a file outside of the case's folder changed.
"""

import gzip
import json
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import miniatures
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer.host import unpickling
from oneformer.inference import OneFormerInferencer

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / 'configs/oneformer_efficientnet-lite0_quickstart.py'
METAINFO = dict(classes=('sky', 'cat', 'grass', 'dog'), thing_classes=('cat', 'dog'))
HEIGHT, WIDTH = 40, 60
STEPS = [
    dict(type=kind) for kind in ('LoadPhoto', 'LoadSegmentMap', 'SampleTask', 'PackSegmentInputs')
]
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def image(height=HEIGHT, width=WIDTH):
    """Noise, BGR."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def png_claiming(width, height, bits=8, colour=2):
    """A PNG of a few bytes whose header states a size."""

    def chunk(name, data):
        checksum = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + checksum

    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    chunks = chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def jpeg_claiming(width, height):
    """A small JPEG whose header states another size."""
    data = bytearray(cv2.imencode('.jpg', image())[1].tobytes())
    start = data.index(b'\xff\xc0')
    data[start + 5 : start + 9] = struct.pack('>HH', height, width)
    return bytes(data)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, 'code was run')


class Place:
    """What a case works with, all in one folder.

    Attributes:
        folder: Of the case; results belong into ``out`` below it.
        run: Runs a tool in this process.
        weights: A checkpoint of random weights of the quick start.
        data: A small dataset of the quick start.
    """

    def __init__(self, folder, run, weights, data):
        self.folder, self.run, self.weights, self.data = folder, run, weights, data
        self.out = folder / 'out'
        for name in ('img', 'seg'):
            (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / 'img/a.png'), image())
        ids = np.full((HEIGHT, WIDTH, 3), (0, 0, 5), np.uint8)
        ids[:9, :9] = (0, 0, 9)
        cv2.imwrite(str(folder / 'seg/a.png'), ids)
        segments = [dict(id=5, category_id=1, iscrowd=0), dict(id=9, category_id=2, iscrowd=0)]
        self.content = dict(
            images=[dict(id=1, file_name='a.png', height=HEIGHT, width=WIDTH)],
            annotations=[dict(image_id=1, file_name='a.png', segments_info=segments)],
            categories=[dict(id=1, name='sky', isthing=0), dict(id=2, name='cat', isthing=1)],
        )
        self.segments = segments

    def write(self, content=None):
        content = self.content if content is None else content
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        (self.folder / 'a.json').write_bytes(content)

    def load(self, type='PanopticDataset', **kwargs):
        """The first sample of the set, as training gets it."""
        if type != 'SemanticDataset' and not (self.folder / 'a.json').exists():
            self.write()
        config = dict(
            type=type,
            metainfo=METAINFO,
            data_root=str(self.folder),
            data_prefix=dict(img='img', seg='seg'),
            pipeline=STEPS,
        )
        if type != 'SemanticDataset':
            config['ann_file'] = 'a.json'
        return DATASETS.build({**config, **kwargs})[0]

    def load_instance(self, segmentation, **kwargs):
        """The sample of a set in COCO instance format with one cat."""
        annotation = dict(id=7, image_id=1, category_id=2, iscrowd=0, segmentation=segmentation)
        self.content['annotations'] = [dict(annotation, **kwargs)]
        self.content['categories'] = self.content['categories'][1:]
        self.write()
        return self.load('InstanceDataset')

    def load_labels(self, values, suffix='.png'):
        """The sample of a set with a label picture; ``values`` is its array or its bytes."""
        path = self.folder / f'seg/a{suffix}'
        (self.folder / 'seg/a.png').unlink()
        if isinstance(values, bytes):
            path.write_bytes(values)
        else:
            Image.fromarray(values).save(path)
        return self.load('SemanticDataset', img_suffix='.png', seg_map_suffix=suffix)

    def train(self, *options, arguments=()):
        """Train the quick start for one step."""
        loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
        roots = [f'{loader}.dataset.data_root={self.data}/' for loader in loaders]
        few = ['model.backbone.pretrained=False', 'train_cfg.max_iters=1', *roots]
        few.append('train_dataloader.batch_size=2')
        where = ['--work-dir', self.out, *arguments]
        self.run('train', QUICKSTART, *where, '--cfg-options', *few, *options)

    def predict(self, *arguments, weights=None):
        """Predict the images of the folder."""
        names = ['--model', QUICKSTART, '--weights', weights or self.weights]
        arguments = arguments or (self.folder / 'img',)
        self.run('predict', *arguments, *names, '--out-dir', self.out, '--device', 'cpu')

    def evil(self):
        path = self.folder / 'evil.pth'
        torch.save(dict(state_dict=dict(), extra=Evil(self.folder.parent / 'code_was_run')), path)
        return path

    def changed_weights(self, change):
        content = torch.load(self.weights)
        change(content['state_dict'])
        torch.save(content, self.folder / 'changed.pth')
        return self.folder / 'changed.pth'


# names of files


def raise_finding(place, dataset):
    """Check a set by the tool, and raise the one error that it finds."""
    config, report = place.folder / 'config.py', place.folder / 'report.json'
    config.write_text(f'train_dataloader = dict(dataset={dataset!r})')
    with pytest.raises(SystemExit) as end:
        place.run('check_dataset', config, '--workers', 1, '--out-json', report)
    assert end.value.code == 1
    (finding,) = json.loads(report.read_text())['train']['findings']
    raise ValueError(finding['message'])


@case
def image_name_with_dots(place):
    place.content['images'][0]['file_name'] = '../../secret.png'
    place.load()


@case
def image_name_with_backslashes(place):
    place.content['images'][0]['file_name'] = '..\\..\\secret.png'
    place.load()


@case
def png_name_absolute(place):
    place.content['annotations'][0]['file_name'] = str(place.folder.parent / 'secret.png')
    place.load()


@case
def image_name_with_nul(place):
    place.content['images'][0]['file_name'] = 'a.png\0.jpg'
    place.load()


@case
def image_name_with_newline(place):
    place.content['images'][0]['file_name'] = 'a.png\nINFO all is well'
    place.load()


@case
def image_name_of_a_server(place):
    place.content['images'][0]['file_name'] = 'http://localhost:9/a.png'
    place.load()


@case
def image_name_of_5000_letters(place):
    place.content['images'][0]['file_name'] = 5000 * 'a' + '.png'
    place.load()


@case
def image_id_as_path_in_cityscapes(place):
    place.content['images'][0]['id'] = '../../secret_0'
    place.content['annotations'][0]['image_id'] = '../../secret_0'
    place.load('CityscapesPanopticDataset')


@case
def list_of_images_with_dots(place):
    (place.folder / 'list.txt').write_text('../../secret\n')
    place.load('SemanticDataset', ann_file='list.txt', img_suffix='.png')


@case
def list_of_images_is_a_picture(place):
    place.load('SemanticDataset', ann_file='img/a.png', img_suffix='.png')


@case
def image_is_a_link_elsewhere(place):
    (place.folder / 'img/a.png').unlink()
    (place.folder / 'img/a.png').symlink_to(place.folder.parent / 'secret.png')
    assert place.load()['inputs'].shape == (3, HEIGHT, WIDTH)


@case
def glob_that_leaves_its_folder(place):
    place.predict(f'{place.folder}/im*/../../secret.png')


@case
def prediction_of_a_name_of_250_letters(place):
    (place.folder / 'img/a.png').rename(place.folder / f'img/{"a" * 246}.png')
    place.predict()
    assert (place.out / f'panoptic/{"a" * 246}.png').stat().st_size


@case
def coco_png_name_with_dots(place):
    root = place.folder / 'coco'
    miniatures.write_coco(root)
    path = root / 'annotations/panoptic_val2017.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['file_name'] = '../../../../secret.png'
    path.write_text(json.dumps(content))
    place.run('prepare_dataset', 'coco', '--data-root', root, '--workers', 1, '--splits', 'val')


@case
def coco_segment_without_a_flag(place):
    root = place.folder / 'coco'
    miniatures.write_coco(root)
    path = root / 'annotations/panoptic_val2017.json'
    content = json.loads(path.read_text())
    del content['annotations'][0]['segments_info'][0]['iscrowd']
    path.write_text(json.dumps(content))
    place.run('prepare_dataset', 'coco', '--data-root', root, '--workers', 1, '--splits', 'val')


def archived_coco(place, rename=lambda name: name, content=None):
    """COCO whose PNGs are still in the archive."""
    root = place.folder / 'coco'
    miniatures.write_coco(root)
    folder = root / 'annotations/panoptic_val2017'
    with zipfile.ZipFile(f'{folder}.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.writestr(rename(f'{folder.name}/{path.name}'), content or path.read_bytes())
            path.unlink()
    folder.rmdir()
    place.run('prepare_dataset', 'coco', '--data-root', root, '--workers', 1, '--splits', 'val')


@case
def archive_with_paths_outside(place):
    archived_coco(place, lambda name: name.replace('/', '/../../../../'))


@case
def archive_that_is_a_bomb(place):
    os.environ['ONEFORMER_MAX_PIXELS'] = '20000'
    archived_coco(place, content=bytes(100000))


# JSON


@case
def json_is_empty(place):
    place.write(b'')
    place.load()


@case
def json_is_truncated(place):
    place.write(json.dumps(place.content).encode()[:-40])
    place.load()


@case
def json_is_a_list(place):
    place.write([place.content])
    place.load()


@case
def json_is_not_utf8(place):
    place.write(json.dumps(place.content).encode().replace(b'sky', b'sk\xff'))
    place.load()


@case
def json_of_100000_brackets(place):
    place.write(b'[' * 100000)
    place.load()


@case
def json_is_gzipped(place):
    place.write(gzip.compress(json.dumps(place.content).encode()))
    place.load()


@case
def json_is_a_folder(place):
    (place.folder / 'a.json').mkdir()
    place.load()


@case
def json_is_a_pickle(place):
    place.evil().rename(place.folder / 'a.pkl')
    place.load(ann_file='a.pkl')


@case
def images_is_a_dict(place):
    place.content['images'] = {'1': place.content['images'][0]}
    place.load()


@case
def annotation_is_a_number(place):
    place.content['annotations'].append(5)
    place.load()


@case
def segments_info_is_nested(place):
    place.segments.append([[]])
    place.load()


# ids and values


@case
def segment_id_is_true(place):
    place.segments.append(dict(id=True, category_id=1))
    place.load()


@case
def segment_id_is_a_text(place):
    place.segments[0]['id'] = '5'
    assert place.load()['data_samples'].gt_instances.labels.tolist() in ([0, 1], [1])


@case
def segment_id_is_a_word(place):
    place.segments[0]['id'] = 'five'
    place.load()


@case
def segment_id_above_24_bits(place):
    place.segments[0]['id'] = 1 << 24
    place.load()


@case
def segment_id_is_negative(place):
    place.segments[0]['id'] = -5
    place.load()


@case
def segment_id_twice(place):
    place.segments.append(dict(place.segments[0]))
    place.load()


@case
def category_id_is_a_float(place):
    place.segments[0]['category_id'] = 1.0
    assert place.load()['data_samples'].gt_instances.labels.tolist() in ([0, 1], [1])


@case
def category_id_is_a_fraction(place):
    place.segments[0]['category_id'] = 1.5
    place.load()


@case
def category_name_is_a_number(place):
    place.content['categories'][0]['name'] = 5
    place.load()


@case
def image_id_is_a_list(place):
    place.content['images'][0]['id'] = [1]
    place.load()


@case
def crowd_is_a_text(place):
    place.segments[0]['iscrowd'] = '0'
    assert place.load()['data_samples'].gt_instances.labels.tolist() in ([0, 1], [1])


@case
def crowd_is_a_word(place):
    place.segments[0]['iscrowd'] = 'no'
    place.load()


@case
def area_is_nan(place):
    place.segments[0]['area'] = float('nan')
    place.load()


@case
def image_of_40000_segments(place):
    place.segments += [dict(id=100 + k, category_id=1) for k in range(40000)]
    place.load()


@case
def json_size_is_absurd(place):
    place.content['images'][0].update(height=100000, width=100000)
    place.load_instance([[0, 0, 9, 0, 9, 9]])


@case
def json_size_is_negative(place):
    place.content['images'][0].update(height=-HEIGHT)
    place.load()


@case
def json_size_is_of_another_image(place):
    place.content['images'][0].update(height=WIDTH, width=HEIGHT)
    place.load_instance([[0, 0, 9, 0, 9, 9]])


@case
def check_of_a_json_size_of_another_image(place):
    place.content['images'][0].update(height=16000, width=16000)
    annotation = dict(image_id=1, category_id=2, segmentation=[[0, 0, 9, 0, 9, 9]])
    place.content['annotations'] = [dict(annotation, id=k) for k in range(500)]
    place.content['categories'] = place.content['categories'][1:]
    place.write()
    dataset = dict(type='InstanceDataset', metainfo=METAINFO, data_root=str(place.folder))
    dataset |= dict(ann_file='a.json', data_prefix=dict(img='img'))
    raise_finding(place, dataset)


@case
def polygon_of_nan(place):
    place.load_instance([[float('nan')] * 6])


@case
def polygon_out_of_this_world(place):
    place.load_instance([[0, 0, 1e9, 0, 1e9, 1e9]])


@case
def run_length_code_of_absurd_size(place):
    place.load_instance(dict(size=[100000, 100000], counts=[10**10]))


@case
def run_length_code_of_negative_counts(place):
    place.load_instance(dict(size=[HEIGHT, WIDTH], counts=[-9, HEIGHT * WIDTH + 9]))


@case
def run_length_code_that_ends_early(place):
    code = mask_utils.encode(np.ones((20, 20), np.uint8, order='F'))
    place.load_instance(dict(size=[HEIGHT, WIDTH], counts=code['counts'].decode()))


@case
def run_length_code_of_other_letters(place):
    place.load_instance(dict(size=[HEIGHT, WIDTH], counts='~~ä~~'))


# pictures


@case
def png_that_says_100000_x_100000(place):
    (place.folder / 'img/a.png').write_bytes(png_claiming(100000, 100000))
    place.load()


@case
def jpeg_that_says_65000_x_65000(place):
    (place.folder / 'img/a.png').write_bytes(jpeg_claiming(65000, 65000))
    place.load()


@case
def label_png_that_says_100000_x_100000(place):
    place.load_labels(png_claiming(100000, 100000, colour=0))


@case
def prediction_of_a_png_that_says_100000_x_100000(place):
    (place.folder / 'img/a.png').write_bytes(png_claiming(100000, 100000))
    place.predict()


@case
def size_limit_that_is_not_a_number(place):
    os.environ['ONEFORMER_MAX_PIXELS'] = 'many'
    place.load()


@case
def size_limit_that_is_lowered_and_raised(place):
    os.environ['ONEFORMER_MAX_PIXELS'] = str(HEIGHT * WIDTH - 1)
    with pytest.raises(ValueError, match='ONEFORMER_MAX_PIXELS'):
        place.load()
    os.environ['ONEFORMER_MAX_PIXELS'] = str(HEIGHT * WIDTH)
    place.load()


@case
def image_of_zero_bytes(place):
    (place.folder / 'img/a.png').write_bytes(b'')
    place.load()


@case
def image_is_gzipped(place):
    path = place.folder / 'img/a.png'
    path.write_bytes(gzip.compress(path.read_bytes()))
    place.load()


@case
def image_is_a_folder(place):
    (place.folder / 'img/a.png').unlink()
    (place.folder / 'img/a.png').mkdir()
    place.load()


@case
def image_cannot_be_read(place):
    (place.folder / 'img/a.png').unlink()
    (place.folder / 'img/a.png').symlink_to('/proc/self/mem')
    place.load()


@case
def panoptic_png_of_16_bits(place):
    ids = np.full((HEIGHT, WIDTH, 3), (0, 0, 5), np.uint16)
    cv2.imwrite(str(place.folder / 'seg/a.png'), ids)
    place.load()


@case
def panoptic_png_in_grey(place):
    cv2.imwrite(str(place.folder / 'seg/a.png'), np.full((HEIGHT, WIDTH), 5, np.uint8))
    place.load()


@case
def panoptic_png_with_a_palette(place):
    path = place.folder / 'seg/a.png'
    picture = Image.open(path)
    picture.quantize(4).save(path)
    assert Image.open(path).mode == 'P'
    assert sorted(place.load()['data_samples'].gt_target_map.sem_seg.unique().tolist()) in (
        [1, 2],
        [0, 1],  # of the instance task
    )


@case
def label_png_in_colour(place):
    place.load_labels(image())


@case
def label_picture_in_jpeg(place):
    place.load_labels(cv2.imencode('.jpg', image()[..., 0])[1].tobytes())


@case
def panoptic_png_in_jpeg(place):
    ids = np.full((HEIGHT, WIDTH, 3), (0, 0, 5), np.uint8)
    (place.folder / 'seg/a.png').write_bytes(cv2.imencode('.jpg', ids)[1].tobytes())
    place.load()


@case
def panoptic_png_with_blue_first(place):
    path = place.folder / 'seg/a.png'
    cv2.imwrite(str(path), cv2.imread(str(path))[..., ::-1])
    place.load()


@case
def label_png_of_0_and_255(place):
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[9:] = 255
    cv2.imwrite(str(place.folder / 'seg/a.png'), values)
    dataset = dict(type='SemanticDataset', metainfo=METAINFO, data_root=str(place.folder))
    dataset |= dict(data_prefix=dict(img='img', seg='seg'))
    raise_finding(place, dataset)


@case
def label_picture_of_floats(place):
    place.load_labels(np.full((HEIGHT, WIDTH), 0.5, np.float32), '.tif')


@case
def label_picture_of_32_bits(place):
    place.load_labels(np.full((HEIGHT, WIDTH), -5, np.int32), '.tif')


@case
def label_that_is_not_a_class(place):
    place.load_labels(np.full((HEIGHT, WIDTH), 200, np.uint8))


@case
def images_of_odd_kinds(place):
    deep = cv2.imencode('.png', image().astype(np.uint16) * 257)[1].tobytes()
    (place.folder / 'img/deep.png').write_bytes(deep)
    Image.fromarray(image()).convert('CMYK').save(place.folder / 'img/cmyk.jpg')
    Image.fromarray(image()).quantize(16).save(place.folder / 'img/palette.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image()).save(place.folder / 'img/turned.jpg', exif=exif)
    cv2.imwrite(str(place.folder / 'img/point.png'), image(1, 1))
    cv2.imwrite(str(place.folder / 'img/line.png'), image(1, 700))
    place.predict(place.folder / 'img', '--tasks', 'semantic')
    sizes = {path.stem: Image.open(path).size[::-1] for path in place.out.glob('semantic/*.png')}
    usual = dict.fromkeys(('a', 'deep', 'cmyk', 'palette'), (HEIGHT, WIDTH))
    assert sizes == dict(usual, turned=(WIDTH, HEIGHT), point=(1, 1), line=(1, 700))


@case
def image_of_1_x_700_in_training(place):
    shape = (1, 700)
    cv2.imwrite(str(place.folder / 'img/a.png'), image(*shape))
    cv2.imwrite(str(place.folder / 'seg/a.png'), np.full((*shape, 3), (0, 0, 5), np.uint8))
    place.content['images'][0].update(height=1, width=700)
    place.segments.pop()
    pipeline = Config.fromfile(QUICKSTART).train_pipeline
    assert place.load(pipeline=pipeline)['inputs'].shape == (3, 160, 160)


# checkpoints


@case
def pickle_as_load_from(place):
    place.train(f'load_from={place.evil()}')


@case
def pickle_as_resume(place):
    place.train(arguments=['--resume', place.evil()])


@case
def pickle_as_backbone(place):
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(place.evil()))
    MODELS.build(dict(type='ResNet', depth=18, init_cfg=init_cfg)).init_weights()


@case
def pickle_as_weights_of_the_inferencer(place):
    OneFormerInferencer(QUICKSTART, place.evil(), 'cpu')


@case
def pickle_to_convert(place):
    place.run('convert_checkpoint', place.evil(), place.out / 'a.pth')


@case
def index_of_weights_in_another_folder(place):
    (place.folder / 'config.json').write_text('{}')
    index = dict(weight_map=dict(weight='../../secret.bin'))
    (place.folder / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
    place.run('convert_checkpoint', place.folder, place.out / 'a.pth')


@case
def weights_that_are_nan(place):
    def change(state):
        state['panoptic_head.cls_embed.weight'][0, 0] = float('nan')

    place.predict(weights=place.changed_weights(change))


@case
def weights_that_are_nan_as_load_from(place):
    def change(state):
        state['panoptic_head.cls_embed.weight'][0, 0] = float('nan')

    place.train(f'load_from={place.changed_weights(change)}')


@case
def weights_of_a_trillion_numbers(place):
    def change(state):
        state['panoptic_head.cls_embed.weight'] = torch.zeros(1).expand(10**6, 10**6)

    place.predict(weights=place.changed_weights(change))


@case
def weights_of_another_shape(place):
    def change(state):
        state['panoptic_head.query_embed.weight'] = torch.zeros(7, 64)

    place.predict(weights=place.changed_weights(change))


def held(place, **changes):
    """A model of weights that hold a config: the quick start's with changes, then a text."""
    cfg = Config.fromfile(QUICKSTART, format_python_code=False)
    added = changes.pop('added', '')
    cfg.merge_from_dict(changes)
    checkpoint = torch.load(place.weights)
    checkpoint['meta']['cfg'] = f'{cfg.pretty_text}\n{added}\n'
    torch.save(checkpoint, place.folder / 'held.pth')
    return OneFormerInferencer(None, place.folder / 'held.pth', 'cpu')


@case
def config_in_weights_that_runs_code(place):
    held(place, added=f'model = open({str(place.folder.parent / "code_was_run")!r}, "w")')


@case
def config_in_weights_that_imports(place):
    held(place, added='import antigravity')


@case
def config_in_weights_of_another_class(place):
    command = f'touch {place.folder.parent / "code_was_run"}'
    held(place, **{'model.backbone': dict(_delete_=True, type='os.system', command=command)})


@case
def config_in_weights_that_names_modules_and_files(place):
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(place.evil()), trust_pickle=True)
    changes = {'model.backbone.init_cfg': init_cfg, 'custom_imports.imports': ['antigravity']}
    (prediction,) = held(place, **changes)(place.folder / 'img/a.png', progress=False)
    assert prediction.semantic_map.shape == (HEIGHT, WIDTH)


@case
def weights_that_are_a_text(place):
    (place.folder / 'text.pth').write_text('no weights')
    place.predict(weights=place.folder / 'text.pth')


# configs and folders


@case
def config_that_does_not_exist(place):
    place.run('train', place.folder / 'nothing.py')


@case
def model_name_that_does_not_exist(place):
    arguments = '--model', 'oneformer_swin-xxl', '--weights', place.weights
    place.run('predict', place.folder / 'img', *arguments, '--out-dir', place.out)


@case
def batches_of_no_image(place):
    place.train('train_dataloader.batch_size=0')


@case
def queries_less_than_none(place):
    model = Config.fromfile(QUICKSTART).model
    model.panoptic_head.num_queries = -5
    MODELS.build(model)


@case
def points_less_than_none(place):
    MODELS.build(dict(type='SetCriterion', num_classes=3, num_points=-5))


@case
def class_named_twice(place):
    place.load(metainfo=dict(classes=('sky', 'cat', 'cat'), thing_classes=('cat',)))


@case
def class_named_twice_but_for_a_blank(place):
    place.load(metainfo=dict(classes=('sky', 'cat', 'cat '), thing_classes=('cat',)))


@case
def classes_without_things(place):
    names = dict(classes=('sky', 'cat'), thing_classes=())
    for category in place.content['categories']:
        category['isthing'] = 0
    assert place.load(metainfo=names)['data_samples'].gt_target_map.sem_seg.max() <= 2


@case
def thousand_classes_in_a_panoptic_prediction(place):
    model = Config.fromfile(QUICKSTART).model
    names = [f'class {k}' for k in range(1000)]
    model.metainfo = dict(classes=names, thing_classes=names)
    MODELS.build(model)


@case
def results_into_a_file(place):
    place.out.write_text('precious')
    try:
        place.predict()
    finally:
        assert place.out.read_text() == 'precious'


@case
def report_into_a_folder(place):
    (place.folder / 'report').mkdir()
    place.write()
    config = place.folder / 'config.py'
    dataset = dict(type='PanopticDataset', metainfo=METAINFO, data_root=str(place.folder))
    dataset |= dict(ann_file='a.json', data_prefix=dict(img='img', seg='seg'))
    config.write_text(f'train_dataloader = dict(dataset={dataset!r})')
    place.run('check_dataset', config, '--workers', 1, '--out-json', place.folder / 'report')


@case
def work_folder_is_a_file(place):
    place.out.write_text('precious')
    place.train()


def table():
    """The rows of the documentation: name to what happens."""
    text = (ROOT / 'docs/robustness.md').read_text()
    rows = [line.strip('|').split(' | ') for line in text.splitlines() if line.startswith('| `')]
    return {row[0].strip(' `'): row[-1].strip() for row in rows}


def test_the_documentation_lists_each_case_once():
    text = (ROOT / 'docs/robustness.md').read_text()
    assert re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE) == list(CASES)
    assert len(CASES) >= 25


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(QUICKSTART).model)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


def tree(root, without):
    """Content of all files below a folder but those below another."""
    return {
        str(path): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file() and without not in path.parents
    }


@pytest.mark.parametrize('name', CASES)
def test_hostile_input(name, run_tool, weights, tiny_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('ONEFORMER_MAX_PIXELS', str(1 << 28))  # cases may change it
    cv2.imwrite(str(tmp_path / 'secret.png'), image())
    place = Place(tmp_path / 'case', run_tool, weights, tiny_set)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path, place.folder)
    quoted = re.search(r'`([^`]+)`$', table()[name])
    if quoted is None:
        CASES[name](place)
    else:
        with pytest.raises((ValueError, OSError, SystemExit)) as error:
            CASES[name](place)
        assert not isinstance(error.value, UnicodeError)  # which names no file
        # what is wrong with an argument is printed, and the exit code is 2
        assert quoted[1] in f'{error.value}\n{capsys.readouterr().err}'
    assert tree(tmp_path, place.folder) == before


@pytest.mark.parametrize('name', [n for n in CASES if n.startswith('pickle')])
def test_checkpoints_are_as_harmless_where_torch_is_older(
    name, run_tool, weights, tiny_set, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(unpickling, 'TORCH_TAKES_NAMES', False)
    test_hostile_input(name, run_tool, weights, tiny_set, tmp_path, monkeypatch, capsys)
