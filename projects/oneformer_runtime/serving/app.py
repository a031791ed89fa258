"""The application: the API, the page, and what watches over the server."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from .assets import INDEX, list_assets, media_type
from .errors import ApiError, ClientGone, internal
from .guard import Guard, error_messages, exchange_of
from .metrics import CONTENT_TYPE
from .plain_page import plain_page
from .schemas import BODY, PARAMETERS, Answer, Error, Model
from .service import Service

_PREDICT = 'v1/predict'
_ABOUT = 'Panoptic, instance and semantic segmentation of an image by one model.'


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
        f'/{_PREDICT}',
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
        if name == _PREDICT:
            raise HTTPException(405, headers={'Allow': 'POST'})
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
        version=service.version or 'unknown',
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
