"""Draws the pictures of understand.md: ``python docs/drawings.py``.

A picture is a grid of boxes with arrows between them. The lower line of a box is a file of
``projects/oneformer``; ``tests/test_docs.py`` finds each, and that the pictures are as drawn here.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / 'images'
WIDTH, HEIGHT = 208, 52  # of a box, in pixels
STEP_X, STEP_Y = 250, 104  # from box to box
MARGIN = 26
DATA, CODE, TRAINING = 'data', 'code', 'training'
STYLES = {
    DATA: 'fill="#f3f4f6" stroke="#9ca3af"',
    CODE: 'fill="#e0e7ff" stroke="#4f46e5"',
    TRAINING: 'fill="#fef3c7" stroke="#d97706" stroke-dasharray="6 4"',
}


@dataclass(frozen=True)
class Box:
    """A box of a picture.

    Attributes:
        column: Place from the left, from 0; halves are allowed.
        row: Place from above, from 0.
        title: What it is or does.
        file: File or folder below ``projects/oneformer``, empty for data.
        style: ``DATA``, ``CODE``, or ``TRAINING`` for what prediction does without.
    """

    column: float
    row: float
    title: str
    file: str = ''
    style: str = CODE

    def side(self, name: str) -> tuple[float, float]:
        """Middle of a side, ``l``, ``r``, ``t`` or ``b``, in pixels."""
        x, y = MARGIN + self.column * STEP_X, MARGIN + self.row * STEP_Y
        return {
            'l': (x, y + HEIGHT / 2),
            'r': (x + WIDTH, y + HEIGHT / 2),
            't': (x + WIDTH / 2, y),
            'b': (x + WIDTH / 2, y + HEIGHT),
        }[name]

    def svg(self) -> str:
        """The box as SVG."""
        x, y = self.side('l')[0], self.side('t')[1]
        lines = [self.title, self.file] if self.file else [self.title]
        first = y + HEIGHT / 2 + (5 if len(lines) == 1 else -4)
        texts = [
            f'<text x="{x + WIDTH / 2:g}" y="{first + 18 * k:g}" '
            f'class="{"file" if k else "title"}">{escape(line)}</text>'
            for k, line in enumerate(lines)
        ]
        frame = f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="7"'
        return '\n'.join([f'{frame} {STYLES[self.style]}/>', *texts])


def arrow(boxes: dict[str, Box], line: str) -> str:
    """An arrow as SVG.

    Args:
        boxes: By their keys.
        line: ``from.side to.side`` and the label, if there is one.
    """
    start, end, *label = line.split(maxsplit=2)
    (first, leaves), (last, enters) = (place.split('.') for place in (start, end))
    (x1, y1), (x2, y2) = boxes[first].side(leaves), boxes[last].side(enters)
    if leaves in 'lr' and enters in 'lr':
        middle = (x1 + x2) / 2
        path = f'M{x1:g} {y1:g}H{middle:g}V{y2:g}H{x2:g}'
    elif leaves in 'tb' and enters in 'tb':
        middle = (y1 + y2) / 2
        path = f'M{x1:g} {y1:g}V{middle:g}H{x2:g}V{y2:g}'
    else:
        path = (
            f'M{x1:g} {y1:g}H{x2:g}V{y2:g}' if leaves in 'lr' else f'M{x1:g} {y1:g}V{y2:g}H{x2:g}'
        )
    svg = f'<path d="{path}" class="arrow"/>'
    if label:
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        svg += f'\n<text x="{x + 6:g}" y="{y:g}" class="label">{escape(label[0])}</text>'
    return svg


def picture(title: str, boxes: dict[str, Box], arrows: str) -> str:
    """A picture as SVG.

    Args:
        title: What readers of the page hear of it.
        boxes: By the keys that the arrows have.
        arrows: One a line, see ``arrow``.
    """
    width = MARGIN * 2 + WIDTH + STEP_X * max(box.column for box in boxes.values())
    height = MARGIN * 2 + HEIGHT + STEP_Y * max(box.row for box in boxes.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
        f'<title>{escape(title)}</title>',
        '<style>text{font-family:sans-serif;text-anchor:middle;fill:#111827}.title{font-size:13px}',
        '.file{font-size:11px;font-family:monospace;fill:#374151}',
        '.label{font-size:11px;text-anchor:start;fill:#374151}',
        '.arrow{fill:none;stroke:#374151;stroke-width:1.4;marker-end:url(#head)}</style>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"',
        ' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#374151"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#ffffff"/>',
        *(arrow(boxes, line) for line in arrows.strip().splitlines()),
        *(box.svg() for box in boxes.values()),
        '</svg>\n',
    ]
    return '\n'.join(parts)


MODEL = dict(
    image=Box(0, 0, 'image', style=DATA),
    backbone=Box(1, 0, 'backbone', 'backbones/'),
    pixels=Box(2, 0, 'pixel decoder', 'models/pixel_decoder.py'),
    decoder=Box(3, 0, 'masked decoder', 'models/transformer.py'),
    head=Box(4, 0, 'classes and masks', 'models/oneformer_head.py'),
    fusion=Box(5, 0, 'fusion', 'models/fusion.py'),
    out=Box(5, 1, 'panoptic, instance, semantic', style=DATA),
    word=Box(0, 1, '"the task is {task}"', 'tasks.py'),
    queries=Box(2, 1, 'task queries', 'models/task_queries.py'),
    criterion=Box(4, 1, 'matching and losses', 'models/criterion.py', TRAINING),
    texts=Box(0, 2, '"a photo with a {class}"', 'tasks.py', TRAINING),
    mapper=Box(1, 2, 'text queries', 'models/text_mapper.py', TRAINING),
    contrast=Box(2, 2, 'contrastive loss', 'models/contrastive_loss.py', TRAINING),
    map=Box(3, 2, 'integer map of segments', style=DATA),
    targets=Box(4, 2, 'targets of the task', 'models/targets.py', TRAINING),
)
MODEL_ARROWS = """
image.r backbone.l
backbone.r pixels.l
pixels.r decoder.l
pixels.b queries.t
decoder.r head.l
head.r fusion.l
fusion.b out.t
word.r queries.l
queries.r decoder.b
head.b criterion.t
targets.t criterion.b
map.r targets.l
queries.b contrast.t
texts.r mapper.l
mapper.r contrast.l
"""
SAMPLE = dict(
    files=Box(0, 0, 'image and label files', style=DATA),
    entries=Box(1, 0, 'entries, checked', 'datasets/base.py'),
    load=Box(2, 0, 'image, map of segments', 'datasets/segment_map.py'),
    sizes=Box(3, 0, 'resize, jitter', 'datasets/geometry.py'),
    task=Box(4, 0, 'a task and its texts', 'datasets/task_sampling.py', TRAINING),
    pack=Box(4, 1, 'packed sample', 'datasets/packing.py'),
    rules=Box(2, 1, 'orientation and depth', 'images/rules.py'),
    model=Box(3, 1, 'model', 'models/oneformer.py'),
    targets=Box(4, 2, 'targets', 'models/targets.py', TRAINING),
    loss=Box(4, 3, 'losses', 'models/criterion.py', TRAINING),
    fusion=Box(3, 2, 'predictions', 'models/fusion.py'),
    pq=Box(1, 3, 'PQ', 'evaluation/panoptic_quality.py'),
    ap=Box(2, 3, 'AP', 'evaluation/instance_ap.py'),
    iou=Box(3, 3, 'mIoU', 'evaluation/semantic_iou.py'),
    arrays=Box(2, 2, 'arrays', 'results/prediction.py'),
    written=Box(1, 2, 'files of other tools', 'results/files.py'),
)
SAMPLE_ARROWS = """
files.r entries.l
entries.r load.l
rules.t load.b
load.r sizes.l
sizes.r task.l
task.b pack.t
pack.l model.r
pack.b targets.t
targets.b loss.t
model.b fusion.t
fusion.l arrays.r
arrays.l written.r
fusion.b pq.t
fusion.b ap.t
fusion.b iou.t
"""
CHECKPOINT = dict(
    source=Box(0, 0, 'file, URL, id or name', style=DATA),
    predict=Box(0, 1, 'oneformer predict', 'commands/predict.py'),
    inferencer=Box(1, 1, 'in Python: the inferencer', 'inference/inferencer.py'),
    loading=Box(2, 1, 'model for the weights', 'inference/loading.py'),
    sources=Box(2, 0, 'asked: found or fetched', 'weights/sources.py'),
    pickle=Box(3, 0, 'asked: loaded, never run', 'host/unpickling.py'),
    rules=Box(4, 0, 'asked: under our names', 'weights/rules.py'),
    read=Box(3, 1, 'read() gives Weights', 'weights/reading.py'),
    given=Box(0, 3, 'file, URL, id or name', style=DATA),
    test=Box(0, 2, 'oneformer test', 'commands/test.py'),
    evaluate=Box(1, 2, 'scores', 'training/evaluate.py'),
    train=Box(1, 3, 'load_from, --resume', style=DATA),
    safe=Box(2, 2, 'what mmengine asks', 'weights/safe_loaders.py'),
    hook=Box(4, 2, 'what mmengine shows it to', 'weights/hooks.py'),
    fit=Box(5, 1, 'fit()', 'weights/fitting.py'),
    model=Box(5, 0, 'model', 'models/oneformer.py'),
    write=Box(3, 3, 'write(), of the converter', 'weights/writing.py'),
    out=Box(4, 3, 'files of three layouts', style=DATA),
)
CHECKPOINT_ARROWS = """
source.b predict.t
predict.r inferencer.l
inferencer.r loading.l
loading.r read.l
read.t sources.b
read.t pickle.b
read.t rules.b
given.t test.b
test.r evaluate.l
evaluate.r safe.l
given.r train.l
train.r safe.b
safe.r read.l
read.r fit.l
read.r hook.t
hook.r fit.b
fit.t model.b
read.b write.t
write.r out.l
"""
PICTURES = {
    'model.svg': ('From image and task to predictions and losses', MODEL, MODEL_ARROWS),
    'sample.svg': ('From image and label files to losses and scores', SAMPLE, SAMPLE_ARROWS),
    'checkpoint.svg': ('From any checkpoint to a model, and back', CHECKPOINT, CHECKPOINT_ARROWS),
}


def main() -> None:
    for name, (title, boxes, arrows) in PICTURES.items():
        (FOLDER / name).write_text(picture(title, boxes, arrows))


if __name__ == '__main__':
    main()
