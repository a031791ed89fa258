"""Running servers for tests: in a thread with a model that waits for leave, or as a process.

``python tests/served.py`` serves a model that says "predicting" on stdout and takes half a second.
"""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from oneformer_runtime import Prediction
from oneformer_runtime.description import Thresholds
from oneformer_runtime.rules import ImageRules
from oneformer_runtime.serving import Facts, Settings
from oneformer_runtime.serving.server import make_server, open_socket, serve

PROJECTS = Path(__file__).resolve().parents[1] / 'projects'
CLASSES = ('tree', 'car')


class Gate:
    """A model whose predictions are made of the image, and wait for leave.

    Ids are the blue values, labels the green ones modulo two.
    """

    def __init__(self, is_open=True, is_parallel=True, error=None):
        self.facts = Facts('gate', CLASSES, ('car',), None, Thresholds(0.8, 0.8, 10))
        self.rules = ImageRules()
        self.is_parallel = is_parallel
        self.leave = threading.Event()
        self.error = error
        self.asked = []  # first pixel of each image, in the order in which it was predicted
        if is_open:
            self.leave.set()

    def __call__(self, pixels, options):
        self.asked.append(int(pixels[0, 0, 2]))
        assert self.leave.wait(30)
        if self.error is not None:
            raise self.error
        found = dict(
            panoptic=dict(panoptic_map=pixels[..., 0].astype(np.int32), segments=[]),
            semantic=dict(semantic_map=(pixels[..., 1] % 2).astype(np.int16)),
            instance=dict(
                masks=pixels[None, ..., 2] > 127,
                labels=np.array([1]),
                scores=np.array([0.5], np.float32),
                boxes=np.array([[0, 0, pixels.shape[1], pixels.shape[0]]], np.float32),
            ),
        )
        fields = {k: v for task in options.tasks for k, v in found[task].items()}
        return Prediction('image', None, names=CLASSES, **fields)


class Client:
    """Requests to a server on this machine."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def predict(self, body, query='', **headers):
        """Status, and content of an answer in JSON."""
        status, _, content = self.ask('POST', f'/v1/predict{query}', body, headers)
        return status, json.loads(content)

    def connect(self, data=b''):
        """A connection, over which data has been sent."""
        connection = socket.create_connection(('127.0.0.1', self.port), timeout=60)
        connection.sendall(data)
        return connection

    def raw(self, data):
        """All that is answered to bytes until the server closes."""
        with self.connect(data) as connection:
            return everything(connection)

    def figure(self, name):
        """A figure of /metrics."""
        text = self.ask('GET', '/metrics')[2].decode()
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def everything(connection):
    """All bytes until the other side closes or resets."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b''.join(parts)


def post(body, length=None, query='', headers=''):
    """Bytes of a request with a body, of which the header may tell another length."""
    length = len(body) if length is None else length
    head = f'POST /v1/predict{query} HTTP/1.1\r\nHost: localhost\r\n{headers}'
    return f'{head}Content-Length: {length}\r\n\r\n'.encode() + body


def error_of(answer):
    """Status and code of an answer as bytes."""
    head, _, body = answer.partition(b'\r\n\r\n')
    return int(head.split()[1]), json.loads(body)['error']


def png(height=8, width=12, red=0, seed=0):
    """A PNG of random pixels, whose first has a value of red."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels[0, 0, 2] = red
    return encoded(pixels, '.png')


def encoded(pixels, suffix):
    """An image as a file."""
    return cv2.imencode(suffix, pixels)[1].tobytes()


@contextmanager
def serving(predictor, **settings):
    """A client of a server in a thread."""
    settings = Settings(**dict(dict(port=0), **settings))
    listens = threading.Event()
    with open_socket(settings.host, settings.port) as bound:
        server = make_server(predictor, settings, listens.set)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        assert listens.wait(30)
        client = Client(bound.getsockname()[1])
        client.server = server
        try:
            yield client
        finally:
            predictor.leave.set()
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def process(*words):
    """A server as a process, and its client."""
    command = [sys.executable, *map(str, words), '--port', '0']
    with tempfile.TemporaryFile('w+') as log:
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=dict(os.environ, PYTHONPATH=str(PROJECTS)),
        )
        try:
            lines = iter(running.stdout.readline, '')
            place = next((line for line in lines if line.startswith('serving on ')), None)
            log.seek(0)
            assert place is not None, log.read()
            yield running, Client(int(place.strip().strip('/').rpartition(':')[2]))
        finally:
            running.kill()
            running.wait()
            running.stdout.close()


def until(condition, seconds=10):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it does not come'
        time.sleep(0.005)


def decoded_runs(runs, height, width):
    """The map of runs [value, length, ...]."""
    return np.repeat(runs[::2], runs[1::2]).reshape(height, width)


def text_of_png(data):
    """Texts of a PNG, by Pillow."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.text


class Slow(Gate):
    """A model that takes half a second."""

    def __call__(self, pixels, options):
        print('predicting', flush=True)
        time.sleep(0.5)
        return super().__call__(pixels, options)


if __name__ == '__main__':
    serve(Slow, Settings(port=0, queue=4))
