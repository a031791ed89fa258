"""Arguments of ``oneformer page`` and of ``python -m oneformer_runtime.page``, and what they do."""

import argparse
import sys
from pathlib import Path

from ..description import DescriptionError
from .builder import build_page
from .onnxruntime_web import VERSION, RuntimeMissingError
from .static_server import serve_folder

DESCRIPTION = (
    'Build a page that predicts in the browser: a static folder of the exported model, '
    'onnxruntime-web and the page, which any server of files can serve. Nothing is sent anywhere.'
)

_MUCH = 150_000_000  # bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument('folder', help='folder of an exported model (oneformer export)')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write')
    parser.add_argument(
        '--onnxruntime-web',
        metavar='TGZ_OR_FOLDER',
        help=f'npm package onnxruntime-web {VERSION} (default: fetched by npm once, then cached)',
    )
    parser.add_argument(
        '--examples', nargs='+', default=[], metavar='IMAGE', help='images that the page offers'
    )
    parser.add_argument(
        '--serve', action='store_true', help='serve it to this machine, until Ctrl + C'
    )
    parser.add_argument('--port', type=int, help='of --serve (default: a free one)')


def _check_port(args: argparse.Namespace) -> None:
    if args.port is not None and not args.serve:
        raise ValueError('--port is of --serve: give both, or none')
    if args.port is not None and not 0 <= args.port < 1 << 16:
        raise ValueError(f'--port is {args.port}: it has to be from 0 to 65535')


def run(args: argparse.Namespace) -> int:
    """Build the page; returns the exit code."""
    try:
        _check_port(args)
        out_dir = build_page(args.folder, args.out, args.onnxruntime_web, args.examples)
    except (DescriptionError, RuntimeMissingError, ImportError, OSError, ValueError) as error:
        print(f'{error}', file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in Path(out_dir).rglob('*') if path.is_file())
    print(f'{out_dir}: {size / 1e6:.0f} MB')
    if size > _MUCH:
        print(
            'everybody who opens the page loads all of it, and has to have the memory: for many '
            'people let a server predict (oneformer serve)'
        )
    if not args.serve:
        print(f'serve it by any server of files, as: python -m http.server -d {args.out}')
        return 0
    try:
        serve_folder(out_dir, args.port or 0)
    except OSError as error:
        print(f'{error}', file=sys.stderr)
        return 1
    return 0
