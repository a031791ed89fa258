"""Experiments whose tables are in docs/: ``oneformer study STUDY``.

``partial-labels`` splits the quick start's images in three, a third each with panoptic, only
instance, and only semantic labels of some of the classes, and compares training on all of them with
training on the panoptic third alone. ``contrastive-memory`` trains the quick start on one image at
a time, without and with a memory of past images in the contrastive loss. All metrics go to
``work_dirs/STUDY.json``, the table to ``work_dirs/STUDY.md``. An interrupted run continues with
the next training.
"""

import argparse
import copy
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from ..host.safe_io import write_bytes, write_json
from ..quickstart.scenes import generate
from ..quickstart.training import evaluate, train
from ..run_length import code_area, encode_mask, json_code
from ..training.evaluate import HEADLINE
from ..zoo import ZOO
from .arguments import ToolParser


def split_labels(folder: Path, label_classes: list[str]) -> None:
    """Write the three thirds of a generated dataset beside its panoptic labels.

    Image i has labels of kind i modulo 3: ``panoptic_third.json``; ``instance_third.json`` (things,
    run-length coded); ``semantic_third.txt`` (names) and ``semantic_train/``, label PNGs in which
    255 is void and everything that is not among the classes.

    Args:
        folder: Folder of the dataset, as ``oneformer demo-data`` writes it.
        label_classes: Names of the classes in the label PNGs, in the order of their values.
    """
    content = json.loads((folder / 'panoptic_train.json').read_text())
    thirds = [{a['image_id'] for a in content['annotations'][i::3]} for i in range(3)]
    category_of = {c['id']: c for c in content['categories']}

    def of_third(i: int) -> dict:
        return dict(
            images=[image for image in content['images'] if image['id'] in thirds[i]],
            annotations=[a for a in content['annotations'] if a['image_id'] in thirds[i]],
            categories=content['categories'],
        )

    def id_map(annotation: dict) -> np.ndarray:
        png = np.array(Image.open(folder / 'panoptic_train' / annotation['file_name']), np.int32)
        return png @ np.array([1, 256, 65536], np.int32)

    write_json(folder / 'panoptic_third.json', of_third(0))

    instances = of_third(1)
    records = []
    for annotation in instances['annotations']:
        ids = id_map(annotation)
        for segment in annotation['segments_info']:
            if not category_of[segment['category_id']]['isthing']:
                continue
            code = encode_mask(ids == segment['id'])
            records.append(
                dict(
                    id=len(records) + 1,
                    image_id=annotation['image_id'],
                    category_id=segment['category_id'],
                    iscrowd=segment['iscrowd'],
                    area=code_area(code),
                    segmentation=json_code(code),
                )
            )
    instances['annotations'] = records
    instances['categories'] = [c for c in content['categories'] if c['isthing']]
    write_json(folder / 'instance_third.json', instances)

    semantic = of_third(2)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        pngs = Path(temporary) / 'pngs'
        pngs.mkdir()
        for annotation in semantic['annotations']:
            ids = id_map(annotation)
            labels = np.full(ids.shape, 255, np.uint8)
            for segment in annotation['segments_info']:
                name = category_of[segment['category_id']]['name']
                if name in label_classes:
                    labels[ids == segment['id']] = label_classes.index(name)
            Image.fromarray(labels).save(pngs / annotation['file_name'])
        shutil.rmtree(folder / 'semantic_train', ignore_errors=True)
        pngs.rename(folder / 'semantic_train')
    names = [Path(annotation['file_name']).stem for annotation in semantic['annotations']]
    (folder / 'semantic_third.txt').write_text('\n'.join(names) + '\n')


def train_and_score(config: Path, seed: int, max_iters: int | None) -> dict[str, float]:
    """Train with a seed and score the result on the validation images."""
    cfg = Config.fromfile(config)
    cfg.work_dir = f'{cfg.work_dir}/seed{seed}'
    cfg.randomness = dict(seed=seed)
    if max_iters:
        cfg.train_cfg.max_iters = max_iters
    cfg.experiment_name = f'{config.stem}_seed{seed}'
    checkpoint = train(copy.deepcopy(cfg), interval=50)
    return evaluate(cfg, checkpoint)[1]


def table(results: dict[str, dict], variants: Iterable[str]) -> str:
    """Mean and, over the seeds, standard deviation of each variant, as Markdown."""
    lines = ['| training | seeds | ' + ' | '.join(HEADLINE.values()) + ' |', '|' + ' --- |' * 5]
    for variant in variants:
        runs = [run for name, run in results.items() if name.startswith(f'{variant}/')]
        cells = []
        for key in HEADLINE.values():
            values = np.array([run[key] for run in runs])
            cells.append(f'{values.mean():.1f} ± {values.std():.1f}')
        lines.append(f'| {variant} | {len(runs)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def compare(study: str, configs: dict[str, Path], args: argparse.Namespace) -> None:
    """Train each config with each seed, and print the table.

    Args:
        study: Name of the study and of its files of results.
        configs: Files of the configs by variant.
        args: Arguments of the command line.
    """
    file = Path(f'work_dirs/{study}.json')
    contents = {variant: Config.fromfile(config) for variant, config in configs.items()}
    settings = dict(
        images=args.images,
        val_images=args.val_images,
        max_iters=args.max_iters or next(iter(contents.values())).train_cfg.max_iters,
        configs={variant: content.pretty_text for variant, content in contents.items()},
    )
    stored = json.loads(file.read_text()) if file.exists() else dict(settings=settings, runs={})
    if stored['settings'] != settings:
        raise SystemExit(f'{file} is of other numbers of images or configs: move it away')
    for seed in range(args.seeds):
        for variant, config in configs.items():
            name = f'{variant}/seed{seed}'
            if name not in stored['runs']:
                print(f'training {name}', flush=True)
                stored['runs'][name] = train_and_score(config, seed, args.max_iters)
                write_json(file, stored)
            run = stored['runs'][name]
            print(name, {key: round(run[key], 1) for key in HEADLINE.values()}, flush=True)
    lines = table(stored['runs'], configs)
    write_bytes(file.with_suffix('.md'), f'{lines}\n'.encode())
    print(f'{lines}\nall metrics in {file}')


def configs_of(study: str, variants: Iterable[str]) -> dict[str, Path]:
    """Files of the configs of a study."""
    return {variant: ZOO / f'studies/{study}_{variant}.py' for variant in variants}


def partial_labels(args: argparse.Namespace) -> None:
    """Compare training on the panoptic third with training on all thirds."""
    configs = configs_of('partial-labels', ('alone', 'joint'))
    joint = Config.fromfile(configs['joint'])
    folder = Path(joint.data_root)
    generate(folder, train=args.images, val=args.val_images)
    split_labels(folder, list(joint.train_dataloader.dataset.datasets[2].label_classes))
    compare('partial-labels', configs, args)


def contrastive_memory(args: argparse.Namespace) -> None:
    """Compare training on one image at a time without and with a memory of past images."""
    configs = configs_of('contrastive-memory', ('without', 'with'))
    data_root = Config.fromfile(configs['with']).data_root
    generate(data_root, train=args.images, val=args.val_images)
    compare('contrastive-memory', configs, args)


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    studies = parser.add_subparsers(dest='study', required=True)
    for name, run, images, what in (
        ('partial-labels', partial_labels, 120, 'joint training on three kinds of labels'),
        ('contrastive-memory', contrastive_memory, 480, 'one image at a time, and past ones'),
    ):
        study = studies.add_parser(name, help=what)
        study.add_argument(
            '--seeds', type=int, default=3, help='trainings of each kind (%(default)s)'
        )
        study.add_argument('--images', type=int, default=images, help='to train on (%(default)s)')
        study.add_argument('--val-images', type=int, default=80, help='to score on (%(default)s)')
        study.add_argument('--max-iters', type=int, help='of each training (that of the configs)')
        study.set_defaults(run=run)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    args.run(args)
