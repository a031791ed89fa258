"""Scoring panoptic predictions: ours against mmdet's ``CocoPanopticMetric`` and against hotcoco.

The work is to score all images, from predicted maps in memory to the quality of each class:

* mmdet: ``CocoPanopticMetric`` as mmdet's configs use it. It writes each prediction as a PNG and
  reads it and the annotated PNG back. Ours finds the annotated map on the sample, where the data
  pipeline puts it.
* mmdet_files: the same, but ours also reads the annotated PNG in the measured time.
* hotcoco: its ``pq_compute``, in Rust and in several threads, from files that were written before.
  Ours also reads the annotated PNG.
* instance_ap: not panoptic, but ``InstanceAP`` of the same predictions with hotcoco as its backend,
  against pycocotools, its default: from run lengths to AP.
* run_lengths: not panoptic, but codes of the masks of an image, as instance metrics need them:
  pycocotools' ``encode`` on masks that torch has brought into its order, and ours.

Legend: H, W image size, K classes.
"""

import argparse
import io
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.datasets import CocoPanopticDataset
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.evaluation.metrics import CocoPanopticMetric
from mmengine.fileio import load
from pycocotools import mask as mask_utils

from oneformer.datasets import LoadSegmentMap, PackSegmentInputs, PanopticDataset
from oneformer.evaluation.average_precision import BACKENDS, class_precisions
from oneformer.evaluation.data_sample import coco_record
from oneformer.evaluation.instance_ap import thing_annotations
from oneformer.evaluation.mask_codes import encode_masks
from oneformer.evaluation.panoptic_quality import PanopticQuality, class_quality

from .panopticapi_parts import PQStat, id2rgb, standing_in
from .scenes import CLASSES, NUM_THINGS, draw_segments, warp, write_set
from .timing import ResultsDiffer, Row, Variant, alternate, positive_int

VOID_LABEL = len(CLASSES)
TOLERANCE = 1e-9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--height', type=positive_int, default=480)
    parser.add_argument('--width', type=positive_int, default=640)
    parser.add_argument('--segments', type=positive_int, default=20)
    parser.add_argument('--images', type=positive_int, default=200)
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')


def require_hotcoco() -> None:
    """End with advice if hotcoco is missing."""
    try:
        import hotcoco  # noqa: F401
    except ImportError:
        raise SystemExit(
            'this compares with hotcoco: pip install -r requirements/tests.txt'
        ) from None


def predict(
    rng: np.random.Generator, segment_map: np.ndarray, segments: Sequence[dict]
) -> np.ndarray:
    """Predict as a flawed model: borders moved, some segments lost, merged or misnamed.

    Returns:
        Map of shape (H, W), int64, as ``pred_panoptic_seg`` has it.
    """
    code = [VOID_LABEL]
    for k, segment in enumerate(segments, start=1):
        fate = rng.choice(['keep', 'lose', 'merge', 'misname'], p=[0.76, 0.08, 0.08, 0.08])
        label = int(rng.integers(len(CLASSES))) if fate == 'misname' else segment['label']
        whole = label + INSTANCE_OFFSET * k if label < NUM_THINGS else label
        code.append({'lose': VOID_LABEL, 'merge': code[-1]}.get(fate, whole))
    moved = warp(rng, segment_map.astype(np.float32), 0.02 * segment_map.shape[0])
    return np.array(code)[moved.astype(np.int64)]


class Ours:
    """``PanopticQuality``; with ``read_files`` the annotated PNGs are read as part of the run."""

    def __init__(self, dataset: dict, predictions: Sequence[np.ndarray], read_files: bool) -> None:
        self.dataset = PanopticDataset(**dataset, metainfo='coco', test_mode=True)
        self.load_map, self.pack = LoadSegmentMap(), PackSegmentInputs()
        self.predictions = [
            dict(sem_seg=torch.from_numpy(prediction)[None]) for prediction in predictions
        ]
        numbers = range(len(predictions))
        self.samples = None if read_files else [self.load(number) for number in numbers]

    def load(self, number: int) -> dict:
        """The sample as the test pipeline makes it, but for the image."""
        results = self.dataset.get_data_info(number)
        results['ori_shape'] = results['height'], results['width']
        results['img'] = np.zeros((1, 1, 3), np.uint8)
        return self.pack(self.load_map(results))['data_samples'].to_dict()

    def prepare(self) -> PanopticQuality:
        metric = PanopticQuality()
        metric.dataset_meta = self.dataset.metainfo
        return metric

    def run(self, metric: PanopticQuality) -> np.ndarray:
        for number, prediction in enumerate(self.predictions):
            sample = self.load(number) if self.samples is None else self.samples[number]
            metric.process(None, [dict(sample, pred_panoptic_seg=prediction)])
        metric.compute_metrics(metric.results)
        return class_quality(np.sum(metric.results, axis=0))


def quality_of(stats: Sequence[PQStat]) -> np.ndarray:
    """PQ, SQ, RQ in percent, of shape (K, 3); nan for classes that never occur."""
    quality = np.full((len(CLASSES), 3), np.nan)
    for category_id in set().union(*stats):
        counted = [stat[category_id] for stat in stats if category_id in stat]
        iou, tp = sum(one.iou for one in counted), sum(one.tp for one in counted)
        effort = tp + sum(one.fp + one.fn for one in counted) / 2
        quality[category_id - 1] = [iou / effort, iou / tp if tp else 0, tp / effort]
    return 100 * quality


class Mmdet:
    """``CocoPanopticMetric`` with the annotation file, which spares it counting areas."""

    def __init__(self, dataset: dict, predictions: Sequence[np.ndarray]) -> None:
        root = Path(dataset['data_root'])
        self.files = dict(ann_file=str(root / dataset['ann_file']), seg_prefix=str(root / 'seg'))
        self.predictions = [
            prediction.astype(np.int32) for prediction in predictions
        ]  # as mmdet's heads predict

    def prepare(self) -> tuple[CocoPanopticMetric, list[dict]]:
        with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            metric = CocoPanopticMetric(**self.files)
        metric.dataset_meta = CocoPanopticDataset.METAINFO
        samples = [
            dict(
                img_id=number,
                img_path=f'{number}.jpg',
                ori_shape=prediction.shape,
                # a copy, since the metric changes its input
                pred_panoptic_seg=dict(sem_seg=torch.from_numpy(prediction.copy())[None]),
            )
            for number, prediction in enumerate(self.predictions)
        ]
        return metric, samples

    def run(self, prepared: tuple[CocoPanopticMetric, list[dict]]) -> np.ndarray:
        metric, samples = prepared
        for sample in samples:
            metric.process({}, [sample])
        return quality_of(metric.results)


class Hotcoco:
    """``pq_compute``, but for its table, on predictions in COCO panoptic format."""

    def __init__(self, dataset: dict, predictions: Sequence[np.ndarray], threads: int) -> None:
        os.environ.setdefault('RAYON_NUM_THREADS', str(threads))
        root = Path(dataset['data_root'])
        self.truth, self.predicted = root / dataset['ann_file'], root / 'predicted.json'
        self.folders = dict(gt_folder=root / 'seg', pred_folder=root / 'predicted')
        self.folders['pred_folder'].mkdir()
        annotations = []
        for annotation, prediction in zip(load(str(self.truth))['annotations'], predictions):
            ids = np.where(
                prediction == VOID_LABEL, 0, prediction + 1
            )  # a stuff class may be label 0
            segments = [
                dict(id=code, category_id=(code - 1) % INSTANCE_OFFSET + 1)
                for code in np.unique(ids).tolist()
                if code
            ]
            path = self.folders['pred_folder'] / annotation['file_name']
            cv2.imwrite(str(path), id2rgb(ids)[..., ::-1])
            annotations.append(dict(annotation, segments_info=segments))
        self.predicted.write_text(json.dumps(dict(annotations=annotations)))

    def prepare(self) -> None:
        pass

    def run(self, _: None) -> np.ndarray:
        from hotcoco.panoptic import PanopticEval

        evaluation = PanopticEval(self.truth, self.predicted, **self.folders)
        evaluation.evaluate()
        found = evaluation.results()['per_class']
        rows = [found[label + 1] for label in range(len(CLASSES))]
        quality = 100 * np.array([[row[key] for key in ('pq', 'sq', 'rq')] for row in rows])
        return np.where(quality < 0, np.nan, quality)  # -1 for classes that never occur


def check_equal(qualities: dict[str, np.ndarray]) -> None:
    """Raise ResultsDiffer unless all arrays (K, 3) of PQ, SQ, RQ are equal to 1e-9 percent."""
    (first, expected), *others = qualities.items()
    for name, quality in others:
        equal = np.isclose(quality, expected, rtol=0, atol=TOLERANCE, equal_nan=True).all(1)
        if not equal.all():
            label = int(np.argmin(equal))
            raise ResultsDiffer(
                f'PQ, SQ, RQ of {(~equal).sum()} classes differ, {CLASSES[label]}: '
                f'{quality[label]} by {name}, {expected[label]} by {first}'
            )


def instance_ap(
    scenes: Sequence[tuple[np.ndarray, list[dict]]], predictions: Sequence[np.ndarray], repeats: int
) -> Row:
    """Time AP of the things by either backend."""
    things = np.arange(len(CLASSES)) < NUM_THINGS
    images = []
    for (segment_map, segments), prediction in zip(scenes, predictions):
        height, width = segment_map.shape
        annotations = thing_annotations(segment_map, segments, things)
        codes = [code for code in np.unique(prediction) if code % INSTANCE_OFFSET < NUM_THINGS]
        masks = torch.from_numpy(prediction == np.array(codes)[:, None, None])
        detections = [
            dict(
                category_id=int(code % INSTANCE_OFFSET),
                score=1 - rank / len(codes),
                iscrowd=0,
                **coco_record(mask),
            )
            for rank, (code, mask) in enumerate(zip(codes, encode_masks(masks)))
        ]
        images.append(
            dict(height=height, width=width, annotations=annotations, detections=detections)
        )

    def check(found: dict[str, dict[str, np.ndarray]]) -> None:
        for name, column in found['pycocotools'].items():
            if not np.array_equal(found['hotcoco'][name], column, equal_nan=True):
                raise ResultsDiffer(f'{name} of hotcoco and of pycocotools differ')

    variants = {
        backend: Variant(
            lambda backend: class_precisions(images, things, 100, backend=backend),
            lambda backend=backend: backend,
        )
        for backend in BACKENDS
    }
    seconds = alternate(variants, repeats, check)
    return Row('metrics/instance_ap', seconds['hotcoco'], seconds['pycocotools'])


def encode_by_pycocotools(masks: torch.Tensor) -> list[dict]:
    """Codes of masks (N, H, W); torch transposes twice as fast as numpy."""
    turned = (mask.T.contiguous().numpy().T for mask in masks)
    return [mask_utils.encode(mask.view(np.uint8)) for mask in turned]


def check_codes(codes: dict[str, list]) -> None:
    """Raise ResultsDiffer unless all codes are the same."""
    if codes['ours'] != codes['pycocotools']:
        raise ResultsDiffer('the run-length codes differ')


def run_lengths(segment_map: np.ndarray, repeats: int) -> Row:
    """Time the codes of the segments of an image as masks of their own."""
    numbers = np.arange(1, segment_map.max() + 1)
    masks = torch.from_numpy(segment_map == numbers[:, None, None])
    encoders = dict(ours=encode_masks, pycocotools=encode_by_pycocotools)
    variants = {name: Variant(encode, lambda: masks) for name, encode in encoders.items()}
    seconds = alternate(variants, repeats, check_codes)
    return Row('metrics/run_lengths', seconds['ours'], seconds['pycocotools'])


def run(args: argparse.Namespace) -> list[Row]:
    """Draw images and predictions, check that all score them equally, and time the scoring."""
    require_hotcoco()
    rng = np.random.default_rng(0)
    scenes = [
        draw_segments(rng, args.height, args.width, args.segments) for _ in range(args.images)
    ]
    predictions = [predict(rng, *scene) for scene in scenes]
    with tempfile.TemporaryDirectory() as folder, standing_in():
        write_set(Path(folder), scenes, images=())
        dataset = dict(
            ann_file='panoptic.json', data_root=folder, data_prefix=dict(img='img/', seg='seg/')
        )
        scorers = dict(
            ours=Ours(dataset, predictions, read_files=False),
            ours_files=Ours(dataset, predictions, read_files=True),
            mmdet=Mmdet(dataset, predictions),
            hotcoco=Hotcoco(dataset, predictions, args.threads),
        )
        logging.disable(logging.INFO)  # mmdet logs a table per run
        try:
            seconds = alternate(
                {name: Variant(scorer.run, scorer.prepare) for name, scorer in scorers.items()},
                args.repeats,
                check_equal,
            )
        finally:
            logging.disable(logging.NOTSET)
    return [
        Row('metrics/mmdet', seconds['ours'], seconds['mmdet']),
        Row('metrics/mmdet_files', seconds['ours_files'], seconds['mmdet']),
        Row('metrics/hotcoco', seconds['ours_files'], seconds['hotcoco']),
        instance_ap(scenes, predictions, args.repeats),
        run_lengths(scenes[0][0], args.repeats),
    ]
