"""Print the model zoo: ``python tools/list_models.py [--dataset coco] [--backbone swin-l]``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'projects'))

from oneformer.training.arguments import ToolParser  # noqa: E402
from oneformer.zoo import ZOO, read_zoo, text_table, write_markdown  # noqa: E402


def main() -> None:
    models = read_zoo(ZOO / 'metafile.yml')
    parser = ToolParser(
        description='List the models. All numbers are published by the authors of the original, '
        'on the validation sets, and were not measured here.'
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
    args = parser.parse_args()
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
    print('\nPublished by the authors of the original (validation sets), not measured here.')
    print('Weights are fetched by the name: python tools/predict.py IMAGE --model NAME')


if __name__ == '__main__':
    main()
