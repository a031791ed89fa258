"""Check datasets for faults of their labels and files, and count what they hold.

Rules that a dataset needs itself are checked by it, see ``findings``; here are those that would
not stop it: areas, segments without visible pixels, classes without pixels.
"""

import os.path as osp
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader, Dataset

from ..datasets.base import SegmentDataset
from ..datasets.findings import WARNING, Finding, OnFinding
from ..datasets.label_images import UNLISTED_ID
from ..datasets.segment_map import read_segment_map
from ..datasets.semantic import SemanticDataset
from ..images.reading import load_image
from ..images.rules import rules_of_config
from ..object_limits import configured_limits
from .advice import advise
from .areas import AREA_CHECKS
from .configured import configured_sets
from .foreign_pngs import name_owners
from .images import ImageFacts, differing_rules, facts_of, join_facts
from .label_facts import LabelFacts, facts_of_label, join_label_facts
from .object_sizes import sizes_of, vanishing
from .overlaps import check_covered, count_hidden, count_pixels, count_stacks
from .pixels_found import sum_up
from .summary import Checked, summarize


@contextmanager
def _reading(path: str, img_id, report: OnFinding) -> Iterator[None]:
    """Report a file that cannot be read in the block."""
    try:
        yield
    except FileNotFoundError as error:
        report(Finding('missing file', str(error), path, img_id))
    except (OSError, ValueError) as error:
        report(Finding('unreadable file', str(error), path, img_id))


def check_sample(
    dataset: SegmentDataset, index: int
) -> tuple[list[Finding | ImageFacts | LabelFacts], dict | None]:
    """Check the files and the labels of one image.

    Returns:
        Findings, with the facts of its image and its label PNG if there are any, and counts for
        ``summarize``; None for an image without labels, or with files that cannot be read.
    """
    findings, of_labels, count = [], [], None
    sample = dataset.get_data_info(index)
    with _reading(sample['img_path'], sample['img_id'], findings.append):
        loaded = load_image(sample['img_path'], 'image', dataset.image_rules)
    if findings:
        return findings, None
    sample.update(ori_shape=loaded.pixels.shape[:2], exif_orientation=loaded.orientation)
    if 'segments_info' in sample:
        findings, of_labels, count = check_labels(dataset, sample)
    facts = facts_of(loaded, sample, findings)
    return [*findings, *of_labels, *([] if facts is None else [facts])], count


def check_labels(
    dataset: SegmentDataset, sample: Mapping
) -> tuple[list[Finding], list[LabelFacts], dict | None]:
    """Check the labels of a sample with ``ori_shape``.

    Returns:
        Findings, the facts of its label PNG if it has one, and counts; see ``check_sample``.
    """
    findings, facts, segment_map = [], [], None
    with _reading(sample.get('seg_map_path'), sample['img_id'], findings.append):
        segment_map = read_segment_map(
            sample, findings.append, lambda *label: facts.append(facts_of_label(*label))
        )
    if segment_map is None:
        return findings, facts, None
    if dataset.labels_kind == 'instance' and any(f.kind == 'sizes differ' for f in findings):
        return findings, facts, None
    segments = sample['segments_info']
    stacks = count_stacks(segment_map, sample.get('region_segments'))
    pixels, whole = count_pixels(segment_map, len(segments), stacks)
    void, pixels, whole = int(pixels[0]), pixels[1:], whole[1:]
    if not findings and not pixels.any() and 'searched_labels' not in sample:
        message = (
            f'image id {sample["img_id"]} ({sample["img_path"]}) has no labelled pixel: it '
            'teaches that nothing is there; remove it if it was not annotated'
        )
        findings.append(
            Finding('empty image', message, sample['img_path'], sample['img_id'], WARNING)
        )
    # if no id of the PNG is right, a finding for each segment would hide the reason
    unlisted = not pixels.any() and any(f.kind == UNLISTED_ID for f in findings)
    compare = None if unlisted else AREA_CHECKS.get(dataset.labels_kind)
    wrong_areas = compare(sample, segment_map, pixels, findings.append) if compare else []
    check_covered(sample, pixels, stacks, findings.append)
    taught = pixels if sample.get('overlaps') == 'topmost' else whole
    seen = [s for s, count in zip(segments, taught) if count]
    areas = [int(n) for s, n in zip(segments, taught) if n and not s['iscrowd']]
    counts = dict(
        img_id=sample['img_id'],
        targets=[s['label'] for s in seen if not s['iscrowd']],
        target_pixels=areas,
        crowds=[s['label'] for s in seen if s['iscrowd']],
        shape=segment_map.shape,
        void=void,
        pixels=segment_map.size,
        hidden=count_hidden(segments, pixels, whole) if dataset.labels_kind == 'instance' else None,
        wrong_areas=wrong_areas,
    )
    return findings, facts, counts


class _Checks(Dataset):
    """Lets workers of a ``DataLoader`` check images."""

    def __init__(self, dataset: SegmentDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(
        self, index: int
    ) -> tuple[list[Finding | ImageFacts | LabelFacts], dict | None]:
        try:
            return check_sample(self.dataset, index)
        except Exception as error:  # a JSON may hold anything anywhere
            sample = self.dataset.get_data_info(index)
            finding = Finding(
                'labels cannot be checked',
                f'the labels of image id {sample["img_id"]} ({sample["img_path"]}) cannot be '
                f'understood ({type(error).__name__}: {error}): correct them',
                sample['img_path'],
                sample['img_id'],
            )
            return [finding], None


def check_samples(
    dataset: SegmentDataset, workers: int
) -> tuple[list[Finding | ImageFacts | LabelFacts], list[dict]]:
    """Check all images in ``workers`` processes, with a progress bar.

    Returns:
        Findings, with facts of images, and the counts of the images that have labels.
    """
    findings, counts = [], []
    loader = DataLoader(
        _Checks(dataset),
        batch_size=min(16, max(1, len(dataset) // (8 * workers))),
        num_workers=workers if workers > 1 else 0,
        collate_fn=list,
    )
    bar, done = ProgressBar(len(dataset), file=sys.stderr), 0
    for batch in loader:
        for found, count in batch:
            findings += found
            if count is not None:
                counts.append(count)
        done += len(batch)
        # a log file should not get a line for each of 118,287 images
        if done == len(dataset) or done - bar.completed >= len(dataset) / 200:
            bar.update(done - bar.completed)
    print(file=sys.stderr)
    return findings, counts


def build_leniently(config: Mapping, report: OnFinding) -> SegmentDataset | None:
    """Build a dataset without its pipeline and without its faulty entries.

    Returns:
        The dataset, or None if it cannot be built at all, which is reported, too.
    """
    arguments = {**config, 'pipeline': [], 'serialize_data': False, 'report': report}
    kind = DATASETS.get(arguments.pop('type'))
    file = osp.join(*(str(config.get(key) or '') for key in ('data_root', 'ann_file')))
    try:
        dataset = kind(**arguments)
        if not len(dataset):
            raise ValueError(f'{file} has no image that can be used')
    except Exception as error:  # a JSON may hold anything anywhere
        text = str(error)
        if isinstance(error, FileNotFoundError):
            file = error.filename or file
            text = f'{file} does not exist: check data_root and ann_file of the dataset'
        elif type(error) is not ValueError:
            text = f'{file} cannot be read as labels ({type(error).__name__}: {error}): replace it'
        report(Finding('unreadable labels', text, file))
        return None
    return dataset


def _pipelines(cfg: Config) -> dict[str, Sequence[Mapping]]:
    """Transforms of training and test in a config, of the first dataset of each."""
    found = {}
    for name, split in (('training', 'train'), ('test', 'val'), ('test', 'test')):
        if cfg.get(f'{split}_dataloader') and name not in found:
            config = next(iter(configured_sets(cfg, [split]).values()))
            found[name] = config.get('pipeline') or ()
    return {name: pipeline for name, pipeline in found.items() if pipeline}


def check_set(config: Mapping, workers: int, cfg: Config, trains: bool) -> Checked:
    """Check the dataset of a config, and recommend settings for one that trains."""
    findings = []
    dataset = build_leniently(config, findings.append)
    if dataset is None:
        return Checked(findings, None)
    found, counts = check_samples(dataset, workers)
    found = name_owners(found, dataset)
    if isinstance(dataset, SemanticDataset):
        found = join_label_facts(found, dataset, counts)
    found = join_facts(found, len(dataset))
    found += sum_up(dataset, counts, findings)
    summary = summarize(dataset, counts, configured_limits(cfg))
    if trains and counts:
        sizes, pipelines = sizes_of(dataset, counts), _pipelines(cfg)
        advice = advise(dataset, sizes, counts, cfg, pipelines)
        found += vanishing(dataset, sizes, pipelines, advice['settings'].get('image_size'))
        summary['advice'] = advice
    return Checked(findings + found, summary)


def check_config(cfg: Config, splits: Sequence[str], workers: int = 1) -> dict[str, Checked]:
    """Check the datasets of a config.

    Args:
        cfg: Config of training.
        splits: See ``configured_sets``, which also says what is raised.
        workers: Processes, from 1.

    Returns:
        Name of each dataset and its findings. Equal datasets are checked once and share a name,
        such as ``val, test``.
    """
    names, rules = {}, {}
    for name, config in configured_sets(cfg, splits).items():
        labels = {key: value for key, value in config.items() if key != 'pipeline'}
        rules[name] = rules_of_config(config)
        labels.update(rules[name].chosen())  # the pipeline's loader may state them
        names.setdefault(repr(labels), (labels, []))[1].append(name)
    checked, differing = {}, differing_rules(rules)
    for labels, shared in names.values():
        print(', '.join(shared), file=sys.stderr)
        found = check_set(labels, workers, cfg, any(n.startswith('train') for n in shared))
        others = [differing[name] for name in shared[:1] if name in differing]
        checked[', '.join(shared)] = replace(found, findings=[*found.findings, *others])
    return checked
