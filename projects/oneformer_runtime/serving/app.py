"""The application: the API, the page, and what watches over the server."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from ..notes import image_notes
from ..rules import ImageRules
from .answers import answer, compressed, parts, to_json, to_png
from .asked import Asked, notes_on_tasks, read_query, takes_gzip
from .assets import INDEX, list_assets, media_type
from .bodies import Budget, check_headers, read_body
from .errors import ApiError, ClientGone, internal
from .guard import Guard, error_messages, exchange_of
from .images import NAME, check_image, decode_image
from .jobs import Job, Jobs
from .metrics import CONTENT_TYPE, Metrics
from .plain_page import plain_page
from .predictors import Predictor
from .schemas import BODY, PARAMETERS, Answer, Error, Model
from .settings import Settings

_ABOUT = 'Panoptic, instance and semantic segmentation of an image by one model.'


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
        left = settings.timeout - (time.monotonic() - arrived)
        encoded = await self.jobs.run(job, max(left, 0), partial(_gone, request))
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
            notes = [*image_notes(loaded, NAME, rules).values()]
            found = answer(prediction)
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


_LIMITS = ('max_bytes', 'max_pixels', 'max_side', 'timeout', 'queue')


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())['type'] != 'http.disconnect':
        pass


def _errors(*statuses: int) -> dict:
    meanings = {
        400: 'An option that is not known or out of range',
        408: 'The body comes too slowly',
        413: 'Too many bytes or pixels',
        415: 'No image, or of a kind that is not read',
        422: 'A damaged image',
        429: 'Too many wait; Retry-After has the seconds',
        503: 'The server is shutting down',
        504: 'The time limit is over',
    }
    return {status: dict(model=Error, description=meanings[status]) for status in statuses}


def _add_api(api: FastAPI, service: Service) -> None:
    @api.post(
        '/v1/predict',
        summary='Predict the tasks that are asked for',
        responses={
            200: dict(model=Answer, description='Run lengths, or a PNG of one map'),
            **_errors(400, 408, 413, 415, 422, 429, 503, 504),
        },
        openapi_extra=dict(parameters=PARAMETERS, requestBody=BODY),
    )
    async def predict(request: Request) -> Response:
        return await service.predict(request)

    @api.get(
        '/v1/model',
        summary='Classes, tasks, thresholds and limits',
        responses={200: dict(model=Model, description='The model')},
    )
    async def model() -> Response:
        return JSONResponse(service.model)


def _add_watch(api: FastAPI, service: Service) -> None:
    @api.get('/healthz', summary='Whether the process lives')
    async def healthz() -> Response:
        return JSONResponse(dict(status='ok'))

    @api.get('/readyz', summary='Whether it predicts', responses=_errors(503))
    async def readyz() -> Response:
        if service.jobs.line.is_closed:
            service.jobs.check()
        return JSONResponse(dict(status='ok'))

    @api.get('/metrics', summary='Figures in the text format of Prometheus')
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={'content-type': CONTENT_TYPE})

    @api.get('/docs', include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(plain_page(api.openapi()))


def _add_page(api: FastAPI, service: Service) -> None:
    files = list_assets(service.settings.assets)

    @api.get('/page.json', include_in_schema=False)
    async def page_settings() -> Response:
        return JSONResponse(dict(backend='server', api='v1/'))

    @api.api_route('/{name:path}', methods=['GET', 'HEAD'], include_in_schema=False)
    async def page(name: str) -> Response:
        path = files.get(name or INDEX)
        if path is not None:
            headers = {'cache-control': 'no-cache', 'content-type': media_type(path)}
            return FileResponse(path, headers=headers)
        if name:
            raise HTTPException(404)
        return HTMLResponse(plain_page(api.openapi()))


def _add_errors(api: FastAPI) -> None:
    def told(request: Request, error: ApiError) -> Response:
        start, body = error_messages(error, exchange_of(request.scope))
        response = Response(body['body'], start['status'])
        response.raw_headers = start['headers']
        return response

    @api.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return told(request, error)

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code, remedy = _OF_STATUS.get(error.status_code, ('bad_request', '/docs lists the API'))
        detail = f'{request.method} {request.scope["path"][:80]!r}: {error.detail}'
        return told(request, ApiError(error.status_code, code, detail, remedy, error.headers or {}))

    @api.exception_handler(ClientGone)
    async def gone(request: Request, _: ClientGone) -> Response:
        exchange_of(request.scope).outcome = 'client_gone'
        return Response(status_code=499)

    @api.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:
        return told(request, internal())


_OF_STATUS = {
    404: ('not_found', '/docs lists what there is'),
    405: ('method_not_allowed', '/docs lists the methods'),
}


def make_app(service: Service) -> Guard:
    """The application of ASGI of a service."""
    api = FastAPI(
        title='OneFormer',
        version=service.version,
        description=_ABOUT,
        docs_url=None,  # these load scripts of others
        redoc_url=None,
        servers=[dict(url='.')],
        redirect_slashes=False,
    )
    _add_errors(api)
    _add_api(api, service)
    _add_watch(api, service)
    _add_page(api, service)
    app: Any = api
    if origins := list(service.settings.allow_origins):
        app = _with_cors(api, origins)
    return Guard(app, service.settings, service.budget, service.metrics)


def _with_cors(app: Any, origins: Sequence[str]) -> Any:
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=['GET', 'POST'],
        allow_headers=['content-type', 'x-request-id'],
        expose_headers=['retry-after', 'x-request-id'],
    )
