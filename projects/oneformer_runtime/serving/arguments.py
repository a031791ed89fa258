"""Options of the server on the command line."""

import argparse
import os
from collections.abc import Sequence

from ..engine import ENGINES, PRECISIONS
from ..onnx_oneformer import OnnxOneFormer
from .predictors import OnnxPredictor
from .settings import ALL_KINDS, Settings

_OWN = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the server."""
    group = parser.add_argument_group('server')
    group.add_argument('--host', default=_OWN.host, help='address to listen at (%(default)s)')
    group.add_argument('--port', type=int, default=_OWN.port, help='0 is a free one (%(default)s)')
    group.add_argument(
        '--allow-host',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME',
        help='names by which clients ask for it, beside localhost and IP addresses',
    )
    group.add_argument(
        '--allow-origin',
        nargs='+',
        action='extend',
        default=[],
        metavar='ORIGIN',
        help='pages of others that may ask, such as https://example.org (none)',
    )
    limits = parser.add_argument_group('limits')
    limits.add_argument(
        '--max-bytes', type=int, default=_OWN.max_bytes, help='of an image file (%(default)s)'
    )
    limits.add_argument(
        '--max-pixels', type=int, default=_OWN.max_pixels, help='of an image (%(default)s)'
    )
    limits.add_argument(
        '--timeout',
        type=float,
        default=_OWN.timeout,
        metavar='SECONDS',
        help='from the whole image to the answer, waiting included (%(default)g)',
    )
    limits.add_argument(
        '--body-timeout',
        type=float,
        default=_OWN.body_timeout,
        metavar='SECONDS',
        help='for a request to come, and one more for each 32 kB (%(default)g)',
    )
    limits.add_argument(
        '--queue', type=int, default=_OWN.queue, help='images that may wait (%(default)s)'
    )
    limits.add_argument(
        '--workers',
        type=int,
        default=_OWN.workers,
        help='images predicted at once, by an exported model (%(default)s)',
    )
    limits.add_argument(
        '--formats',
        nargs='+',
        choices=ALL_KINDS,
        default=list(_OWN.kinds),
        help=f'of images (%(default)s; there are {", ".join(ALL_KINDS)})',
    )


def add_engine_arguments(
    parser: argparse.ArgumentParser, precisions: Sequence[str] = PRECISIONS
) -> None:
    """Add what runs an exported model, and how.

    Args:
        parser: Parser to add to.
        precisions: Choices of ``--precision``.
    """
    parser.add_argument('--threads', type=int, help='threads of a prediction (all cores)')
    parser.add_argument(
        '--engine', choices=ENGINES, help='what runs an exported model (onnxruntime)'
    )
    parser.add_argument(
        '--precision',
        choices=precisions,
        help='number format of the network (fp32); exported models have fp32, by openvino bf16, '
        'and int8 if they were exported with it',
    )


def load_exported(folder: str | os.PathLike, args: argparse.Namespace) -> OnnxPredictor:
    """An exported model by the options of ``add_engine_arguments``; see ``OnnxOneFormer``."""
    options = dict(engine=args.engine, precision=args.precision)
    given = {name: value for name, value in options.items() if value is not None}
    return OnnxPredictor(OnnxOneFormer(folder, threads=args.threads, **given))


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that are given.

    Raises:
        ValueError: For values out of range.
    """
    return Settings(
        host=args.host,
        port=args.port,
        max_bytes=args.max_bytes,
        max_pixels=args.max_pixels,
        timeout=args.timeout,
        body_timeout=args.body_timeout,
        queue=args.queue,
        workers=args.workers,
        kinds=tuple(args.formats),
        allow_hosts=tuple(args.allow_host),
        allow_origins=tuple(args.allow_origin),
    )
