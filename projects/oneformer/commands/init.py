"""Write a config for labels of one's own: ``oneformer init my_project --labels instance``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..host.safe_io import replacing
from ..zoo import find_config
from .arguments import ToolParser

_FILES = dict(
    panoptic=dict(
        ann_file='{split}.json', data_prefix=dict(img='{split}/', seg='{split}_segments/')
    ),
    instance=dict(ann_file='{split}.json', data_prefix=dict(img='{split}/')),
    semantic=dict(data_prefix=dict(img='{split}/', seg='{split}_labels/')),
)
_LAYOUT = dict(
    panoptic='COCO panoptic: {split}.json, PNGs of segments in {split}_segments/',
    instance='COCO instance: {split}.json',
    semantic='a PNG of class numbers for each image in {split}_labels/',
)
_CONFIG = """\
# {name}: OneFormer on {labels} labels. All that may be set: docs/your_data.md
_base_ = 'oneformer::your_data/{recipe}.py'  # its recipe; {other}
names = dict(classes={classes!r}, thing_classes={things!r})  # all, and those counted
# below data_root: images in train/ and val/; {layout}
train = dict(data_root={root!r}, metainfo=names, {train})
val = dict(data_root={root!r}, metainfo=names, {val})
model = dict(metainfo=names)
train_dataloader = dict(dataset=train)
val_dataloader = test_dataloader = dict(dataset=val)
max_iters = {max_iters}  # length of training; oneformer check recommends this and the next two
image_size = {image_size}  # short edge of images in pixels
crop_size = {crop_size}  # side in pixels of the squares that training cuts out
work_dir = {work_dir!r}
"""


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Write FOLDER/config.py, a commented config of some lines for labels of your '
        'own, and say what comes next. Labels of annotation tools are better given to oneformer '
        'convert-labels, which also writes the config.',
    )
    parser.add_argument('folder', type=Path, help='folder of the project, new or existing')
    parser.add_argument('--labels', choices=list(_FILES), default='panoptic', help='(%(default)s)')
    parser.add_argument('--classes', nargs='+', help='names of the classes, in your order')
    parser.add_argument(
        '--things', nargs='+', help='the classes that are counted (of instance labels all)'
    )
    parser.add_argument(
        '--data-root', type=Path, help='folder of images and labels (data in FOLDER)'
    )
    parser.add_argument(
        '--gpu', action='store_true', help='ResNet-50 on a GPU, not the small model on a CPU'
    )
    return parser


def _class_names(parser: ToolParser, args) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All classes and things as asked for, or examples of the kind of labels."""
    if args.classes is None:
        if args.things:
            parser.error('--things needs --classes, among which they are')
        things = ('cat', 'dog')
        return things if args.labels == 'instance' else (*things, 'grass', 'sky'), things
    classes = tuple(args.classes)
    things = tuple(args.things or (classes if args.labels == 'instance' else ()))
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        parser.error(f'--classes: {twice[0]} is there twice')
    if others := [name for name in things if name not in classes]:
        parser.error(f'--things: {others[0]} is not among --classes')
    if args.labels == 'instance' and set(things) != set(classes):
        parser.error('--things: with instance labels all classes are things')
    if args.labels == 'panoptic' and not things:
        parser.error('--things: name those of the classes that are counted')
    return classes, things


def _split_arguments(labels: str, split: str) -> str:
    """Arguments of a dataset for a part of the division, as Python."""
    words = [
        f'{key}={value.format(split=split)!r}'
        if isinstance(value, str)
        else f'{key}=dict({", ".join(f"{k}={v.format(split=split)!r}" for k, v in value.items())})'
        for key, value in _FILES[labels].items()
    ]
    return ', '.join(words)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    classes, things = _class_names(parser, args)
    path = args.folder / 'config.py'
    if path.exists():
        sys.exit(f'error: {path} exists already: give another folder, or move it away')
    root = (args.data_root or args.folder / 'data').resolve()
    base, other = f'{args.labels}_gpu', 'for a GPU; a small one for a CPU is without _gpu'
    if not args.gpu:
        base, other = args.labels, 'of a small model for a CPU; with _gpu of a ResNet-50'
    try:
        with replacing(path, ending='.py') as temporary:
            recipe = Config.fromfile(find_config(f'your_data/{base}'))
            text = _CONFIG.format(
                name=args.folder.resolve().name,
                labels=args.labels,
                recipe=base,
                other=other,
                classes=classes,
                things=things,
                layout=_LAYOUT[args.labels].format(split='SPLIT'),
                root=f'{root}/',
                train=_split_arguments(args.labels, 'train'),
                val=_split_arguments(args.labels, 'val'),
                work_dir=str(args.folder.resolve() / 'work_dir'),
                **{key: recipe[key] for key in ('max_iters', 'image_size', 'crop_size')},
            )
            temporary.write_text(text, encoding='utf-8')
            Config.fromfile(temporary)
    except OSError as error:
        sys.exit(f'error: {error}')
    named = 'put your classes into it, and ' if args.classes is None else ''
    print(f'{path}: {named}put images and labels into {root} as it says')
    print(f'next: oneformer check {path}')
