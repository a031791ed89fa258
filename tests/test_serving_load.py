"""A minute of eight clients and an attacker against ``oneformer serve``: ``make test-serve``."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx_graphs import Linear, write_folder
from served import encoded, post, process, until

from oneformer_runtime.description import ImageSettings, ModelDescription, Thresholds

SECONDS = 60
CLIENTS = 8
ALLOWED = 200 << 20  # bytes that a minute may add: bodies and answers, what threads keep
CLASSES = tuple(f'class {k}' for k in range(20))


@pytest.fixture
def folder(tmp_path):
    described = ModelDescription(
        classes=CLASSES,
        thing_classes=CLASSES[:10],
        image=ImageSettings(320, 640, 32, (0, 0, 0)),
        thresholds=Thresholds(0.5, 0.5, 50),
    )
    return write_folder(tmp_path / 'exported', described, Linear.random(len(CLASSES), 50))


def images():
    """Images of eight sizes as JPEG and PNG; the last has 3 megapixels."""
    rng = np.random.default_rng(0)
    found = []
    for k, scale in enumerate([6, 8, 10, 12, 16, 20, 30, 100]):
        coarse = rng.integers(0, 256, (15, 20 + k % 3, 3), np.uint8)
        image = cv2.resize(coarse, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        found.append(encoded(image, '.png' if k % 2 else '.jpg'))
    return found


def ask_until(client, end, bodies, number):
    """Seconds of each answer of a client, and the statuses and texts of errors."""
    seconds, errors = [], []
    while time.monotonic() < end:
        body = bodies[(number + len(seconds)) % len(bodies)]
        began = time.monotonic()
        status, content = client.predict(body)
        seconds.append(time.monotonic() - began)
        if status != 200:
            errors.append((status, content))
    return seconds, errors


def attack_until(client, end):
    """Send what no client should, and return how often."""
    large = post(b'', 10**12)
    number = 0
    while time.monotonic() < end:
        bombs = [
            post(b'no image'),
            large,
            b'GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
            b'GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
        ]
        for bomb in bombs:
            with client.connect(bomb) as connection:
                assert connection.recv(1 << 16)[9:10] == b'4'
        slow = [client.connect(post(b'x', 1000)) for _ in range(20)]
        time.sleep(0.2)
        for connection in slow:
            connection.close()
        number += len(bombs) + len(slow)
    return number


def memory_of(pid, name):
    """Bytes of a line of /proc/PID/status."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


@pytest.mark.long
def test_eight_clients_for_a_minute_get_no_error_and_memory_is_bounded(folder):
    bodies = images()
    with process('-m', 'oneformer_runtime.serving', folder, '--threads', '1') as (running, client):
        for body in bodies:  # the largest once, so that what follows is not growth by size
            assert client.predict(body)[0] == 200
        before = memory_of(running.pid, 'VmHWM')
        end = time.monotonic() + SECONDS
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            attacks = pool.submit(attack_until, client, end)
            asked = [pool.submit(ask_until, client, end, bodies[:-1], k) for k in range(CLIENTS)]
            results = [future.result() for future in asked]
        peak = memory_of(running.pid, 'VmHWM')
        until(lambda: client.figure('oneformer_held_bytes') == 0)
    seconds = np.concatenate([seconds for seconds, _ in results])
    errors = [error for _, errors in results for error in errors]
    print(
        f'\n{CLIENTS} clients, {SECONDS} s: {len(seconds)} answers, {len(seconds) / SECONDS:.1f} '
        f'each second, p50 {np.percentile(seconds, 50):.3f} s, p95 '
        f'{np.percentile(seconds, 95):.3f} s; {attacks.result()} bad requests; peak memory '
        f'{before / 1e6:.0f} MB after one of each image, {peak / 1e6:.0f} MB at the end'
    )
    assert not errors and len(seconds) > SECONDS
    assert peak < before + ALLOWED
