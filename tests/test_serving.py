"""``oneformer serve``: answers are the model's, and whatever else comes ends in a clear error."""

import argparse
import gzip
import io
import json
import logging
import re
import shlex
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import oneformer_cli
import pytest
import torch
from doc_commands import ROOT, python_blocks
from onnx_graphs import Linear, write_folder
from PIL import Image
from pycocotools import mask as mask_utils
from served import (
    Gate,
    decoded_runs,
    encoded,
    error_of,
    everything,
    png,
    post,
    process,
    serving,
    text_of_png,
    until,
)

from oneformer.tasks import TASKS
from oneformer_runtime import OnnxOneFormer
from oneformer_runtime.description import ImageSettings, ModelDescription, Thresholds
from oneformer_runtime.serving import OnnxPredictor, Settings
from oneformer_runtime.serving import __main__ as serving_command
from oneformer_runtime.serving.arguments import add_arguments

SERVED = Path(__file__).with_name('served.py')
CLASSES = ('sky', 'grass', 'car', 'Ampelmännchen', 'person', 'road')
BASE = 'http://127.0.0.1:8000'  # of the page in the docs
ALL = '?tasks=panoptic,instance,semantic'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    described = ModelDescription(
        classes=CLASSES,
        thing_classes=('car', 'Ampelmännchen', 'person'),
        image=ImageSettings(64, 128, 32, (0, 0, 0)),
        thresholds=Thresholds(0.2, 0.1, 20),
        palette=tuple((k, 2 * k, 3 * k) for k in range(len(CLASSES))),
        name='linear',
    )
    linear = Linear.random(len(CLASSES), 14, seed=3)
    return write_folder(tmp_path_factory.mktemp('exported'), described, linear)


@pytest.fixture(scope='module')
def model(folder):
    return OnnxOneFormer(folder)


@pytest.fixture(scope='module')
def running(folder):
    with process('-m', 'oneformer_runtime.serving', folder, '--queue', '32') as both:
        yield both


@pytest.fixture(scope='module')
def client(running, folder):
    running[1].folder = folder
    return running[1]


@pytest.fixture(scope='module')
def gate():
    """A server whose model always gives leave."""
    with serving(Gate(), body_timeout=2, max_bytes=1 << 20) as client:
        yield client


def draw_image(seed, size=(6, 9)):
    coarse = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.resize(coarse, None, fx=13, fy=13, interpolation=cv2.INTER_LINEAR)


def check_equal(found, expected, classes=CLASSES):
    """An answer in JSON is a prediction; masks are decoded by pycocotools."""
    height, width = expected.size
    assert (found['height'], found['width']) == (height, width)
    assert found['classes'] == list(expected.names)
    if expected.panoptic_map is not None:
        panoptic = found['panoptic']
        assert panoptic['segments'] == expected.segments
        ids = decoded_runs(panoptic['runs'], height, width)
        np.testing.assert_array_equal(ids, expected.panoptic_map)
    if expected.semantic_map is not None:
        labels = decoded_runs(found['semantic']['runs'], height, width)
        np.testing.assert_array_equal(labels, expected.semantic_map)
    if expected.masks is not None:
        instances = found['instance']['instances']
        assert [i['label'] for i in instances] == expected.labels.tolist()
        assert [i['score'] for i in instances] == expected.scores.tolist()
        assert [i['category'] for i in instances] == [classes[k] for k in expected.labels]
        for instance, mask, box in zip(instances, expected.masks, expected.boxes):
            code = mask_utils.frPyObjects(instance['mask'], height, width)
            np.testing.assert_array_equal(mask_utils.decode(code), mask)
            assert mask_utils.encode(np.asfortranarray(mask, np.uint8)) == code
            assert instance['area'] == mask.sum()
            x, y, w, h = instance['bbox']
            assert [x, y, x + w, y + h] == box.tolist()


# answers


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp'])
def test_answers_are_those_of_the_model(client, model, tmp_path, suffix):
    path = tmp_path / f'image{suffix}'
    path.write_bytes(encoded(draw_image(1), suffix))
    status, found = client.predict(path.read_bytes(), ALL)
    (expected,) = model(path)
    assert status == 200 and found['tasks'] == ['panoptic', 'instance', 'semantic']
    assert len(expected.segments) > 1 and len(expected.masks) > 1
    check_equal(found, expected)
    assert found['palette'] == [[k, 2 * k, 3 * k] for k in range(len(CLASSES))]
    assert found['thing_classes'] == ['car', 'Ampelmännchen', 'person'] and found['seconds'] > 0


def test_options_are_those_of_the_model(client, model):
    image = draw_image(2)
    options = dict(score_thr=0.0, object_mask_thr=0.5, iou_thr=0.4, max_per_image=7)
    query = '&'.join(f'{name}={value}' for name, value in options.items())
    _, found = client.predict(encoded(image, '.png'), f'?tasks=instance&tasks=panoptic&{query}')
    assert set(found) & {'panoptic', 'instance', 'semantic'} == {'panoptic', 'instance'}
    (expected,) = model(image, tasks=['instance', 'panoptic'], **options)
    (usual,) = model(image)
    assert len(expected.masks) != len(usual.masks)
    check_equal(found, expected)


def test_images_are_turned_upright_unless_they_are_wanted_as_stored(client, model):
    stored = draw_image(3)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(stored[..., ::-1]).save(file, 'PNG', exif=exif)
    _, upright = client.predict(file.getvalue(), ALL)
    _, as_stored = client.predict(file.getvalue(), f'{ALL}&orientation=stored')
    check_equal(upright, model(cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE))[0])
    check_equal(as_stored, model(stored)[0])
    assert upright['notes'][0].startswith('image sent has EXIF orientation 6 and is turned upright')


def test_maps_come_as_png(client, model):
    body = encoded(draw_image(4), '.png')
    (expected,) = model(draw_image(4))
    for query, headers in (('?tasks=panoptic&format=png', {}), ('?tasks=panoptic', PNG)):
        status, found, data = client.ask('POST', f'/v1/predict{query}', body, headers)
        assert status == 200 and found['content-type'] == 'image/png'
        red, green, blue = np.asarray(Image.open(io.BytesIO(data)), np.int32).transpose(2, 0, 1)
        np.testing.assert_array_equal(red + 256 * green + 65536 * blue, expected.panoptic_map)
        assert json.loads(text_of_png(data)['segments_info']) == expected.segments
    _, _, data = client.ask('POST', '/v1/predict?tasks=semantic&format=png', body)
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), expected.semantic_map)


PNG = {'Accept': 'image/png'}


def test_ids_above_65535_have_all_three_colours():
    from oneformer_runtime import Prediction
    from oneformer_runtime.serving.answers import to_png

    ids = np.array([[0, 1, 300, 70000]], np.int32)
    found = Image.open(io.BytesIO(to_png(Prediction('', None, ids, []), 'panoptic')))
    assert np.asarray(found)[0].tolist() == [[0, 0, 0], [1, 0, 0], [44, 1, 0], [112, 17, 1]]
    labels = np.array([[0, 299]], np.int16)
    many = Prediction('', None, semantic_map=labels, names=tuple(map(str, range(300))))
    assert np.asarray(Image.open(io.BytesIO(to_png(many, 'semantic')))).tolist() == [[0, 299]]


def test_an_answer_is_packed_for_those_who_take_it(client):
    body = encoded(draw_image(5), '.png')
    plain = client.ask('POST', '/v1/predict', body)[2]
    _, headers, packed = client.ask('POST', '/v1/predict', body, {'Accept-Encoding': 'gzip'})
    assert headers['content-encoding'] == 'gzip' and len(packed) < len(plain) / 2
    one, other = json.loads(plain), json.loads(gzip.decompress(packed))
    assert {**one, 'seconds': 0} == {**other, 'seconds': 0}
    _, headers, _ = client.ask('POST', '/v1/predict', body, {'Accept-Encoding': 'gzip;q=0'})
    assert headers['content-encoding'] is None


def test_eight_clients_at_once_get_their_own_answers(client, model):
    images = [draw_image(seed, (5 + seed % 3, 7)) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda image: client.predict(encoded(image, '.png')), images))
    assert {status for status, _ in answers} == {200}
    for (_, found), expected in zip(answers, model(images)):
        check_equal(found, expected)


def test_the_server_of_an_exported_model_loads_no_torch(running):
    maps = Path(f'/proc/{running[0].pid}/maps').read_text()
    assert 'onnxruntime' in maps and 'torch' not in maps


def test_the_model_is_described(client):
    status, _, body = client.ask('GET', '/v1/model')
    found = json.loads(body)
    assert status == 200 and found['name'] == 'linear' and found['engine'] == 'onnxruntime'
    assert found['classes'] == list(CLASSES) and found['default_tasks'] == found['tasks']
    assert found['thresholds'] == dict(
        score_thr=0.3, object_mask_thr=0.2, iou_thr=0.1, max_per_image=20
    )
    assert found['limits']['queue'] == 32 and found['formats'] == ['JPEG', 'PNG', 'WebP']


def test_several_workers_predict_at_once(folder, model):
    predictor = OnnxPredictor(model)
    predictor.leave = threading.Event()
    with serving(predictor, workers=3) as client, ThreadPoolExecutor(6) as pool:
        images = [draw_image(seed) for seed in range(6)]
        answers = list(pool.map(lambda image: client.predict(encoded(image, '.png')), images))
    for (_, found), expected in zip(answers, model(images)):
        check_equal(found, expected)


# what is not an image, and too large


def png_header(width, height):
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(b'\0' * 100)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        for name, data in chunks
    )


JPEG = encoded(draw_image(0), '.jpg')


def of_scans(number):
    """A JPEG whose scan is repeated, each time behind a comment that looks like an end."""
    start, end = JPEG.index(b'\xff\xda'), len(JPEG) - 2
    scan = b'\xff\xfe\0\x04\xff\xd9' + JPEG[start:end]
    return JPEG[:start] + scan * number + JPEG[end:]


BROKEN = [
    (b'hello', 415, 'not_an_image'),
    (b'', 400, 'bad_request'),
    (b'data:image/png;base64,iVBORw0KGgo=', 415, 'not_an_image'),
    (b'SIMPLE  =                    T / FITS', 415, 'not_an_image'),
    (b'GIF89a\x01\0\x01\0\0\0\0', 415, 'not_an_image'),
    (encoded(draw_image(0), '.bmp'), 415, 'not_an_image'),
    (encoded(draw_image(0), '.tiff'), 415, 'not_an_image'),
    (JPEG[:-100], 422, 'damaged_image'),
    (JPEG[:20], 422, 'damaged_image'),
    (of_scans(200), 422, 'damaged_image'),
    (JPEG[:2] + b'\xff\xfe\0\2' * 9_999 + JPEG[2:], 422, 'damaged_image'),
    (png()[:-20], 422, 'damaged_image'),
    (png_header(9, 9), 422, 'damaged_image'),
    (png_header(0, 9), 422, 'damaged_image'),
    (png_header(20_000, 20_000), 413, 'too_many_pixels'),
    (png_header(60_000, 60_000), 413, 'too_many_pixels'),
    (png_header(100_000, 1), 413, 'too_many_pixels'),
    (b'RIFF\x1c\0\0\0WEBPVP8L\x05\0\0\0\x2f\xff\xff\xff\x0f\0VP8X', 413, 'too_many_pixels'),
]


@pytest.mark.parametrize('number', range(len(BROKEN)))
def test_a_broken_image_is_a_clear_error(gate, number):
    body, status, code = BROKEN[number]
    found, content = gate.predict(body)
    assert (found, content['error']) == (status, code)
    assert content['detail'] and content['remedy'] and content['request_id']
    assert gate.predict(png())[0] == 200


def test_what_cameras_write_behind_a_jpeg_does_no_harm(gate):
    video = np.random.default_rng(0).bytes(1 << 19)
    behind = JPEG + video + b'\xff\xda' * 1000
    assert gate.predict(behind)[0] == gate.predict(of_scans(1))[0] == 200


def test_more_formats_are_read_where_they_are_allowed():
    with serving(Gate(), kinds=('BMP',)) as client:
        assert client.predict(encoded(draw_image(0), '.bmp'))[0] == 200
        assert client.predict(png())[1]['detail'] == 'the image is a PNG'


@pytest.mark.parametrize(
    'headers, status, code',
    [
        (f'Content-Length: {10**12}\r\n', 413, 'body_too_large'),
        (f'Content-Length: {10**30}\r\n', 400, 'bad_request'),
        ('Content-Length: -1\r\n', 400, 'bad_request'),
        ('Content-Length: 1\r\nContent-Length: 2\r\n', 400, 'bad_request'),
        ('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', 400, 'bad_request'),
        ('Transfer-Encoding: gzip, chunked\r\n', 501, 'bad_request'),
        ('Content-Length: 5\r\nContent-Type: multipart/form-data; boundary=x\r\n', 415, None),
        ('Content-Length: 5\r\nContent-Type: application/json\r\n', 415, 'not_an_image'),
        ('Content-Length: 5\r\nContent-Encoding: gzip\r\n', 415, 'not_an_image'),
    ],
)
def test_headers_of_a_body_are_checked_before_it_is_read(gate, headers, status, code):
    head = f'POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{headers}\r\n'
    began = time.monotonic()
    found = error_of(gate.raw(head.encode()))
    assert found[0] in (status, 400) if status == 501 else found[0] == status
    assert found[1] == (code or 'not_an_image')
    assert time.monotonic() - began < 4


def chunked(*parts):
    head = b'POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
    return head + b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in parts)


def test_a_body_in_chunks_is_read_to_its_limit(gate):
    body = png()
    with gate.connect(chunked(body[:50], body[50:], b'')) as connection:
        assert connection.recv(1 << 16).startswith(b'HTTP/1.1 200')
    endless = chunked(*[bytes(1 << 16)] * 24)
    assert error_of(gate.raw(endless)) == (413, 'body_too_large')


def test_a_sender_of_too_much_comes_to_read_the_error(gate):
    status, content = gate.predict(bytes(3 << 19))
    assert (status, content['error']) == (413, 'body_too_large')
    assert '1572864 bytes, and 1048576 are allowed' in content['detail']


# slow senders and readers


def test_slow_senders_are_cut_off_and_hold_up_nobody():
    with serving(Gate(), body_timeout=0.4, queue=1) as client:
        head = client.connect(b'POST /v1/pre')
        idle = client.connect()
        bodies = [client.connect(post(png()[:10], 1000)) for _ in range(8)]
        dripping = client.connect(post(b'', 1000))

        def drip():
            for _ in range(40):
                try:
                    dripping.sendall(b'x')
                except OSError:
                    return
                time.sleep(0.05)

        dripper = threading.Thread(target=drip)
        dripper.start()
        assert client.predict(png())[0] == 200
        assert error_of(everything(head)) == (408, 'body_too_slow')
        assert everything(idle) == b''
        for connection in (*bodies, dripping):
            assert error_of(everything(connection)) == (408, 'body_too_slow')
            connection.close()
        dripper.join()
        assert client.figure('oneformer_held_bytes') == 0


def test_a_second_head_that_is_not_completed_is_cut_off():
    with (
        serving(Gate(), body_timeout=0.4) as client,
        client.connect(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /h') as connection,
    ):
        answers = b''
        while b'{"status":"ok"}' not in answers:
            answers += connection.recv(1 << 16)
        connection.sendall(b'e')
        assert error_of(everything(connection)) == (408, 'body_too_slow')


def test_a_reader_that_does_not_read_is_cut_off():
    noise = png(900, 900)
    with serving(Gate(), body_timeout=0.5, rate=3e7) as client:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(('127.0.0.1', client.port))
        connection.sendall(post(noise))
        until(lambda: client.figure('oneformer_held_bytes') > 4 << 20)
        name = 'oneformer_requests_total{outcome="answer_not_taken"'
        until(lambda: client.figure('oneformer_held_bytes') == 0)
        assert client.figure(name) == 1
        connection.close()


# paths, hosts, origins

SECRET = b'the secret of this machine'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A server with a page, beside which there is a secret."""
    root = tmp_path_factory.mktemp('site')
    page = root / 'assets'
    (page / 'js').mkdir(parents=True)
    (page / '.git').mkdir()
    for place in ('secret.txt', 'assets/.env', 'assets/.git/config', 'assets/page.json'):
        (root / place).write_bytes(SECRET)
    (page / 'link.txt').symlink_to(root / 'secret.txt')
    (page / 'index.html').write_text('<p>the page</p>')
    (page / 'js/page.mjs').write_text('1')
    (page / 'run.wasm').write_bytes(b'\0asm')
    with serving(Gate(), assets=page, allow_hosts=('Segment.example',)) as client:
        client.root = root
        yield client


def test_the_page_is_served_with_its_types_and_rules(site):
    status, headers, body = site.ask('GET', '/')
    assert (status, body) == (200, b'<p>the page</p>')
    assert headers['content-type'] == 'text/html; charset=utf-8'
    assert headers['x-content-type-options'] == 'nosniff'
    assert "default-src 'none'" in headers['content-security-policy']
    assert headers['cross-origin-embedder-policy'] == 'require-corp'
    kinds = {'/js/page.mjs': 'text/javascript; charset=utf-8', '/run.wasm': 'application/wasm'}
    for path, kind in kinds.items():
        status, headers, _ = site.ask('GET', path)
        assert (status, headers['content-type']) == (200, kind)
    assert site.ask('HEAD', '/run.wasm')[2] == b''
    status, _, body = site.ask('GET', '/page.json')
    assert json.loads(body) == dict(backend='server', api='v1/')


@pytest.mark.parametrize(
    'path',
    [
        '/../secret.txt',
        '/js/../../secret.txt',
        '/%2e%2e/secret.txt',
        '/..%2fsecret.txt',
        '/%2e%2e%2fsecret.txt',
        '/%252e%252e%252fsecret.txt',
        '/..\\secret.txt',
        '/..%5csecret.txt',
        '/....//secret.txt',
        '/js/%00/../../secret.txt',
        '//etc/passwd',
        '/%2fetc/passwd',
        '/{root}/secret.txt',
        '{root}/secret.txt',
        'http://localhost/../secret.txt',
        '/link.txt',
        '/.env',
        '/.git/config',
        '/assets/index.html',
        '/js',
        '/js/',
        '/index.html/',
        '/%c0%ae%c0%ae/secret.txt',
        '/' + 'a/../' * 500,
    ],
)
def test_no_other_file_is_reachable(site, path):
    path = path.replace('{root}', str(site.root))
    request = f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
    answer = site.raw(request.encode())
    assert error_of(answer) == (404, 'not_found')
    assert SECRET not in answer and b'root:' not in answer


def test_a_server_without_a_page_shows_its_api(tmp_path):
    with serving(Gate(), assets=tmp_path / 'no') as client:
        status, _, body = client.ask('GET', '/')
    assert status == 200 and b'POST /v1/predict' in body


def test_the_docs_take_nothing_from_others(gate):
    status, headers, body = gate.ask('GET', '/docs')
    text = body.decode()
    assert status == 200 and headers['content-type'] == 'text/html; charset=utf-8'
    assert not re.search('script|stylesheet|https?://', text)
    api = json.loads(gate.ask('GET', '/openapi.json')[2])
    assert set(api['paths']) == {'/v1/predict', '/v1/model', '/healthz', '/readyz', '/metrics'}
    names = [p['name'] for p in api['paths']['/v1/predict']['post']['parameters']]
    assert names[0] == 'tasks' and all(name in text for name in names)


@pytest.mark.parametrize(
    'host, status',
    [
        ('localhost', 200),
        ('LOCALHOST:9999', 200),
        ('localhost.:80', 200),
        ('127.0.0.1:8000', 200),
        ('192.168.3.4', 200),
        ('[::1]:8000', 200),
        ('segment.example', 200),
        ('evil.example', 421),
        ('localhost.evil.example', 421),
        ('127.0.0.1.evil.example', 421),
        ('localhost@evil.example', 421),
        ('evil.example:127.0.0.1', 421),
        ('', 421),
    ],
)
def test_only_known_names_are_answered(site, host, status):
    for path in ('/healthz', '/v1/model', '/', '/metrics'):
        assert site.ask('GET', path, headers={'Host': host})[0] == status
    answer = site.raw(f'GET / HTTP/1.0\r\nHost: {host}\r\n\r\n'.encode())
    assert answer.startswith(b'HTTP/1.1 %d ' % status)


def test_a_request_without_a_host_is_refused(site):
    assert error_of(site.raw(b'GET / HTTP/1.0\r\n\r\n')) == (421, 'host_not_allowed')
    assert error_of(site.raw(b'GET / HTTP/1.1\r\n\r\n')) == (400, 'bad_request')
    two = b'GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n'
    assert error_of(site.raw(two)) == (400, 'bad_request')


def test_pages_of_others_may_not_ask_unless_they_are_allowed(gate):
    own = f'http://127.0.0.1:{gate.port}'
    for origin in ('https://evil.example', 'null', f'{own}.evil.example', own[:-1]):
        status, headers, body = gate.ask('POST', '/v1/predict', png(), {'Origin': origin})
        assert (status, json.loads(body)['error']) == (403, 'origin_not_allowed')
        assert headers['access-control-allow-origin'] is None
    status, headers, _ = gate.ask('POST', '/v1/predict', png(), {'Origin': own})
    assert status == 200 and headers['access-control-allow-origin'] is None
    with serving(Gate(), allow_origins=('https://a.example',)) as client:
        allowed = {'Origin': 'https://a.example', 'Access-Control-Request-Method': 'POST'}
        assert client.ask('OPTIONS', '/v1/predict', headers=allowed)[0] == 200
        _, headers, _ = client.ask('POST', '/v1/predict', png(), allowed)
        assert headers['access-control-allow-origin'] == 'https://a.example'
        others = {**allowed, 'Origin': 'https://b.example'}
        assert client.ask('OPTIONS', '/v1/predict', headers=others)[0] == 403


# options


@pytest.mark.parametrize(
    'query, code, words',
    [
        ('?tasks=depth', 'unknown_task', "'depth' is asked for, and there is none"),
        ('?tasks=', 'unknown_task', "'' is asked for"),
        ('?tasks=panoptic,,semantic', 'unknown_task', "''"),
        ('?tasks=PANOPTIC', 'unknown_task', 'panoptic,instance,semantic'),
        ('?task=panoptic', 'bad_option', 'did you mean tasks?'),
        ('?score_thr=nan', 'bad_option', 'from 0 to 1'),
        ('?score_thr=2', 'bad_option', "score_thr is '2'"),
        ('?iou_thr=-1', 'bad_option', 'from 0 to 1'),
        ('?object_mask_thr=x', 'bad_option', 'from 0 to 1'),
        ('?score_thr=0.1&score_thr=0.2', 'bad_option', 'given 2 times'),
        ('?max_per_image=0', 'bad_option', 'from 1 to 10'),
        ('?max_per_image=11', 'bad_option', 'from 1 to 10'),
        ('?max_per_image=999999999999999', 'bad_option', 'from 1 to 10'),
        ('?max_per_image=%D9%A3', 'bad_option', 'from 1 to 10'),
        ('?orientation=left', 'bad_option', 'upright, stored'),
        ('?format=gif', 'bad_option', 'json, png'),
        ('?format=png', 'bad_option', 'a PNG holds one map'),
        ('?format=png&tasks=instance', 'bad_option', 'instances may overlap'),
    ],
)
def test_unknown_options_are_named_with_a_remedy(gate, query, code, words):
    status, content = gate.predict(png(), query)
    assert (status, content['error']) == (400, code)
    assert words in f'{content["detail"]}; {content["remedy"]}'


def test_what_is_not_there_and_other_methods_are_told_as_json(gate):
    status, _, body = gate.ask('GET', '/v1/nothing')
    assert (status, json.loads(body)['error']) == (404, 'not_found')
    for method, path in (('GET', '/v1/predict'), ('PUT', '/v1/model'), ('POST', '/')):
        status, headers, body = gate.ask(method, path)
        assert (status, json.loads(body)['error']) == (405, 'method_not_allowed')
        assert headers['allow']


def test_what_is_not_http_is_told_as_json(gate):
    for data in (b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n', b'hello\r\n\r\n'):
        assert error_of(gate.raw(data)) == (400, 'bad_request')
    long = b'GET / HTTP/1.1\r\nHost: localhost\r\nX: ' + b'a' * (1 << 17)
    assert error_of(gate.raw(long)) == (400, 'bad_request')


# the queue


def held(client, gate, number, **headers):
    """Requests that are being predicted or wait, one for each value of red from 1."""
    connections = []
    for red in range(1, number + 1):
        connections.append(client.connect(post(png(red=red), headers='Connection: close\r\n')))
        until(lambda: len(gate.asked) == 1)
        waiting = len(connections) - 1
        until(lambda waiting=waiting: client.figure('oneformer_queue_length') == waiting)
    return connections


def test_a_full_queue_says_so_and_when_to_come_again():
    gate = Gate(is_open=False)
    with serving(gate, queue=2) as client:
        connections = held(client, gate, 3)
        status, headers, body = client.ask('POST', '/v1/predict', png(red=9))
        assert (status, json.loads(body)['error']) == (429, 'queue_full')
        assert 1 <= int(headers['retry-after']) <= 60
        assert client.ask('GET', '/healthz')[0] == client.ask('GET', '/readyz')[0] == 200
        gate.leave.set()
        assert all(everything(c).startswith(b'HTTP/1.1 200') for c in connections)
        assert gate.asked == [1, 2, 3]
        assert client.predict(png(red=4))[0] == 200


def test_images_of_clients_that_have_gone_are_not_predicted():
    gate = Gate(is_open=False)
    with serving(gate, queue=2) as client:
        connections = held(client, gate, 3)
        for connection in connections[1:]:
            connection.close()
        for _ in range(20):  # each takes the place of one that has gone
            until(lambda: client.figure('oneformer_queue_length') == 0)
            gone = client.connect(post(png(red=100)))
            until(lambda: client.figure('oneformer_queue_length') == 1)
            gone.close()
        until(lambda: client.figure('oneformer_queue_length') == 0)
        last = client.connect(post(png(red=4), headers='Connection: close\r\n'))
        until(lambda: client.figure('oneformer_queue_length') == 1)
        gate.leave.set()
        assert everything(last).startswith(b'HTTP/1.1 200')
        assert gate.asked == [1, 4]
        gone = 'oneformer_requests_total{outcome="client_gone"'
        assert client.figure(gone) == 22 and client.figure('oneformer_held_bytes') == 0


def test_a_time_limit_holds_for_what_waits_and_what_runs():
    gate = Gate(is_open=False)
    with serving(gate, queue=2, timeout=1) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.predict, png(red=1))
        until(lambda: gate.asked == [1])
        second = pool.submit(client.predict, png(red=2))
        (status, found), (other, waited) = first.result(), second.result()
        assert status == other == 504 and found['error'] == waited['error'] == 'too_long'
        assert 'was not there after 1 s' in found['detail']
        assert 'waited for 1 s' in waited['detail']
        assert client.figure('oneformer_running') == 1  # its thread goes on, and keeps its place
        gate.leave.set()
        until(lambda: client.figure('oneformer_running') == 0)
        assert client.predict(png(red=3))[0] == 200
        assert gate.asked == [1, 3]


def test_bodies_share_a_bounded_memory():
    gate = Gate(is_open=False)
    size = 60_000
    large = png() + bytes(size)
    with serving(gate, max_bytes=len(large), queue=20) as client:
        connections = [client.connect(post(large)) for _ in range(8)]
        until(lambda: client.figure('oneformer_queue_length') == 7)
        held = client.figure('oneformer_held_bytes')
        assert held == 8 * len(large)
        status, content = client.predict(large)
        assert (status, content['error']) == (429, 'queue_full')
        for connection in connections:
            connection.close()


def test_connections_are_bounded():
    with serving(Gate(), connections=4) as client:
        taken = [client.connect() for _ in range(4)]
        answer = client.raw(b'')
        assert error_of(answer) == (503, 'too_many_connections')
        for connection in taken:
            connection.close()
        until(
            lambda: client.raw(b'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n')[9:12] == b'200'
        )


# faults, log, figures, end


def test_a_fault_of_the_server_is_told_without_its_insides(caplog):
    secret = ValueError('/home/me/secret.onnx is broken')
    with serving(Gate(error=secret)) as client:
        status, content = client.predict(png(), **{'X-Request-ID': 'mine-1'})
    assert status == 500 and content['request_id'] == 'mine-1'
    assert 'secret' not in json.dumps(content) and 'Traceback' not in json.dumps(content)
    assert '[mine-1] failed' in caplog.text and '/home/me/secret.onnx is broken' in caplog.text


def test_each_request_is_a_line_of_the_log(caplog):
    caplog.set_level(logging.INFO, 'oneformer_runtime')
    with serving(Gate()) as client:
        client.predict(png(), '?tasks=semantic', **{'X-Request-ID': 'a' * 65})
        client.ask('GET', '/%0d%0aINFO%20forged')
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith('[')]
    assert re.match(
        r"\[[0-9a-f]{12}\] 127.0.0.1 POST '/v1/predict' 200 ok \d+ bytes [\d.]+ s 12x8 semantic "
        r'waited [\d.]+ s, computed [\d.]+ s$',
        lines[0],
    )
    assert r"'/\r\nINFO forged' 404 not_found" in lines[1]


def test_figures_are_counted():
    with serving(Gate()) as client:
        client.predict(png(10, 30))
        client.predict(b'no image')
        client.ask('GET', '/healthz')
        name = 'oneformer_requests_total{outcome="%s",path="%s"}'
        assert client.figure(name % ('ok', 'other')) == 1
        assert client.figure(name % ('ok', 'predict')) == 1
        assert client.figure(name % ('not_an_image', 'predict')) == 1
        assert client.figure('oneformer_pixels_total') == 300
        assert client.figure('oneformer_predict_seconds_count') == 1
        assert client.figure('oneformer_peak_memory_bytes') > 1 << 24
        assert client.figure('process_resident_memory_bytes') > 1 << 24


def test_sigterm_ends_what_runs_sends_away_what_waits_and_exits_cleanly():
    with process(SERVED) as (running, client):
        connections = [client.connect(post(png(red=red))) for red in (1, 2)]
        assert running.stdout.readline() == 'predicting\n'
        until(lambda: client.figure('oneformer_queue_length') == 1)
        running.send_signal(signal.SIGTERM)
        assert everything(connections[0]).startswith(b'HTTP/1.1 200')
        assert error_of(everything(connections[1])) == (503, 'shutting_down')
        assert running.wait(10) == 0
        with pytest.raises(OSError):
            client.connect()


# the command


def test_what_is_missing_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    with pytest.raises(SystemExit, match=r'error: serving needs uvicorn .*pip install "oneformer'):
        oneformer_cli.main(['serve', str(folder)])


@pytest.mark.parametrize(
    'words, message',
    [
        (['--port', '70000'], '--port is 70000'),
        (['--timeout', '0'], '--timeout is 0.0'),
        (['--max-bytes', '0'], '--max-bytes is 0'),
        (['--queue', '-1'], '--queue is -1'),
        (['--allow-host', 'http://a.example'], 'is not the name of a host'),
        (['--allow-origin', 'a.example'], 'is not an origin'),
        (['--host', '203.0.113.7'], 'cannot be used'),
        (['--host', 'no such host'], 'no such address'),
    ],
)
def test_wrong_settings_are_named(folder, words, message):
    with pytest.raises(SystemExit, match=f'^error: .*{re.escape(message)}'):
        oneformer_cli.main(['serve', str(folder), '--port', '0', *words])


@pytest.mark.parametrize(
    'words, message',
    [
        (['--device', 'cuda'], 'leave out --device'),
        (['--model', 'a.py'], 'leave out --model'),
        (['--precision', 'tf32'], 'leave out --precision'),
        (['--precision', 'float16'], "invalid choice: 'float16'"),
        (['--engine', 'tensorrt'], "invalid choice: 'tensorrt'"),
        (['--threads', '0'], '--threads has to be at least 1'),
        (['--weights', 'a.pth'], 'write CHECKPOINT without an option'),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(folder, words, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        oneformer_cli.main(['serve', str(folder), *words])
    assert message in capsys.readouterr().err


def test_the_engine_and_the_precision_are_chosen(folder, model):
    pytest.importorskip('openvino')
    words = ('--engine', 'openvino', '--threads', '1', '--port', '0')
    with process('-m', 'oneformer_runtime.serving', folder, *words) as (_, client):
        _, _, body = client.ask('GET', '/v1/model')
        assert json.loads(body)['engine'] == 'openvino'
        status, found = client.predict(JPEG)
        assert status == 200
        check_equal(found, *model(cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)))
    for main in (oneformer_cli.main, lambda words: serving_command.main(words[1:])):
        with pytest.raises(SystemExit, match='^error: precision is int8, but'):
            main(['serve', str(folder), '--precision', 'int8', '--port', '0'])
        with pytest.raises(SystemExit, match='^error: precision is bf16, but onnxruntime'):
            main(['serve', str(folder), '--precision', 'bf16', '--port', '0'])


def test_the_precisions_of_torch_are_all_choices():
    from oneformer.commands.serve import _PRECISIONS
    from oneformer.kernels.precision import PRECISIONS

    assert tuple(PRECISIONS) == _PRECISIONS  # which cannot be imported without torch


def test_several_workers_need_an_exported_model(capsys):
    with pytest.raises(SystemExit, match='2'):
        oneformer_cli.main(['serve', 'weights.pth', '--workers', '2'])
    assert 'predicts one image at a time' in capsys.readouterr().err
    with (
        pytest.raises(ValueError, match='--workers is 2'),
        serving(Gate(is_parallel=False), workers=2),
    ):
        pass


def test_a_taken_port_is_named_before_the_model_is_loaded(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f'port {port} of 127.0.0.1 cannot be used'):
            oneformer_cli.main(['serve', str(tmp_path / 'no.pth'), '--port', str(port)])


def test_a_host_that_others_reach_is_warned_of(caplog):
    with serving(Gate()):
        pass
    from oneformer_runtime.serving.server import _advise

    _advise(Settings(host='0.0.0.0', allow_origins=('*',)), Gate())
    assert 'every machine that can reach this one may use it' in caplog.text
    assert 'every page that a browser here opens may use the server' in caplog.text


# a model of torch


def test_a_model_of_torch_is_served_by_the_same_rules(tmp_path_factory):
    from mmdet.registry import MODELS
    from mmengine.config import Config

    import oneformer.inference.served_model as served_model
    from oneformer.inference import OneFormerInferencer
    from oneformer.zoo import find_config

    name = 'oneformer_efficientnet-lite0_quickstart'
    weights = tmp_path_factory.mktemp('weights') / 'random.pth'
    state = MODELS.build(Config.fromfile(find_config(name)).model).state_dict()
    torch.save(dict(state_dict=state, meta={}), weights)
    inferencer = OneFormerInferencer(name, weights, 'cpu')
    linear = Linear.random(inferencer.model.num_classes, 14)
    inferencer.model.run_network = linear.in_torch
    predictor = served_model.TorchPredictor(inferencer, 'random')
    predictor.leave = threading.Event()
    image = draw_image(1)
    options = dict(score_thr=0.0, object_mask_thr=0.1, iou_thr=0.0)
    query = '&'.join(f'{key}={value}' for key, value in options.items())
    with serving(predictor) as client:
        found = json.loads(client.ask('GET', '/v1/model')[2])
        status, content = client.predict(encoded(image, '.png'), f'{ALL}&{query}')
    assert status == 200 and content['notes'] == []
    (expected,) = inferencer(image, progress=False, tasks=list(TASKS), **options)
    assert len(expected.segments) > 1 and len(expected.masks) > 1
    check_equal(content, expected, expected.names)
    assert (found['engine'], found['name'], found['tasks']) == ('torch', 'random', list(TASKS))
    assert found['classes'] == list(inferencer.dataset_meta['classes'])
    limits = inferencer.model.test_cfg
    assert found['thresholds']['object_mask_thr'] == limits['object_mask_thr']


def test_the_command_hands_its_options_to_the_inferencer(monkeypatch, tmp_path):
    from oneformer import inference
    from oneformer_runtime.serving import server

    given = []

    def load(*words, **options):
        given.append((words, options))
        raise ValueError('that is enough')

    monkeypatch.setattr(inference, 'OneFormerInferencer', load)
    assert server.serve
    weights = tmp_path / 'w.pth'
    weights.touch()
    words = ['--port', '0', '--device', 'cpu']
    for more in ([str(weights), '--model', 'a.py'], ['oneformer_swin-t_ade20k']):
        with pytest.raises(SystemExit, match='error: that is enough'):
            oneformer_cli.main(['serve', *more, *words])
    assert [words for words, _ in given] == [
        ('a.py', str(weights), 'cpu', False),
        ('oneformer_swin-t_ade20k', None, 'cpu', False),
    ]


# the page of the docs


def test_the_lines_of_the_page_run(client, tmp_path, monkeypatch):
    """curl is stood in for, as it need not be installed."""
    text = (ROOT / 'docs/serve.md').read_text()
    monkeypatch.chdir(tmp_path)
    Path('street.jpg').write_bytes(JPEG)
    lines = re.findall(r'^curl (.*)$', text, re.M)
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line)
        url = words.pop()
        assert url.startswith(BASE)
        options = dict(zip(words[::2], words[1::2]))
        body = options.get('--data-binary')
        form = {'Content-Type': 'application/x-www-form-urlencoded'}  # curl's own
        data = body and Path(body.removeprefix('@')).read_bytes()
        status, headers, _ = client.ask('POST' if body else 'GET', url[len(BASE) :], data, form)
        assert status == 200
        assert headers['content-type'] == ('image/png' if '-o' in options else 'application/json')
    code = next(block for block in python_blocks(text) if 'urllib' in block)
    found = {}
    exec(code.replace(BASE, f'http://127.0.0.1:{client.port}'), found)
    (expected,) = OnnxOneFormer(client.folder)('street.jpg')
    np.testing.assert_array_equal(found['ids'], expected.panoptic_map)
    np.testing.assert_array_equal(found['labels'], expected.semantic_map)
    np.testing.assert_array_equal(found['mask'], expected.masks[-1])


def test_the_page_shows_the_space_as_it_is():
    code = (ROOT / 'docs/examples/space_app.py').read_text()
    assert code in python_blocks((ROOT / 'docs/serve.md').read_text())
    assert len(code.splitlines()) < 30


def test_the_page_names_every_option_and_error():
    text = (ROOT / 'docs/serve.md').read_text()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = {o for o in parser._option_string_actions if o.startswith('--')} - {'--help'}
    assert not {o for o in options if o not in text} - {'--port'}
    package = ROOT / 'projects/oneformer_runtime/serving'
    source = '\n'.join(path.read_text() for path in package.glob('*.py'))
    codes = set(re.findall(r"[45]\d\d,\s+'(\w+)'", source)) | {'not_found', 'method_not_allowed'}
    assert len(codes) > 12 and not {code for code in codes if f'`{code}`' not in text}
