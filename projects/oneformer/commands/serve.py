"""Serve a model over HTTP: an API, and the page in the browser with the work done here."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import oneformer_cli

from oneformer_runtime.engine import PRECISIONS as OF_EXPORTED
from oneformer_runtime.model_json import exported_folder
from oneformer_runtime.serving import Predictor, check_installed
from oneformer_runtime.serving.arguments import (
    add_arguments,
    add_engine_arguments,
    load_exported,
    settings_of,
)

from ..zoo import find_config
from .arguments import ToolParser, add_trust_pickle

# options that only weights of torch have
_OF_TORCH = ('model', 'trust_pickle')
# number formats of torch; that package would be imported for them
_PRECISIONS = ('fp32', 'tf32', 'bf16', 'fp16')


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Serve a model over HTTP: the page, POST /v1/predict (an image in, JSON with '
        'run lengths or a PNG out), health and metrics; see docs/serve.md. An exported model is '
        'run by onnxruntime and needs no torch.',
    )
    parser.add_argument(
        'checkpoint',
        metavar='FOLDER_OR_WEIGHTS',
        help='folder of an exported model, or a checkpoint: file, folder, URL, id on the Hugging '
        'Face hub, or name of oneformer list, whose published weights are fetched once',
    )
    parser.add_argument('--model', help='config of a checkpoint (that of the training)')
    add_trust_pickle(parser)
    parser.add_argument('--device', help='such as cuda:1 or cpu (a GPU if there is one)')
    add_engine_arguments(parser, tuple(dict.fromkeys((*_PRECISIONS, *OF_EXPORTED))))
    add_arguments(parser)
    return parser


def _load_weights(args: argparse.Namespace) -> Predictor:
    """A model of torch, which is imported only here."""
    oneformer_cli.with_the_stack()
    import torch

    from oneformer.inference import OneFormerInferencer
    from oneformer.inference.served_model import TorchPredictor

    model, weights = args.model, args.checkpoint
    if model is None and _is_config(weights):
        model, weights = weights, None
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    inferencer = OneFormerInferencer(
        model,
        weights,
        args.device,
        args.trust_pickle,
        precision=args.precision,
        engine=args.engine,
    )
    return TorchPredictor(inferencer, Path(args.checkpoint).stem)


def _is_config(name: str) -> bool:
    """Whether a name is of a config, or of a model of the zoo."""
    if Path(name).exists() and not name.endswith('.py'):
        return False
    try:
        find_config(name)
    except FileNotFoundError:
        return False
    return True


def _check(args: argparse.Namespace, folder: Path | None, parser: ToolParser) -> None:
    """End with a usage error for options that do not go together."""
    if args.threads is not None:
        parser.require_positive(args, 'threads')
    if folder is None:
        if args.workers > 1:
            parser.error(
                f'--workers {args.workers}: a model of torch predicts one image at a time: leave '
                'it out, or export the model (oneformer export)'
            )
        return
    given = [name for name in _OF_TORCH if getattr(args, name)]
    if args.precision is not None and args.precision not in OF_EXPORTED:
        given.append('precision')
    if args.device not in (None, 'cpu'):
        given.append('device')
    if given:
        option = f'--{given[0].replace("_", "-")}'
        parser.error(
            f'{folder} is an exported model, run by {args.engine or "onnxruntime"} on the CPU: '
            f'leave out {option}'
        )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    folder = exported_folder(args.checkpoint)
    _check(args, folder, parser)
    load: Callable[[], Predictor] = lambda: (  # noqa: E731
        _load_weights(args) if folder is None else load_exported(folder, args)
    )
    try:
        settings = settings_of(args)
        check_installed()
        from oneformer_runtime.serving.server import log_to_stderr, serve

        log_to_stderr()
        serve(load, settings)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:  # while the model is loaded
        sys.exit(130)
