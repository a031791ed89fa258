"""Export a trained model to ONNX: ``oneformer export WEIGHTS --out-dir FOLDER``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from oneformer_runtime.description import ModelDescription
from oneformer_runtime.model_json import exported_folder, read_description

from ..deploy.description import describe_model
from ..deploy.exporting import export_model
from ..deploy.int8 import MAX_DROP, add_int8, read_labelled_config
from ..deploy.labelled_set import LabelledSet
from ..deploy.tracing import DEFAULT_OPSET, OPSETS
from ..inference.loading import load_trained
from .arguments import ToolParser, add_trust_pickle, config_file


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Export a trained model to ONNX: a folder of model.onnx, which predicts any '
        'task of images of any size, and model.json, which says how. The graph is compared with '
        'the model, and kept only if they agree. oneformer predict --weights FOLDER, '
        'oneformer_runtime (without torch), onnxruntime and OpenVINO take it. With --int8 a '
        'quantised model_int8.onnx stands beside, if its scores on labelled images allow it.',
    )
    parser.add_argument(
        'weights',
        help='checkpoint of training, or another one of a OneFormer (file, folder, URL, id on the '
        'Hugging Face hub, name of the zoo); with --int8 also the folder of an exported model, '
        'to which it is added',
    )
    parser.add_argument('--out-dir', help='folder to write')
    parser.add_argument(
        '--model', type=config_file, help='config, or its name (default: of the checkpoint)'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='take images of one size, into which all are fitted (default: any size)',
    )
    parser.add_argument(
        '--opset',
        type=int,
        choices=OPSETS,
        default=DEFAULT_OPSET,
        help='version of the operators of ONNX (%(default)s)',
    )
    parser.add_argument(
        '--check', nargs='+', default=[], metavar='IMAGE', help='images to compare on, too'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an exported model in the folder'
    )
    add_trust_pickle(parser)
    parser.add_argument(
        '--int8',
        action='store_true',
        help='also write model_int8.onnx, with PQ, AP and mIoU of both on labelled images, and of '
        'each class, in model.json; it is not kept if it loses too much, or a class',
    )
    parser.add_argument(
        '--evaluate',
        type=config_file,
        metavar='CONFIG',
        help='config, or its name, whose test set --int8 is scored on (default: --model)',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='overrides of the config of --evaluate'
    )
    parser.add_argument(
        '--int8-images', type=int, help='images of the test set, spread over it (default: all)'
    )
    parser.add_argument(
        '--int8-max-drop',
        type=float,
        default=MAX_DROP,
        help='points of PQ, AP and mIoU that --int8 may lose (%(default)s)',
    )
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    args.folder = exported_folder(args.weights)
    if args.folder is None and args.out_dir is None:
        parser.error('no folder to write: give it as --out-dir')
    if args.folder is not None and not args.int8:
        parser.error(f'{args.weights} is an exported model: --int8 adds a quantised one to it')
    if args.folder is not None and args.out_dir is not None:
        parser.error(f'--int8 adds to {args.weights} itself: leave out --out-dir')
    args.evaluate = args.evaluate or args.model
    if args.int8 and args.evaluate is None:
        parser.error(
            '--int8 is kept only with its scores: give a config whose test set has labels, as '
            '--evaluate'
        )
    if args.int8_images is not None and args.int8_images < 1:
        parser.error(f'--int8-images has to be at least 1, not {args.int8_images}')
    if not args.int8_max_drop >= 0:
        parser.error(f'--int8-max-drop has to be 0 or more, not {args.int8_max_drop}')
    return args


def labelled_set(args: argparse.Namespace, description: ModelDescription) -> LabelledSet:
    """The images that int8 is scored on."""
    cfg = read_labelled_config(args.evaluate, args.cfg_options)
    return LabelledSet(cfg, description, args.int8_images)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    MMLogger.get_instance('oneformer')
    try:
        folder = args.folder or Path(args.out_dir)
        if args.folder is None:
            labelled = export(args)
        else:
            labelled = labelled_set(args, read_description(folder))
        if labelled is not None:
            add_int8(folder, labelled, args.int8_max_drop)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(folder)


def export(args: argparse.Namespace) -> LabelledSet | None:
    """Write the folder, and return the images that int8 is scored on, which are looked at first."""
    model, settings, meta = load_trained(args.model, args.weights, 'cpu', args.trust_pickle)
    labelled = None
    if args.int8:
        labelled = labelled_set(args, describe_model(model, settings.pipeline, meta))
    export_model(
        model,
        settings.pipeline,
        meta,
        args.out_dir,
        name=Path(args.weights).stem,
        size=None if args.size is None else tuple(args.size),
        opset=args.opset,
        images=args.check,
        overwrite=args.overwrite,
    )
    return labelled
