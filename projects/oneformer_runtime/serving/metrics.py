"""Figures of the server in the text format of Prometheus."""

import resource
import sys
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


def peak_memory() -> int:
    """The most bytes of memory that this process has had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == 'darwin' else most * 1024


class Metrics:
    """Counters and gauges of a server.

    Args:
        queue_length: Gives how many images wait.
        running: Gives how many are predicted.
        held_bytes: Gives the bytes of bodies and answers that are held.

    Attributes:
        requests: Answers by path (``predict`` or ``other``) and outcome: ``ok``, a code of an
            error, ``client_gone``, ``answer_not_taken``.
        seconds: Seconds of predictions.
        waited: Seconds that images waited.
        pixels: Pixels of the images predicted.
    """

    def __init__(
        self,
        queue_length: Callable[[], float],
        running: Callable[[], float],
        held_bytes: Callable[[], float],
    ) -> None:
        self._registry = CollectorRegistry()
        into = dict(registry=self._registry)
        self.requests = Counter(
            'oneformer_requests', 'Answers by outcome', ['path', 'outcome'], **into
        )
        self.seconds = Histogram(
            'oneformer_predict_seconds', 'Seconds of predictions', buckets=_SECONDS, **into
        )
        self.waited = Histogram(
            'oneformer_wait_seconds', 'Seconds that images waited', buckets=_SECONDS, **into
        )
        self.pixels = Counter('oneformer_pixels', 'Pixels of the images predicted', **into)
        for name, meaning, value in (
            ('oneformer_queue_length', 'Images that wait', queue_length),
            ('oneformer_running', 'Images that are predicted', running),
            ('oneformer_held_bytes', 'Bytes of bodies and answers that are held', held_bytes),
            ('oneformer_peak_memory_bytes', 'Most memory of the process', peak_memory),
        ):
            Gauge(name, meaning, **into).set_function(value)
        ProcessCollector(**into)

    def text(self) -> bytes:
        """All figures as text."""
        return generate_latest(self._registry)
