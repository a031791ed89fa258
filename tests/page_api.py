"""The API of ``oneformer serve`` as far as a page needs it, answered by the runtime."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from oneformer_runtime.description import TASKS
from oneformer_runtime.page import ASSETS


class Api(BaseHTTPRequestHandler):
    """Answers; ``server.seen`` is the last image, and ``server.full`` refuses."""

    protocol_version = 'HTTP/1.1'

    def answer(self, content, kind='application/json', status=200):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802
        path = urlsplit(self.path).path
        described = self.server.model.description
        if path == '/page.json':
            return self.answer(dict(backend='server', api='v1/', more=1))
        if path == '/v1/model':
            return self.answer(
                dict(name='served', licence='', classes=described.classes, palette=None,
                     thing_classes=described.thing_classes, tasks=TASKS, default_tasks=TASKS,
                     limits=dict(max_bytes=1 << 20))
            )  # fmt: skip
        file = ASSETS / (path.lstrip('/') or 'index.html')
        kinds = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css'}
        kinds |= {'.svg': 'image/svg+xml', '.json': 'application/json', '.jpg': 'image/jpeg'}
        self.answer(file.read_bytes(), kinds[file.suffix])

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers['Content-Length']))
        if self.server.full:
            error = dict(error='queue_full', detail='16 images wait.', remedy='Try again later.')
            return self.answer(error, status=429)
        query = parse_qs(urlsplit(self.path).query)
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        self.server.seen = image
        tasks, threshold = query['tasks'][0].split(','), float(query['score_thr'][0])
        (found,) = self.server.model(image, tasks, score_thr=threshold)
        height, width = image.shape[:2]
        content = dict(width=width, height=height, tasks=tasks, notes=['A note.'], seconds=0.5)
        if 'panoptic' in tasks:
            runs = runs_of(found.panoptic_map)
            content['panoptic'] = dict(segments=found.segments, runs=runs)
        if 'semantic' in tasks:
            content['semantic'] = dict(runs=runs_of(found.semantic_map))
        if 'instance' in tasks:
            content['instance'] = dict(instances=[*instances_of(found)])
        self.answer(content)


def runs_of(values):
    flat = values.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] - 1))
    lengths = np.diff(starts, append=flat.size)
    return np.stack([flat[starts], lengths], 1).ravel().tolist()


def instances_of(found):
    for label, score, mask, box in zip(found.labels, found.scores, found.masks, found.boxes):
        flat = mask.T.ravel().astype(int)
        starts = np.flatnonzero(np.diff(flat, prepend=0))
        counts = np.diff(starts, prepend=0, append=flat.size).tolist()
        x1, y1, x2, y2 = map(int, box)
        yield dict(
            label=int(label), score=float(score), area=int(mask.sum()),
            bbox=[x1, y1, x2 - x1, y2 - y1], category=found.names[label],
            mask=dict(size=list(mask.shape), counts=counts),
        )  # fmt: skip


@contextmanager
def running_api(model):
    """A server of an ``OnnxOneFormer``."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Api)
    server.model, server.full, server.daemon_threads = model, False, True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
