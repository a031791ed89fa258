"""Scoring in other processes gives what scoring in one gives, and leaves no process behind."""

import logging
import os
import signal
import subprocess
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from evaluation_peer import META, make_sample, random_scene
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log

from oneformer.evaluation import score_workers
from oneformer.evaluation.evaluator import OneFormerEvaluator
from oneformer.evaluation.image_metric import ImageMetric
from oneformer.evaluation.score_workers import ScoringError

METRICS = [dict(type='PanopticQuality'), dict(type='InstanceAP'), dict(type='SemanticIoU')]


class Seen(BaseMetric):
    """A metric of another project: scores in the process of the network."""

    default_prefix = 'seen'

    def process(self, data_batch, data_samples):
        assert all('masks' in sample['pred_instances'] for sample in data_samples)
        self.results += [(os.getpid(), data_batch)] * len(data_samples)

    def compute_metrics(self, results):
        return dict(here=sum(pid == os.getpid() for pid, _ in results))


def scenes(number=12):
    rng = np.random.default_rng(3)
    samples = []
    for img_id in range(number):
        gt_map, segments, predicted = random_scene(rng)
        samples.append(make_sample(gt_map, segments, predicted, img_id))
        samples[-1]['img_path'] = f'images/{img_id}.jpg'
    return samples


def scores_of(evaluator, samples):
    evaluator.dataset_meta = META
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start : start + 2], data_batch=start)
    results = [list(metric.results) for metric in evaluator.metrics]
    return evaluator.evaluate(len(samples)), results


def plain(value):
    """A result with lists in place of arrays, to compare it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def wait_for(condition):
    """Whether it holds within a while."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def no_workers():
    return wait_for(lambda: not active_children())


def test_workers_score_as_the_main_process_does_and_in_the_order_of_the_images():
    kept = []

    class Keeping(OneFormerEvaluator):
        def evaluate(self, size):
            self._pool.finish()
            kept.extend([list(metric.results) for metric in self.metrics])
            return super().evaluate(size)

    expected, results = scores_of(Evaluator([*METRICS, Seen()]), scenes())
    found, _ = scores_of(Keeping([*METRICS, Seen()], workers=2), scenes())
    assert found.keys() == expected.keys() and found['seen/here'] == 12
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    assert plain(kept[:3]) == plain(results[:3])
    assert no_workers()


@pytest.mark.parametrize('workers', [0, 1])
def test_an_error_names_its_image_and_stops_the_run(workers):
    samples = scenes(6)
    samples[3]['pred_sem_seg']['sem_seg'][:] = 99
    evaluator = OneFormerEvaluator(METRICS, workers)
    with pytest.raises(
        ValueError, match=r'image 3 \(images/3.jpg\): pred_sem_seg.sem_seg has values'
    ):
        scores_of(evaluator, samples)
    assert no_workers()


class Failing(ImageMetric):
    """Fails at one image in a way that is not a mistake of the data, or kills its process."""

    default_prefix = 'failing'

    def __init__(self, kills=False):
        super().__init__()
        self.kills = kills

    def score(self, data_sample):
        if data_sample['img_id'] == 2:
            if self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError('the disk is full')

    def compute_metrics(self, results):
        return dict(images=len(results))


@pytest.mark.parametrize(
    ('kills', 'message'),
    [
        (False, r'^image 2 \(images/2.jpg\): OSError: the disk is full'),
        (True, r'killed at one of (image \d .*, )?image 2 .*: choose less than 2 by --score-work'),
    ],
)
def test_a_process_that_fails_or_is_killed_tells_where(kills, message):
    evaluator = OneFormerEvaluator([Failing(kills)], workers=2)
    with pytest.raises(ScoringError, match=message):
        scores_of(evaluator, scenes(8))
    assert no_workers()


class Telling(ImageMetric):
    """Logs at each image."""

    default_prefix = 'telling'

    def score(self, data_sample):
        print_log(f'a class has no value, {self.prefix}', logger='current', level=logging.WARNING)

    def compute_metrics(self, results):
        return dict(images=len(results))


def test_what_workers_log_is_in_the_log_of_the_run_once(monkeypatch):
    told = []
    monkeypatch.setattr(
        score_workers, 'print_log', lambda text, logger, level: told.append((text, level))
    )
    assert scores_of(OneFormerEvaluator([Telling()], 2), scenes(6))[0] == {'telling/images': 6}
    assert told == [('a class has no value, telling', logging.WARNING)]


def test_a_number_of_workers_that_is_none_is_refused():
    for wrong in (-1, 1.5, True, 'two'):
        with pytest.raises(ValueError, match='score_workers is .*: it has to be a whole number'):
            OneFormerEvaluator(METRICS, wrong)


def test_a_run_that_fails_elsewhere_leaves_no_worker():
    evaluator = OneFormerEvaluator(METRICS, workers=2)
    evaluator.dataset_meta = META
    evaluator.process(scenes(3))  # and then the network fails
    assert active_children()
    del evaluator
    assert no_workers()


SCRIPT = """
import sys, time
sys.path[:0] = {paths!r}
import oneformer
from mmengine.registry import init_default_scope
from test_score_workers import METRICS, META, OneFormerEvaluator, scenes
init_default_scope('mmdet')  # without a guard against other processes that import this
evaluator = OneFormerEvaluator(METRICS, workers=2)
evaluator.dataset_meta = META
samples = scenes(3)
for _ in range(2):  # one more than the queue holds, so that a worker has begun
    evaluator.process(samples)
print(*evaluator._pool.pool._processes, flush=True)
time.sleep(600)
"""


def test_workers_outlive_the_signals_of_a_job_and_not_a_run_that_is_killed(tmp_path, forked_python):
    here = Path(__file__).resolve().parent
    paths = [str(here.parent / 'projects'), str(here)]
    (tmp_path / 'run.py').write_text(SCRIPT.format(paths=paths))
    command = [forked_python, str(tmp_path / 'run.py')]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    workers = [int(number) for number in run.stdout.readline().split()]
    assert len(workers) == 2 and wait_for(lambda: all(map(began, workers)))
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(workers[0], number)
    time.sleep(0.2)
    assert all(map(alive, workers))
    (parent,) = {parent_of(parent_of(number)) for number in workers}  # of the fork server
    os.kill(parent, signal.SIGKILL)
    run.communicate(timeout=60)
    assert wait_for(lambda: not any(map(alive, workers)))


def began(number):
    """Whether a worker ignores the signals already: the last thing that it does before it waits."""
    (blocked,) = (
        int(line.split()[1], 16)
        for line in Path(f'/proc/{number}/status').read_text().splitlines()
        if line.startswith('SigBlk')
    )
    return bool(blocked >> (signal.SIGTERM - 1) & 1)


def status_of(number):
    """State and parent of a process."""
    return Path(f'/proc/{number}/stat').read_text().rsplit(')', 1)[1].split()[:2]


def parent_of(number):
    return int(status_of(number)[1])


def alive(number):
    """Whether a process runs."""
    try:
        return status_of(number)[0] != 'Z'
    except FileNotFoundError:
        return False
