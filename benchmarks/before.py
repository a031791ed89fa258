"""This checkout against another one: loading and checking the nuclei set, in turn.

Each checkout works in a process of its own, with its own code and config, on the same files: the
panoptic labels of the set, and the same nuclei as COCO instances with run-length codes. Samples of
both (image, targets, task and texts) and the numbers that the checkers count have to be equal.
Measured are

* load: the training set, once through the pipeline of training.
* check: the same by ``tools/check_dataset.py``'s code, in one process.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from oneformer.host.safe_io import write_json
from oneformer.run_length import code_area, encode_mask, json_code

from .checkouts import ROOT, Process, processes
from .timing import ResultsDiffer, Row, Variant, alternate, positive_int

_SHARED = Path(os.environ.get('ONEFORMER_SHARED', ROOT.parent / 'shared'))
KINDS = ('panoptic', 'instance')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--against', type=Path, required=True, help='folder of the other checkout, the peer'
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=_SHARED / 'data/dsb2018_panoptic',
        help='folder of the nuclei set (%(default)s; ONEFORMER_SHARED sets the first part)',
    )
    parser.add_argument('--labels', nargs='+', choices=KINDS, default=KINDS)
    parser.add_argument('--images', type=positive_int, help='how many; all by default')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')


def write_instances(data_root: Path, path: Path) -> None:
    """Write the nuclei of the training set as COCO instances, of its panoptic labels."""
    content = json.loads((data_root / 'panoptic_train.json').read_text())
    things = [c for c in content['categories'] if c['isthing']]
    kinds, annotations = {c['id'] for c in things}, []
    for annotation in content['annotations']:
        png = cv2.imread(str(data_root / 'panoptic_train' / annotation['file_name']))
        ids = png @ np.array([65536, 256, 1])
        for segment in annotation['segments_info']:
            if segment['category_id'] not in kinds:
                continue
            code = encode_mask(ids == segment['id'])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=annotation['image_id'],
                    category_id=segment['category_id'],
                    iscrowd=segment.get('iscrowd', 0),
                    area=code_area(code),
                    segmentation=json_code(code),
                )
            )
    write_json(path, dict(images=content['images'], annotations=annotations, categories=things))


def dataset_of(kind: str, args: argparse.Namespace, folder: Path) -> dict:
    """What to change in the training set of the config."""
    common = dict(data_root=f'{args.data_root.resolve()}/')
    if args.images is not None:
        common['indices'] = args.images
    if kind == 'panoptic':
        return common
    path = folder / 'instances.json'
    write_instances(args.data_root, path)
    return dict(common, type='InstanceDataset', ann_file=str(path), data_prefix=dict(img='train/'))


def check_equal(found: Mapping[str, list], what: str) -> None:
    """Raise ResultsDiffer unless both checkouts found the same."""
    ours, peer = found['ours'], found['peer']
    if len(ours) != len(peer):
        raise ResultsDiffer(f'{what}: this checkout has {len(ours)}, the other {len(peer)}')
    differ = [i for i, pair in enumerate(zip(ours, peer)) if pair[0] != pair[1]]
    if differ:
        raise ResultsDiffer(
            f'{what}: {len(differ)} of {len(ours)} differ between the checkouts, the first is '
            f'number {differ[0]}'
        )


def measure(kind: str, dataset: dict, workers: Mapping[str, Process], repeats: int) -> list[Row]:
    """Compare the samples of a kind of labels, then time both in turn."""
    for worker in workers.values():
        worker.ask('open', dataset)
    digests = {name: worker.ask('digest') for name, worker in workers.items()}
    check_equal(digests, f'samples of {kind} labels')

    def asking(worker: Process, what: str) -> Callable:
        return lambda _: worker.ask(what)

    rows = []
    for what in ('load', 'check'):
        variants = {
            name: Variant(run=asking(worker, what), prepare=lambda: None)
            for name, worker in workers.items()
        }

        def check(found: Mapping, what: str = what) -> None:
            if what == 'check':
                check_equal(found, f'numbers of images and segments of {kind} labels')

        seconds = alternate(variants, repeats, check)
        rows.append(Row(f'before/{kind}/{what}', seconds['ours'], seconds['peer']))
    return rows


def run(args: argparse.Namespace) -> list[Row]:
    """Time both checkouts on each kind of labels."""
    if not (args.data_root / 'panoptic_train.json').is_file():
        sys.exit(
            f'error: {args.data_root} has no panoptic_train.json: give the folder of the nuclei '
            'set by --data-root, or the folder above data/dsb2018_panoptic by ONEFORMER_SHARED'
        )
    rows = []
    with (
        tempfile.TemporaryDirectory() as name,
        processes('data_worker.py', args.against, args.threads, Path(name)) as workers,
    ):
        for kind in args.labels:
            dataset = dataset_of(kind, args, Path(name))
            rows += measure(kind, dataset, workers, args.repeats)
    return rows
