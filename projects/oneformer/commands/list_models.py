"""Print the model zoo."""

import sys
from collections.abc import Sequence

from ..zoo import text_table, write_markdown, zoo_models
from .arguments import ToolParser


def make_parser(prog: str | None = None) -> ToolParser:
    models = zoo_models()
    parser = ToolParser(
        prog=prog,
        description='List the models. All numbers are published by the authors of OneFormer and of '
        'EoMT (validation sets), and were not measured here.',
    )
    parser.add_argument(
        '--dataset', choices=list(dict.fromkeys(model.dataset_key for model in models))
    )
    parser.add_argument(
        '--backbone', choices=list(dict.fromkeys(model.backbone_key for model in models))
    )
    parser.add_argument(
        '--markdown', metavar='PAGE', help='write all tables into this page, e.g. docs/model_zoo.md'
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    models = zoo_models()
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.markdown:
        if args.dataset or args.backbone:
            parser.error('--markdown writes all tables: leave --dataset and --backbone out')
        try:
            write_markdown(args.markdown, models)
        except (OSError, ValueError) as error:
            sys.exit(f'error: {error}')
        return
    models = [
        model
        for model in models
        if args.dataset in (None, model.dataset_key) and args.backbone in (None, model.backbone_key)
    ]
    if not models:
        sys.exit(f'no model with backbone {args.backbone} for {args.dataset}')
    print(text_table(models))
    print('\nPublished by the authors of OneFormer and EoMT (validation sets), not measured here.')
    print('Weights are fetched by the name: oneformer predict IMAGE --model NAME')
