"""Segment images and videos: ``oneformer predict INPUT... --model NAME [--weights CKPT]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from oneformer_runtime.engine import ENGINES
from oneformer_runtime.engine import PRECISIONS as OF_EXPORTED

from ..host.freed_memory import keep_freed_memory
from ..images.orientation import ORIENTATIONS
from ..inference import OneFormerInferencer
from ..kernels.attention_paths import CHOICES
from ..kernels.precision import PRECISIONS
from ..results.files import FORMATS
from ..tasks import TASKS
from .arguments import CHECKPOINTS, ToolParser, add_trust_pickle

EXPORTED = [name for name in OF_EXPORTED if name not in PRECISIONS]


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Predict one or more tasks for images and videos from one pass over each, and '
        'write overlays, COCO panoptic PNGs and JSON, COCO instance JSON and label PNGs. Files '
        'that cannot be read are listed at the end, with exit code 1.',
    )
    parser.add_argument(
        'inputs', nargs='*', metavar='INPUT', help='images, videos, folders or globs'
    )
    parser.add_argument(
        '--model',
        help='config, or its name in the zoo (that of the training, which the weights hold)',
    )
    parser.add_argument(
        '--weights',
        help='checkpoint: file, folder, URL, id on the Hugging Face hub, name in the zoo, or '
        'folder of an exported model (the published weights of the model, which are fetched once)',
    )
    add_trust_pickle(parser)
    parser.add_argument('--out-dir', default='predictions', help='(%(default)s)')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, help='(of the config)')
    parser.add_argument(
        '--classes', nargs='+', action='extend', help='names of the classes to keep (all)'
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='least score of an instance (%(default)s)'
    )
    parser.add_argument(
        '--object-mask-thr', type=float, help='of a panoptic segment (of the config)'
    )
    parser.add_argument(
        '--iou-thr', type=float, help='least visible share of a panoptic segment (of the config)'
    )
    parser.add_argument(
        '--max-per-image', type=int, help='instances at most (of the config, or as many as queries)'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='(%(default)s)')
    parser.add_argument('--device', help='such as cuda:1 or cpu (a GPU if there is one)')
    parser.add_argument(
        '--attention',
        choices=CHOICES,
        help='path of deformable attention, see docs/performance.md (of the config, else the '
        'fastest that can run)',
    )
    parser.add_argument(
        '--precision',
        choices=(*PRECISIONS, *EXPORTED),
        help='number format of the network; predictions are made in float32 (of the config, else '
        'fp32); int8 is of exported models, which also have fp32, and with openvino bf16',
    )
    parser.add_argument(
        '--engine', choices=ENGINES, help='what runs an exported model (onnxruntime)'
    )
    parser.add_argument(
        '--frames',
        action='store_true',
        help='of videos also write PNGs and JSON entries of each frame',
    )
    parser.add_argument(
        '--format',
        dest='formats',
        nargs='+',
        action='extend',
        choices=FORMATS,
        help='also write the objects as coco.json (a COCO dataset), labelme/*.json or '
        'yolo/labels/*.txt; see docs/results.md',
    )
    parser.add_argument(
        '--ann-file',
        metavar='JSON',
        help='JSON in COCO format whose ids of images and categories the results have',
    )
    parser.add_argument(
        '--orientation',
        choices=ORIENTATIONS,
        help='of images whose EXIF turns them, and of their results (of the config, else upright)',
    )
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument(
        '--value-range',
        nargs=2,
        type=float,
        metavar=('BLACK', 'WHITE'),
        help='of images with more than 8 bits (of the config, else that of the fewest bits)',
    )
    depth.add_argument(
        '--percentiles',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help="black and white of images with more than 8 bits, in each image's own values",
    )
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    for name in args.inputs:
        if name.endswith(('.py', *CHECKPOINTS)):
            kind, option = (
                ('config', 'model') if name.endswith('.py') else ('checkpoint', 'weights')
            )
            parser.error(f'input {name} is a {kind}: give it as --{option}')
    swallowed = [name for name in args.classes or () if Path(name).is_file()]
    if swallowed:
        parser.error(f'--classes: {swallowed[0]} is a file, not a class: write inputs first')
    if not args.inputs:
        parser.error('no input: write images, videos, folders or globs first, before the options')
    if args.weights is None and args.model is None:
        parser.error(
            'no weights: give a checkpoint as --weights, or a name of oneformer list as '
            '--model, whose published weights are fetched'
        )
    return args


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    keep_freed_memory()
    unreadable, predicted = [], 0
    value_range = dict(percentiles=args.percentiles) if args.percentiles else args.value_range
    try:
        inferencer = OneFormerInferencer(
            args.model,
            args.weights,
            args.device,
            args.trust_pickle,
            precision=args.precision,
            attention=args.attention,
            engine=args.engine,
        )
        for _ in inferencer.stream(
            args.inputs,
            args.out_dir,
            tasks=args.tasks,
            classes=args.classes,
            score_thr=args.score_thr,
            object_mask_thr=args.object_mask_thr,
            iou_thr=args.iou_thr,
            max_per_image=args.max_per_image,
            batch_size=args.batch_size,
            frames=args.frames,
            formats=args.formats or (),
            ann_file=args.ann_file,
            orientation=args.orientation,
            value_range=value_range,
            on_unreadable=lambda name, error: unreadable.append(f'  {name}: {error}'),
        ):
            predicted += 1
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    place = f'; results are in {args.out_dir}' if predicted else ''
    print(f'predicted images and frames: {predicted}{place}')
    if unreadable:
        sys.exit('\n'.join([f'not readable ({len(unreadable)}):', *unreadable]))
