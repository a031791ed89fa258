"""From a request to its answer: limits, a place in the line, a prediction, bytes."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import Response

from ..notes import image_notes
from ..rules import ImageRules
from .answers import compressed, fields_of, parts, to_json, to_png
from .asked import Asked, notes_on_tasks, read_query, takes_gzip
from .bodies import Budget, check_headers, read_body
from .guard import exchange_of
from .images import check_image, decode_image
from .jobs import Job, Jobs
from .metrics import Metrics
from .predictors import Predictor
from .settings import Settings

_LIMITS = ('max_bytes', 'max_pixels', 'max_side', 'timeout', 'queue')


@dataclass(frozen=True)
class Encoded:
    """An answer as bytes.

    Attributes:
        data: The body.
        headers: Its headers.
        pixels: Pixels of the image.
        seconds: Seconds of the prediction.
        waited: Seconds before it began.
    """

    data: bytes
    headers: dict[str, str]
    pixels: int
    seconds: float
    waited: float


class _Pieces(Response):
    """A body that is handed over in pieces, each when the client has taken those before."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = {'type': 'http.response.start', 'status': 200, 'headers': self.raw_headers}
        await send(start)
        for piece in parts(self.body):
            await send({'type': 'http.response.body', 'body': bytes(piece), 'more_body': True})
        await send({'type': 'http.response.body', 'body': b'', 'more_body': False})


class Service:
    """What the end points share.

    Args:
        predictor: The model.
        settings: Settings of the server.
        version: Version of the package.
    """

    def __init__(self, predictor: Predictor, settings: Settings, version: str) -> None:
        if settings.workers > 1 and not predictor.is_parallel:
            raise ValueError(
                f'--workers is {settings.workers}, but a model of torch predicts one image at a '
                'time: leave it out, or export the model'
            )
        self.predictor = predictor
        self.settings = settings
        self.version = version
        self.jobs = Jobs(settings.workers, settings.queue)
        self.budget = Budget(settings.held_bytes)
        line = self.jobs.line
        self.metrics = Metrics(lambda: line.length, lambda: line.running, lambda: self.budget.held)
        self.checks = ThreadPoolExecutor(1, 'check')
        self.model = dict(
            predictor.facts.content(),
            limits={name: getattr(settings, name) for name in _LIMITS},
            formats=list(settings.kinds),
            version=version,
        )

    async def predict(self, request: Request) -> Response:
        """The answer for the image in the body of a request."""
        settings, facts = self.settings, self.predictor.facts
        asked = read_query(
            request.query_params.multi_items(), request.headers.get('accept', ''), facts
        )
        check_headers(request.headers, settings.max_bytes)
        self.jobs.check()
        exchange = exchange_of(request.scope)
        data = await read_body(request.receive, settings.max_bytes, settings.pace, exchange.charge)
        arrived = time.monotonic()
        loop = asyncio.get_running_loop()
        header = await loop.run_in_executor(self.checks, check_image, data, settings)
        exchange.about = f' {header.width}x{header.height} {",".join(asked.options.tasks)}'
        packs = takes_gzip(request.headers)
        job = Job(partial(self._work, data=data, asked=asked, packs=packs, arrived=arrived))
        spent = time.monotonic() - arrived
        encoded = await self.jobs.run(job, settings.timeout, spent, partial(_gone, request))
        exchange.charge.give(len(data))
        exchange.charge.add(len(encoded.data))
        self.metrics.seconds.observe(encoded.seconds)
        self.metrics.waited.observe(encoded.waited)
        self.metrics.pixels.inc(encoded.pixels)
        exchange.about += f' waited {encoded.waited:.3f} s, computed {encoded.seconds:.3f} s'
        return _Pieces(encoded.data, headers=encoded.headers)

    def _work(self, job: Job, data: bytes, asked: Asked, packs: bool, arrived: float) -> Encoded:
        """Decode, predict and encode, on a thread."""
        began = time.monotonic()
        options, facts = asked.options, self.predictor.facts
        rules = ImageRules(orientation=options.orientation).over(self.predictor.rules)
        loaded = decode_image(data, rules)
        job.check()
        prediction = self.predictor(loaded.pixels, options)
        job.check()
        seconds = time.monotonic() - began
        headers = {'cache-control': 'no-store', 'vary': 'accept, accept-encoding'}
        if asked.format == 'png':
            body = to_png(prediction, options.tasks[0])
            headers['content-type'] = 'image/png'
        else:
            notes = [*image_notes(loaded, 'sent', rules).values()]
            found = fields_of(prediction)
            body = to_json(
                dict(
                    found,
                    **facts.labels(),
                    palette=self.model['palette'],
                    notes=notes + notes_on_tasks(options.tasks, facts),
                    seconds=round(seconds, 6),
                )
            )
            headers['content-type'] = 'application/json'
            if packs:
                body = compressed(body)
                headers['content-encoding'] = 'gzip'
        height, width = loaded.pixels.shape[:2]
        return Encoded(body, headers, height * width, seconds, began - arrived)

    def close(self) -> None:
        """Let nothing in any more, and send away what waits."""
        self.jobs.close()


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())['type'] != 'http.disconnect':
        pass
