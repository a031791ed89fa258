"""Export a trained model to ONNX: ``oneformer export WEIGHTS --out-dir FOLDER``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import MMLogger

from ..deploy.exporting import export_model
from ..deploy.tracing import DEFAULT_OPSET, OPSETS
from ..inference.trained_model import load_trained
from .arguments import ToolParser, config_file


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Export a trained model to ONNX: a folder of model.onnx, which predicts any '
        'task of images of any size, and model.json, which says how. The graph is compared with '
        'the model, and kept only if they agree. oneformer predict --weights FOLDER, '
        'oneformer_runtime (without torch), onnxruntime and OpenVINO take it.',
    )
    parser.add_argument(
        'weights',
        help='checkpoint of training, or another one of a OneFormer (file, folder, URL, id on the '
        'Hugging Face hub, name of the zoo)',
    )
    parser.add_argument('--out-dir', required=True, help='folder to write')
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
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='load pickles of more than tensors (all .pkl): they may run any code',
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    MMLogger.get_instance('oneformer')
    try:
        model, settings, meta = load_trained(args.model, args.weights, 'cpu', args.trust_pickle)
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
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(args.out_dir)
