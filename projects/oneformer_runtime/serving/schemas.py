"""Answers as the API's own description shows them; nothing is checked by these at run time."""

from pydantic import BaseModel

from .settings import ALL_KINDS


class Segment(BaseModel):
    """A panoptic segment."""

    id: int
    label: int
    category: str
    isthing: bool
    score: float
    area: int
    bbox: list[int]


class PanopticPrediction(BaseModel):
    """Segments, and runs [id, length, ...] row by row; id 0 is void."""

    segments: list[Segment]
    runs: list[int]


class Mask(BaseModel):
    """COCO's uncompressed run lengths of [height, width], column by column."""

    size: list[int]
    counts: list[int]


class Instance(BaseModel):
    """An instance; bbox is [x, y, width, height]."""

    label: int
    category: str
    score: float
    area: int
    bbox: list[int]
    mask: Mask


class InstancePrediction(BaseModel):
    """Instances, from the best."""

    instances: list[Instance]


class SemanticPrediction(BaseModel):
    """Runs [label, length, ...] row by row."""

    runs: list[int]


class Answer(BaseModel):
    """Predictions for an image; a task that was not asked has no key."""

    width: int
    height: int
    classes: list[str]
    thing_classes: list[str]
    palette: list[list[int]] | None
    tasks: list[str]
    panoptic: PanopticPrediction | None = None
    instance: InstancePrediction | None = None
    semantic: SemanticPrediction | None = None
    notes: list[str]
    seconds: float


class Thresholds(BaseModel):
    """What counts unless a request says otherwise."""

    score_thr: float
    object_mask_thr: float
    iou_thr: float
    max_per_image: int


class LimitsOfServer(BaseModel):
    """Limits of this server."""

    max_bytes: int
    max_pixels: int
    max_side: int
    timeout: float
    queue: int


class Model(BaseModel):
    """The model that is served."""

    name: str
    licence: str
    engine: str
    classes: list[str]
    thing_classes: list[str]
    palette: list[list[int]] | None
    tasks: list[str]
    default_tasks: list[str]
    thresholds: Thresholds
    limits: LimitsOfServer
    formats: list[str]
    version: str


class Error(BaseModel):
    """What was found, and what to do."""

    error: str
    detail: str
    remedy: str
    request_id: str


def _parameter(name: str, kind: str, description: str, **schema: object) -> dict:
    return {
        'name': name,
        'in': 'query',
        'required': False,
        'description': description,
        'schema': {'type': kind, **schema},
    }


_SHARE = dict(minimum=0, maximum=1)
PARAMETERS = [
    _parameter('tasks', 'string', "panoptic,instance,semantic; the model's by default"),
    _parameter('score_thr', 'number', 'Least score of an instance', default=0.3, **_SHARE),
    _parameter('object_mask_thr', 'number', 'Least class probability of a segment', **_SHARE),
    _parameter('iou_thr', 'number', 'Least visible share of a segment', **_SHARE),
    _parameter('max_per_image', 'integer', 'Instances at most', minimum=1),
    _parameter('orientation', 'string', "Of the image's EXIF", enum=['upright', 'stored']),
    _parameter('format', 'string', 'png: one of panoptic, semantic', enum=['json', 'png']),
]
BODY = {
    'required': True,
    'description': f'One image as it is in its file: of {", ".join(ALL_KINDS)} those that '
    '/v1/model names',
    'content': {'image/*': {'schema': {'type': 'string', 'format': 'binary'}}},
}
