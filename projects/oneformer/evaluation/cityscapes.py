"""Cityscapes as its own scripts score it, and the files that its server takes.

Both metrics write the submission of one image, let cityscapesscripts compare it with the image's
gtFine files, and keep only the counts. So nothing stays on the disk, and with several processes
each scores its own images.

Legend: H, W original image size, K classes.
"""

import os.path as osp
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import copy
from io import StringIO

import numpy as np
from mmdet.registry import METRICS
from typing_extensions import override

from ..host.safe_io import write_bytes, write_png
from ..images.image_files import read_file
from ..images.lossy_formats import refuse_lossy
from ..metainfo import is_thing
from ..run_length import decode_mask
from .classwise import ClasswiseMetric
from .data_sample import image_stem, read_instances, read_map
from .nothing_to_score import tell_nan
from .result_files import ResultFiles, SemanticFiles
from .writers import ResultImage, ResultWriter, SemanticWriter

_SUFFIX = '_leftImg8bit'


def script_labels() -> dict:
    """Label of cityscapesscripts by name; ImportError with the remedy if it is not installed."""
    try:
        from cityscapesscripts.helpers.labels import name2label
    except ImportError as error:
        raise ImportError(
            "Cityscapes' own scores and files need its scripts: pip install cityscapesscripts"
        ) from error
    return name2label


def label_ids(classes: Sequence[str]) -> np.ndarray:
    """Cityscapes' own id of each class ("road" is 7), int64 (K,); ValueError for other classes."""
    of_name = script_labels()
    strangers = [name for name in classes if name not in of_name]
    if strangers:
        raise ValueError(f'{strangers} are not classes of Cityscapes, which its files need')
    return np.array([of_name[name].id for name in classes])


@contextmanager
def quiet_scripts():
    """Let cityscapesscripts run quietly; it ends the process on errors, which become ValueError."""
    printed = StringIO()
    try:
        with redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of its np.in1d and of means over nothing
            yield
    except SystemExit as error:
        raise ValueError(f'cityscapesscripts: {printed.getvalue().strip()}') from error


def file_stem(data_sample: Mapping) -> str:
    """The name of an image without folder and suffix; Cityscapes' names start with the city."""
    return osp.basename(image_stem(data_sample))


def ground_truth_file(data_sample: dict, seg_prefix: str, kind: str) -> str:
    """``{seg_prefix}/{city}/{id}_gtFine_{kind}.png`` of the sample's image.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If the image is not called as Cityscapes' are, or the file was compressed with
            loss.
    """
    stem = file_stem(data_sample)
    if not stem.endswith(_SUFFIX):
        raise ValueError(f'the name of an image of Cityscapes ends with {_SUFFIX}.png')
    image_id = stem.removesuffix(_SUFFIX)
    city = image_id.split('_')[0]
    path = osp.join(seg_prefix, city, f'{image_id}_gtFine_{kind}.png')
    if not osp.exists(path):
        raise FileNotFoundError(
            f'ground truth {path} of image {data_sample["img_path"]} does not exist: check '
            'seg_prefix, which is the folder of the cities, such as gtFine/val'
        )
    refuse_lossy(read_file(path, 'ground truth'), path, 'ground truth')
    return path


def write_instances(
    stem: str,
    classes: Sequence[str],
    folder: str,
    instances: tuple[Iterable[int], Iterable[float], Iterable[Mapping]],
) -> str:
    """Write the instance submission of an image: masks as PNGs, and their list.

    Args:
        stem: Name of the image, see ``file_stem``.
        classes: Names of all classes.
        folder: Folder to write to.
        instances: Labels, scores, and run-length codes.

    Returns:
        Path of the list, whose lines are ``mask.png id score``.
    """
    ids, lines = label_ids(classes), []
    for number, (label, score, code) in enumerate(zip(*instances)):
        name = f'{stem}_{number}.png'
        write_png(osp.join(folder, name), decode_mask(code).view(np.uint8) * 255)
        lines.append(f'{name} {ids[label]} {score}\n')
    path = osp.join(folder, f'{stem}.txt')
    write_bytes(path, ''.join(lines).encode())
    return path


class CityscapesScores(ClasswiseMetric):
    """Base of the scores of cityscapesscripts.

    Args:
        seg_prefix: Folder of the cities with the gtFine files, such as ``gtFine/val``.
        **kwargs: Arguments of ``ClasswiseMetric``.
    """

    default_prefix = 'cityscapes'

    def __init__(self, seg_prefix: str, **kwargs):
        super().__init__(**kwargs)
        script_labels()
        self.seg_prefix = seg_prefix


def without_hopeless_predictions(matches: dict, args) -> dict:
    """Matches of images without the predictions of classes none of which is right.

    A class that no prediction finds has an AP of 0 with or without its predictions, but
    cityscapesscripts ends with an IndexError if all of them are to be ignored.

    Args:
        matches: Matches by ground truth file: ``groundTruth`` and ``prediction``, each by
            class name.
        args: Arguments of the scripts. A prediction is right if it overlaps an object by
            more than the smallest of ``overlaps``.
    """

    def is_right(prediction, truth):
        intersection = prediction['intersection']
        union = truth['pixelCount'] + prediction['pixelCount'] - intersection
        return intersection / union > min(args.overlaps)

    found = {
        name
        for match in matches.values()
        for name, objects in match['groundTruth'].items()
        for truth in objects
        if truth['instID'] >= 1000 and truth['pixelCount'] >= args.minRegionSizes[0]
        if any(is_right(prediction, truth) for prediction in truth['matchedPred'])
    }
    return {
        path: dict(
            match,
            prediction={
                name: predictions if name in found else []
                for name, predictions in match['prediction'].items()
            },
        )
        for path, match in matches.items()
    }


@METRICS.register_module()
class CityscapesInstance(CityscapesScores):
    """AP and AP50 of cityscapesscripts, in percent; nan without ground truth.

    mmdet's ``CityScapesMetric`` gives the same numbers as fractions; it keeps all masks of a run on
    the disk and finds the ground truth beside the images only.
    """

    task = 'instance'

    @staticmethod
    def scripts():
        """The module of cityscapesscripts, and arguments of its functions."""
        from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as scripts

        args = copy(scripts.args)
        args.quiet = True
        scripts.setInstanceLabels(args)
        return scripts, args

    @override
    def score(self, data_sample: dict) -> dict:
        """Matches by cityscapesscripts."""
        scripts, args = self.scripts()
        with tempfile.TemporaryDirectory() as folder:
            gt_file = ground_truth_file(data_sample, self.seg_prefix, 'instanceIds')
            found = read_instances(data_sample, is_thing(self.dataset_meta))
            classes = self.dataset_meta['classes']
            prediction = write_instances(file_stem(data_sample), classes, folder, found)
            args.predictionPath = osp.abspath(folder)
            with quiet_scripts():
                instances = scripts.instances2dict([gt_file])
                return scripts.matchGtWithPreds([prediction], [gt_file], instances, args)

    @override
    def compute_metrics(self, results: list) -> dict:
        scripts, args = self.scripts()
        matches = {path: match for result in results for path, match in result.items()}
        matches = without_hopeless_predictions(matches, args)
        with quiet_scripts():
            averages = scripts.computeAverages(scripts.evaluateMatches(matches, args), args)
        per_class = averages['classes'].values()
        columns = {
            name: np.array([100 * float(scores[key]) for scores in per_class])
            for name, key in (('AP', 'ap'), ('AP50', 'ap50%'))
        }
        self.tell_classes(columns, list(averages['classes']))
        scores = dict(AP=100 * float(averages['allAp']), AP50=100 * float(averages['allAp50%']))
        nothing = f'no gtFine file of the images below {self.seg_prefix} has an object'
        tell_nan(type(self).__name__, scores, dict.fromkeys(scores, nothing))
        return scores


@METRICS.register_module()
class CityscapesSemantic(CityscapesScores):
    """IoU and iIoU of classes, and of categories (_sup), of cityscapesscripts, in percent."""

    task = 'semantic'

    @staticmethod
    def scripts():
        """The module of cityscapesscripts, arguments of its functions, and empty counts."""
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as scripts

        args = copy(scripts.args)
        args.quiet = True
        confusion = scripts.generateMatrix(args)
        return scripts, args, confusion, scripts.generateInstanceStats(args)

    @override
    def score(self, data_sample: dict) -> tuple[np.ndarray, dict]:
        """The confusion matrix and counts of instances by cityscapesscripts."""
        ids = label_ids(self.dataset_meta['classes']).astype(np.uint8)
        scripts, args, confusion, instances = self.scripts()
        with tempfile.TemporaryDirectory() as folder:
            gt_file = ground_truth_file(data_sample, self.seg_prefix, 'labelIds')
            prediction = osp.join(folder, 'prediction.png')
            write_png(prediction, ids[read_map(data_sample, 'pred_sem_seg')])
            with quiet_scripts():
                scripts.evaluatePair(prediction, gt_file, confusion, instances, {}, args)
        return confusion.astype(np.int64), instances

    @override
    def compute_metrics(self, results: list) -> dict:
        scripts, args, _, instances = self.scripts()
        confusion = sum(counts for counts, _ in results)
        for kind, groups in instances.items():
            for name, totals in groups.items():
                for key in ('tp', 'fn', 'tpWeighted', 'fnWeighted'):
                    totals[key] = sum(counts[kind][name][key] for _, counts in results)
        with quiet_scripts():
            of_class, of_category = {}, {}
            for label in args.evalLabels:
                of_class[scripts.id2label[label].name] = (
                    scripts.getIouScoreForLabel(label, confusion, args),
                    scripts.getInstanceIouScoreForLabel(label, confusion, instances, args),
                )
            for category in scripts.category2labels:
                of_category[category] = (
                    scripts.getIouScoreForCategory(category, confusion, args),
                    scripts.getInstanceIouScoreForCategory(category, confusion, instances, args),
                )
        columns = 100 * np.array(list(of_class.values())).T
        self.tell_classes(dict(zip(('IoU', 'iIoU'), columns)), list(of_class))
        scores = {}
        for suffix, group in (('', of_class), ('_sup', of_category)):
            for name, column in zip(('IoU', 'iIoU'), zip(*group.values())):
                average = scripts.getScoreAverage(dict(enumerate(column)), args)
                scores[f'{name}{suffix}'] = 100 * float(average)
        return scores


class CityscapesInstanceWriter(ResultWriter):
    """The instance submission: ``cityscapes_instance/*.txt`` and the PNGs that they list."""

    @override
    def write(self, image: ResultImage, *instances) -> None:
        folder = osp.join(self.out_dir, 'cityscapes_instance')
        write_instances(image.stem, self.dataset_meta['classes'], folder, instances)


class CityscapesSemanticWriter(SemanticWriter):
    """The semantic submission: ``cityscapes_semantic/*.png`` of Cityscapes' own ids."""

    folder = 'cityscapes_semantic'

    def values(self) -> np.ndarray:
        """Cityscapes' id of each label, int64 (K,)."""
        return label_ids(self.dataset_meta['classes'])


@METRICS.register_module()
class CityscapesInstanceFiles(ResultFiles):
    """``CityscapesInstanceWriter`` as a metric; without sub-folders, as the original writes it."""

    task = default_prefix = 'instance'
    writer_type = CityscapesInstanceWriter
    stem_of = staticmethod(file_stem)


@METRICS.register_module()
class CityscapesSemanticFiles(SemanticFiles):
    """``CityscapesSemanticWriter`` as a metric; without sub-folders, as the original writes it."""

    writer_type = CityscapesSemanticWriter
    stem_of = staticmethod(file_stem)
