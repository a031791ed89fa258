"""What each side of a job does: ours, Hugging Face's, mmdet's."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmdet.datasets import CocoPanopticDataset
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from pycocotools import mask as mask_utils
from torch import Tensor, nn

from oneformer.datasets import LoadSegmentMap, PanopticDataset
from oneformer.evaluation.evaluator import OneFormerEvaluator
from oneformer.host.freed_memory import keep_freed_memory
from oneformer.host.train_loop import OneFormerTrainLoop
from oneformer.inference import OneFormerInferencer, inputs
from oneformer.inference.writing import PredictionFiles
from oneformer.models.oneformer import OneFormer
from oneformer.quickstart.scenes import SCENES, generate
from oneformer.quickstart.training import train
from oneformer.tasks import TASKS
from oneformer.training.console import build_runner
from oneformer.training.evaluate import inference_config

from . import peers, post
from .panopticapi_parts import id2rgb, standing_in
from .scenes import CLASSES, NUM_THINGS
from .stages import REST, Stages
from .timing import CPU, ResultsDiffer, fix_threads

STUFF = set(range(NUM_THINGS, len(CLASSES)))
NETWORK, POST, SCORE, READ, WRITE = 'network', 'post-processing', 'score', 'read images', 'write'
FILES = dict(ann_file='panoptic.json', data_prefix=dict(img='img/', seg='seg/'))
IN_THIS_PROCESS = dict(num_workers=0, persistent_workers=False)
BATCH_OF_EPOCH = 8
INSTANCE_FIELDS = ('labels', 'scores', 'masks')
OPTIONS = dict(post.ALL_PAIRS, panoptic=dict(threshold=0.8))  # of COCO, as ours
SCORE_THR = 0.3  # of an instance in a file


class Job(NamedTuple):
    """What a job is about.

    Attributes:
        folder: A set, as ``scenes.write_set`` writes it, with ``instances.json``.
        size: Short edge of images in pixels.
        shape: Sizes of the models.
    """

    folder: Path
    size: int
    shape: peers.Shape


def first_image(job: Job) -> Tensor:
    """The first image, normalised, of shape (1, 3, H, W) with multiples of 32."""
    image = cv2.imread(str(job.folder / 'img/0.jpg'))
    height, width = (side // 32 * 32 for side in image.shape[:2])
    pixels = torch.from_numpy(image[:height, :width, ::-1].copy()).permute(2, 0, 1)
    return ((pixels.float() - 120) / 58)[None]


# models


def our_model(job: Job, backbone: str, hf: nn.Module | None = None) -> nn.Module:
    """Ours for COCO, sure of classes and masks; and a model of Hugging Face with its weights."""
    ours = peers.build_ours(job.shape, False, CPU, backbone, 'coco')
    head, image = ours.panoptic_head, first_image(job)

    @torch.no_grad()
    def run() -> object:
        return peers.our_outputs(ours, image, TASKS[:1])

    classifiers, embeddings = [head.cls_embed], [head.mask_embed[-1]]
    if hf is not None:
        peers.share_weights(ours, hf)
        decoder = hf.model.transformer_module.decoder
        classifiers.append(decoder.class_embed)
        embeddings.append(decoder.mask_embed.get_submodule('layers.2.0'))
    make_sure(job, run, classifiers, embeddings, head.pixel_decoder)
    return ours


def make_sure(
    job: Job,
    run: Callable[[], object],
    classifiers: list[nn.Linear],
    embeddings: list[nn.Linear],
    pixel_decoder: nn.Module,
) -> None:
    """See ``peers.sure``; the queries of the small model are too much alike for own masks."""
    if job.shape == peers.SHAPE:
        peers.make_masks_sure(run, embeddings, pixel_decoder)
    peers.make_classes_sure(run, classifiers)


def hf_model(job: Job) -> tuple[nn.Module, nn.Module]:
    """Ours with Swin-T and Hugging Face's, with the same weights."""
    hf = peers.build_hugging_face(job.shape, False, CPU, len(CLASSES))
    return our_model(job, 'swin-t', hf), hf


def mask2former(job: Job) -> nn.Module:
    """mmdet's for COCO, sure of classes and masks."""
    model = peers.build_mask2former(job.shape, CPU, NUM_THINGS, len(CLASSES) - NUM_THINGS)
    head, image = model.panoptic_head, first_image(job)

    @torch.no_grad()
    def run() -> object:
        return model(image, None, mode='tensor')

    make_sure(job, run, [head.cls_embed], [head.mask_embed[-1]], head.pixel_decoder)
    return model


# ours


def our_config(job: Job, backbone: str, tasks: tuple[str, ...]) -> Config:
    """Ours for this set, as for COCO but for the images' size."""
    cfg = Config.fromfile(peers.shapes.CONFIGS / f'oneformer_{backbone}_coco.py')
    cfg.merge_from_dict(dict(model=peers.our_changes(job.shape, backbone)))
    dataset = cfg.test_dataloader.dataset
    dataset.update(data_root=str(job.folder), **FILES)
    for step in dataset.pipeline:
        if step.type == 'ResizeShortEdge':
            step.update(short_edges=[job.size], max_size=4 * job.size)
    cfg.test_dataloader.update(IN_THIS_PROCESS)
    cfg.model.test_cfg.tasks = tasks
    cfg.work_dir = str(job.folder / 'work_dir')
    return cfg


def our_evaluation(job: Job, backbone: str, tasks: tuple[str, ...], clock: Stages) -> dict:
    """Metrics, as ``oneformer test`` finds them."""
    keep_freed_memory()
    model = hf_model(job)[0] if backbone == 'swin-t' else our_model(job, backbone)
    runner = build_runner(inference_config(our_config(job, backbone, tasks)), Runner)
    runner.model.load_state_dict(model.state_dict())
    with (
        clock.calls(PanopticDataset, '__getitem__', READ),
        clock.calls(OneFormer, 'run_network', NETWORK),
        clock.calls(OneFormer, 'post_process', POST),
        clock.calls(OneFormerEvaluator, 'process', SCORE),
        clock.calls(OneFormerEvaluator, 'evaluate', SCORE),
        clock.whole(),
    ):
        return runner.test()


def our_prediction(job: Job, clock: Stages) -> dict:
    """Files of three tasks, as ``oneformer predict`` writes them, by kind."""
    keep_freed_memory()
    cfg = our_config(job, 'swin-t', TASKS)
    weights = job.folder / 'weights.pth'
    torch.save(dict(state_dict=hf_model(job)[0].state_dict()), weights)
    inferencer = OneFormerInferencer(cfg, str(weights), device='cpu')
    with (
        clock.calls(OneFormer, 'run_network', NETWORK),
        clock.calls(OneFormer, 'post_process', POST),
        clock.calls(inputs, 'load_image', READ),
        clock.calls(OneFormerInferencer, '_pack', READ),
        clock.calls(PredictionFiles, 'add', WRITE),
        clock.calls(PredictionFiles, '__exit__', WRITE),
        clock.whole(),
    ):
        for _ in inferencer.stream(job.folder / 'img', job.folder / 'ours', progress=False):
            pass
    return count_files(job.folder / 'ours')


def count_files(folder: Path) -> dict[str, int]:
    """Files below a folder by suffix."""
    return dict(Counter(path.suffix for path in folder.rglob('*.*')))


# Hugging Face's


class Processor:
    """Its image processor, and what it makes of logits, in our form."""

    def __init__(self, size: int) -> None:
        self.processor = post.make_processor()
        self.size = dict(shortest_edge=size, longest_edge=4 * size)

    def pixels(self, image: np.ndarray) -> Tensor:
        """Normalised image (1, 3, h, w) of BGR (H, W, 3)."""
        rgb = np.ascontiguousarray(image[..., ::-1])
        return self.processor(images=rgb, size=self.size, return_tensors='pt')['pixel_values']

    def predict(
        self,
        outputs: Mapping[str, SimpleNamespace],
        size: tuple[int, int],
        score_thr: float | None = None,
    ) -> dict:
        """Fields of a data sample, from the outputs of each task.

        Args:
            outputs: Outputs of the model, by task.
            size: Height and width.
            score_thr: Least score of an instance; None for all pairs of query and class.
        """
        options = OPTIONS
        if score_thr is not None:
            options = dict(OPTIONS, instance=dict(threshold=score_thr))
        found = {}
        for task, of_task in outputs.items():
            logits = post.Logits(of_task.class_queries_logits[0], of_task.masks_queries_logits[0])
            prediction = post.peer_prediction(self.processor, logits, size, task, STUFF, options)
            found |= AS_OURS[task](prediction)
        return found


def panoptic_field(prediction: dict) -> dict:
    """Its map of ids as our codes."""
    ids = prediction['segmentation'].long()
    infos = prediction['segments_info']
    codes = torch.full((max([0, *(info['id'] for info in infos)]) + 2,), len(CLASSES))
    for info in infos:
        label = info['label_id']
        codes[info['id']] = label + INSTANCE_OFFSET * info['id'] if label < NUM_THINGS else label
    return dict(pred_panoptic_seg=dict(sem_seg=codes[ids.clamp(-1)][None]))  # -1: the last, void


def instance_field(prediction: dict) -> dict:
    """Things of its map of ids."""
    infos = [info for info in prediction['segments_info'] if info['label_id'] < NUM_THINGS]
    ids = torch.tensor([info['id'] for info in infos], dtype=torch.long)
    fields = dict(
        labels=torch.tensor([info['label_id'] for info in infos], dtype=torch.long),
        scores=torch.tensor([info['score'] for info in infos]),
        masks=prediction['segmentation'].long() == ids[:, None, None],
    )
    return dict(pred_instances=fields)


def semantic_field(prediction: Tensor) -> dict:
    """Its map of labels."""
    return dict(pred_sem_seg=dict(sem_seg=prediction[None]))


AS_OURS = dict(panoptic=panoptic_field, instance=instance_field, semantic=semantic_field)


@torch.no_grad()
def hf_passes(model: nn.Module, pixels: Tensor) -> dict[str, SimpleNamespace]:
    """Outputs of a pass for each task."""
    return {
        task: model(pixel_values=pixels, task_inputs=peers.hugging_face_tasks([task]))
        for task in TASKS
    }


def hf_evaluation(job: Job, clock: Stages) -> dict:
    """Metrics of ours on predictions of Hugging Face's."""
    _, model = hf_model(job)
    processor = Processor(job.size)
    cfg = our_config(job, 'swin-t', TASKS)
    init_default_scope('mmdet')
    with clock.whole():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        load_map, pack = LoadSegmentMap(), dataset.pipeline.transforms[-1]
        metrics = [METRICS.build(metric) for metric in cfg.test_evaluator]
        for metric in metrics:
            metric.dataset_meta = dataset.metainfo
        for number in range(len(dataset)):
            info = dataset.get_data_info(number)
            with clock(READ):
                image = cv2.imread(info['img_path'])
                pixels = processor.pixels(image)
                info |= dict(img=image, ori_shape=image.shape[:2], img_shape=image.shape[:2])
                sample = pack(load_map(info))['data_samples'].to_dict()
            with clock(NETWORK):
                outputs = hf_passes(model, pixels)
            with clock(POST):
                fields = processor.predict(outputs, image.shape[:2])
            with clock(SCORE):
                for metric in metrics:
                    metric.process(None, [dict(sample, **fields)])
        with clock(SCORE):
            scores = [metric.evaluate(len(dataset)) for metric in metrics]
    return {name: value for of_metric in scores for name, value in of_metric.items()}


def hf_prediction(job: Job, clock: Stages) -> dict:
    """Files of three tasks, by kind: overlay, panoptic PNG and JSON, instance JSON, label PNG."""
    _, model = hf_model(job)
    processor, folder = Processor(job.size), job.folder / 'theirs'
    folder.mkdir(exist_ok=True)
    colours = np.random.default_rng(0).integers(0, 256, (len(CLASSES) + 1, 3), np.uint8)
    annotations, detections = [], []
    with clock.whole():
        for path in sorted((job.folder / 'img').iterdir()):
            with clock(READ):
                image = cv2.imread(str(path))
                pixels = processor.pixels(image)
            with clock(NETWORK):
                outputs = hf_passes(model, pixels)
            with clock(POST):
                fields = processor.predict(outputs, image.shape[:2], SCORE_THR)
            with clock(WRITE):
                codes = fields['pred_panoptic_seg']['sem_seg'][0].numpy()
                label_map = fields['pred_sem_seg']['sem_seg'][0].numpy().astype(np.uint8)
                instances = fields['pred_instances']
                numbers = np.zeros(label_map.shape, int)
                for label, score, mask in zip(*(instances[k].numpy() for k in INSTANCE_FIELDS)):
                    numbers[mask] = label
                    code = mask_utils.encode(np.asfortranarray(mask.view(np.uint8)))
                    code = dict(size=code['size'], counts=code['counts'].decode())
                    record = dict(image_id=path.stem, category_id=int(label), score=float(score))
                    detections.append(dict(record, segmentation=code))
                for task, labels in zip(TASKS, (codes % INSTANCE_OFFSET, numbers, label_map)):
                    overlay = cv2.addWeighted(image, 0.5, colours[labels], 0.5, 0)
                    cv2.imwrite(str(folder / f'{path.stem}_{task}.jpg'), overlay)
                cv2.imwrite(str(folder / f'{path.stem}_panoptic.png'), id2rgb(codes)[..., ::-1])
                cv2.imwrite(str(folder / f'{path.stem}_semantic.png'), label_map)
                ids, areas = np.unique(codes, return_counts=True)
                segments = [
                    dict(id=int(k), category_id=int(k) % INSTANCE_OFFSET, area=int(area))
                    for k, area in zip(ids, areas)
                ]
                annotations.append(dict(image_id=path.stem, segments_info=segments))
        with clock(WRITE):
            (folder / 'panoptic.json').write_text(json.dumps(annotations))
            (folder / 'instances.json').write_text(json.dumps(detections))
    return count_files(folder)


# mmdet's


def mask2former_evaluation(job: Job, clock: Stages) -> dict:
    """Metrics of mmdet's own test, with the pipeline of its config at our size."""
    model = mask2former(job)
    cfg = get_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py')
    dataset = cfg.test_dataloader.dataset
    dataset.update(data_root=str(job.folder) + '/', **FILES)
    for step in dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (4 * job.size, job.size)
    panoptic, instance = cfg.test_evaluator
    panoptic.update(
        ann_file=str(job.folder / 'panoptic.json'), seg_prefix=str(job.folder / 'seg') + '/'
    )
    instance.update(ann_file=str(job.folder / 'instances.json'), metric='segm')  # ours has no boxes
    cfg.test_dataloader.update(IN_THIS_PROCESS)
    model.data_preprocessor = MODELS.build(cfg.model.data_preprocessor)
    with standing_in():
        runner = Runner(
            model,
            str(job.folder / 'work_dir'),
            test_dataloader=cfg.test_dataloader,
            test_cfg=cfg.test_cfg,
            test_evaluator=cfg.test_evaluator,
            default_scope='mmdet',
        )
        with (
            clock.calls(CocoPanopticDataset, '__getitem__', READ),
            clock.calls(model, 'extract_feat', NETWORK),
            clock.calls(model.panoptic_head, 'predict', NETWORK),
            clock.calls(model.panoptic_fusion_head, 'predict', POST),
            clock.calls(Evaluator, 'process', SCORE),
            clock.calls(Evaluator, 'evaluate', SCORE),
            clock.whole(),
        ):
            return runner.test()


# what each returns is compared afterwards: metrics by name, or files by suffix
SIDES: dict[str, Callable[[Job, Stages], dict]] = {
    'evaluate/ours_swin-t': lambda job, clock: our_evaluation(job, 'swin-t', TASKS, clock),
    'evaluate/ours_r50': lambda job, clock: our_evaluation(
        job, 'r50', ('panoptic', 'instance'), clock
    ),
    'evaluate/hf': hf_evaluation,
    'evaluate/mask2former': mask2former_evaluation,
    'predict/ours': our_prediction,
    'predict/hf': hf_prediction,
}


# compared before anything is timed


def check_segments(codes: Tensor, side: str) -> None:
    """Raise ResultsDiffer if nearly no pixel has a segment: a model that is not sure of any."""
    void = (codes.long() % INSTANCE_OFFSET == len(CLASSES)).double().mean().item()
    if void > 0.9:  # segments that others hide drop out, of random masks many
        raise ResultsDiffer(f'{side}: {void:.0%} of the pixels have no segment')


def compare_with_hf(job: Job) -> None:
    """Logits of the first image, and the panoptic map that both make of the sure model's logits.

    Raises:
        ResultsDiffer: If they differ.
    """
    hf = peers.build_hugging_face(job.shape, False, CPU, len(CLASSES))
    ours = peers.build_ours(job.shape, False, CPU, 'swin-t', 'coco')
    peers.share_weights(ours, hf)
    pixels = first_image(job)
    outputs = peers.our_outputs(ours, pixels, TASKS)
    for number, (task, of_task) in enumerate(hf_passes(hf, pixels).items()):
        scores, masks = of_task.class_queries_logits, of_task.masks_queries_logits
        peers.check_close(f'classes of {task}', outputs.scores[number], scores)
        peers.check_close(f'masks of {task}', outputs.masks[number], masks)
    if job.shape == peers.SHAPE:  # the masks of the small model are not sure
        ours, hf = hf_model(job)
        of_task = hf_passes(hf, pixels)['panoptic']
        logits = post.Logits(of_task.class_queries_logits[0], of_task.masks_queries_logits[0])
        given = logits, tuple(4 * side for side in logits.masks.shape[-2:]), 'panoptic'
        prediction = post.our_prediction(ours, *given)
        check_segments(prediction.pred_panoptic_seg.sem_seg, 'ours')
        theirs = post.peer_prediction(post.make_processor(), *given, STUFF, OPTIONS)
        both, same = post.alike(prediction, theirs, len(CLASSES))
        if both < 0.1 or not same >= post.ALIKE:
            raise ResultsDiffer(f'{both:.1%} of the pixels have a label of both, {same:.1%} alike')


def compare_with_mask2former(job: Job) -> None:
    """Logits of the first image, from the same weights and queries; and that both find segments.

    Raises:
        ResultsDiffer: If logits differ, before the models are made sure, or one finds nothing then.
    """
    peer = peers.build_mask2former(job.shape, CPU, NUM_THINGS, len(STUFF))
    ours = peers.build_ours(job.shape, False, CPU, 'r50', 'coco')
    peers.share_weights(ours, peer)
    pixels = first_image(job)
    theirs = peers.mask2former_outputs(peer, pixels)
    with peers.same_start(ours, peer):
        outputs = peers.our_outputs(ours, pixels, TASKS[:1])
    peers.check_close('classes', outputs.scores, theirs.scores)
    peers.check_close('masks', outputs.masks, theirs.masks)

    if job.shape != peers.SHAPE:  # the masks of the small model are not sure
        return
    size = tuple(pixels.shape[-2:])
    logits = peers.our_outputs(our_model(job, 'r50'), pixels, TASKS[:1])
    found = post.our_prediction(ours, post.Logits(*(x[0, 0] for x in logits)), size, 'panoptic')
    check_segments(found.pred_panoptic_seg.sem_seg, 'ours')
    peer = mask2former(job)
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, batch_input_shape=size))
    (found,) = peer.predict(pixels, [sample])
    check_segments(found.pred_panoptic_seg.sem_seg, 'mask2former')


LIKE_HF = dict(PQ='panoptic/PQ', AP='instance/AP', mIoU='semantic/mIoU')
LIKE_MASK2FORMER = dict(PQ='coco_panoptic/PQ', AP='coco/segm_mAP')
OURS = LIKE_HF


def compare_scores(ours: dict, theirs: dict, names: Mapping[str, str]) -> str:
    """A line with the scores of both sides.

    Models are random, so that these say only that both sides scored: each has to be a number of 0
    to 100.

    Args:
        ours: Metrics by name.
        theirs: The same of the peer.
        names: The peer's name of each score.

    Raises:
        ResultsDiffer: If one is missing or no number.
    """
    parts = []
    for score, name in names.items():
        pair = ours.get(OURS[score], np.nan), theirs.get(name, np.nan)
        if not all(0 <= value <= 100 for value in pair):
            raise ResultsDiffer(f'{score}: ours is {pair[0]}, that of the peer {pair[1]}')
        parts.append(f'{score} {pair[0]:.2f} and {pair[1]:.2f}')
    return f'scores of ours and of the peer, by random weights: {", ".join(parts)}'


def compare_files(ours: dict, theirs: dict) -> str:
    """A line with the files of both sides.

    Raises:
        ResultsDiffer: If one side wrote none, or they have different numbers of a kind.
    """
    if not ours or ours != theirs:
        raise ResultsDiffer(f'files of ours: {ours}, of the peer: {theirs}')
    numbers = ', '.join(f'{number} {kind}' for kind, number in sorted(ours.items()))
    return f'files of either: {numbers}'


COMPARE_RESULTS: dict[str, Callable[[dict, dict], str]] = {
    'evaluate/hf': partial(compare_scores, names=LIKE_HF),
    'evaluate/mask2former': partial(compare_scores, names=LIKE_MASK2FORMER),
    'predict/hf': compare_files,
}
COMPARE: dict[str, Callable[[Job], None]] = {
    'evaluate/hf': compare_with_hf,
    'evaluate/mask2former': compare_with_mask2former,
    'predict/hf': compare_with_hf,
}


def epoch(folder: Path, threads: int, quick: bool) -> tuple[int, dict[str, float]]:
    """Images and seconds by stage of an epoch of the quick start.

    Args:
        folder: Folder in which its images are drawn.
        threads: Threads of torch and OpenCV.
        quick: A batch in place of an epoch.
    """
    fix_threads(threads)
    keep_freed_memory()
    images = BATCH_OF_EPOCH if quick else SCENES['toys']['train']
    cfg = Config.fromfile(peers.shapes.CONFIGS / 'oneformer_efficientnet-lite0_quickstart.py')
    generate(folder / 'quickstart', train=images, val=1)
    cfg.train_dataloader.dataset.data_root = str(folder / 'quickstart')
    cfg.train_dataloader.batch_size = BATCH_OF_EPOCH
    cfg.train_cfg.max_iters = images // BATCH_OF_EPOCH
    cfg.work_dir = str(folder / 'epoch')
    clock = Stages()
    with (
        clock.calls(OneFormerTrainLoop, 'run', REST),
        clock.calls(OneFormer, 'train_step', 'step'),
    ):
        train(cfg)
    return images, clock.seconds
