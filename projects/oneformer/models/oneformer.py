"""OneFormer (Jain et al., CVPR 2023): the whole picture.

Image features are computed once; each task then gets its own queries and prediction. In
training every image has one task, and its queries are also compared with its texts.

Shapes: B images, T task words, Q queries, K classes, H x W the padded input.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from ..checkpoint_names import EARLIER, MARKS
from ..kernels.mask_resize import MaskResize
from ..kernels.precision import check_precision, exact_float32, network_precision
from ..metainfo import is_thing, resolve_metainfo
from ..object_limits import default_max_per_image
from ..panoptic_codes import check_codes
from ..tasks import check_task
from . import fusion
from .contrastive_loss import text_key
from .large_images import WindowedOutputs, check_window
from .oneformer_head import BatchOutputs, mask_logits
from .targets import batch_targets


@MODELS.register_module()
class OneFormer(BaseDetector):
    """One model for panoptic, instance and semantic segmentation.

    Args:
        backbone: Config of a backbone with maps of strides 4, 8, 16, 32.
        panoptic_head: Config of ``OneFormerHead``; ``num_classes`` is filled in.
        metainfo: Class names and thing classes, as a dict or as the name of a dataset, see
            ``oneformer.metainfo``. Number of classes and thing set come from here alone.
        criterion: Config of ``SetCriterion``; needed for training.
        text_mapper: Config of ``TextMapper``, or None to build a model for inference only.
        contrastive_loss: Config of ``QueryTextContrastiveLoss``; needed with ``text_mapper``.
        test_cfg: ``tasks`` (the predictions wanted), ``object_mask_thr`` and ``iou_thr`` of the
            panoptic prediction, and optionally ``max_per_image``: the number of instances, or None
            (the default) for as many as there are queries, and at least 100; ``token``: a task word
            that conditions *every* prediction in place of the prediction's own, ``window``:
            ``size`` and ``overlap`` in pixels; inputs with a longer side are seen in overlapping
            windows, which bounds the memory (see ``large_images``), and ``precision``: number
            format of the network, ``'fp32'``, ``'tf32'``, ``'bf16'`` or ``'fp16'`` (None: that of
            the surroundings); predictions are made of its outputs in float32.
        data_preprocessor: Config of the preprocessor.

    Raises:
        ValueError: For classes that do not fit together, and for keys of ``test_cfg`` that are
            missing or unknown.
    """

    # only a model that is trained has these
    criterion: nn.Module
    text_mapper: nn.Module | None
    contrastive_loss: nn.Module

    def __init__(
        self,
        backbone: dict,
        panoptic_head: dict,
        metainfo: dict | str,
        test_cfg: dict,
        criterion: dict | None = None,
        text_mapper: dict | None = None,
        contrastive_loss: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        metainfo = self.metainfo = resolve_metainfo(metainfo)
        self.num_classes = len(metainfo['classes'])
        self.register_buffer('is_thing', torch.from_numpy(is_thing(metainfo)), persistent=False)
        self.test_cfg = dict(test_cfg)
        expected = {'tasks', 'object_mask_thr', 'iou_thr'}
        if set(self.test_cfg) - {'max_per_image', 'token', 'window', 'precision'} != expected:
            raise ValueError(
                f'model.test_cfg has the keys {sorted(self.test_cfg)}, but takes '
                f'{sorted(expected)} and optionally max_per_image, precision, token and window'
            )
        if 'panoptic' in self.test_cfg['tasks']:
            check_codes(self.num_classes)
        if self.test_cfg.get('window') is not None:
            check_window(self.test_cfg['window'])
        if self.test_cfg.get('precision') is not None:
            check_precision(self.test_cfg['precision'], option='model.test_cfg.precision')
        self.backbone = MODELS.build(backbone)
        self.panoptic_head = MODELS.build(dict(panoptic_head, num_classes=self.num_classes))
        self._set_max_per_image(self.panoptic_head.num_queries)
        self.criterion = self.text_mapper = self.contrastive_loss = None
        if criterion is not None:
            self.criterion = MODELS.build(dict(criterion, num_classes=self.num_classes))
        if text_mapper is not None:
            self._build_text_branch(text_mapper, contrastive_loss)
        self._register_load_state_dict_pre_hook(self._check_names)
        self._register_load_state_dict_pre_hook(self._drop_text_branch)

    def _build_text_branch(self, text_mapper: dict, contrastive_loss: dict | None) -> None:
        """Build what compares queries with texts, with as many texts as fit the queries."""
        if contrastive_loss is None:
            raise ValueError('model.text_mapper needs model.contrastive_loss')
        num_queries, channels = self.panoptic_head.query_embed.weight.shape
        num_texts = num_queries - text_mapper['num_context']
        if num_texts < 1:
            raise ValueError(
                f'panoptic_head.num_queries is {num_queries}: it has to be more than '
                f'text_mapper.num_context, {text_mapper["num_context"]}'
            )
        self.text_mapper = mapper = MODELS.build(dict(text_mapper, num_texts=num_texts))
        width = mapper.context.weight.shape[1]
        filled_in: dict[str, object] = {}
        if contrastive_loss.get('memory'):
            filled_in['num_features'] = num_queries * width
        if width != channels:
            filled_in['projection'] = (channels, width)
        self.contrastive_loss = MODELS.build(dict(contrastive_loss, **filled_in))

    def _set_max_per_image(self, num_queries: int) -> None:
        """Let ``max_per_image`` follow the number of queries where it is None."""
        count = self.test_cfg.get('max_per_image')
        if count is None:
            count = default_max_per_image(num_queries)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(
                f'model.test_cfg.max_per_image is {count!r}: it has to be a whole number of at '
                'least 1, or None for as many instances as there are queries'
            )
        self.test_cfg['max_per_image'] = count

    def _check_names(self, state_dict: dict, prefix: str, *args) -> None:
        """Refuse a OneFormer under other names, of which mmengine's loader would load nothing."""
        marks = MARKS.values()
        inside = [key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)]
        if any(key.startswith(MARKS['plugin']) for key in inside):
            is_other = any(key.startswith(tuple(EARLIER)) for key in inside)
        else:  # in whatever wrapper
            is_other = any(
                isinstance(value, Mapping) or any(f'.{mark}' in f'.{key}' for mark in marks)
                for key, value in state_dict.items()
            )
        if is_other:
            raise ValueError(
                'the tensors have the names of another OneFormer: load them by oneformer.weights, '
                'or call oneformer.weights.use_safe_loaders() before mmengine or mmdet loads them'
            )

    def _drop_text_branch(self, state_dict: dict, prefix: str, *args) -> None:
        """Let a model built for inference load a checkpoint of training."""
        if self.text_mapper is None:
            text_branch = (f'{prefix}text_mapper.', f'{prefix}contrastive_loss.')
            for key in [key for key in state_dict if key.startswith(text_branch)]:
                del state_dict[key]

    def extract_feat(self, batch_inputs: Tensor) -> Sequence[Tensor]:
        """Backbone maps of strides 4, 8, 16, 32 of normalised images (B, 3, H, W)."""
        return self.backbone(batch_inputs)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch in which each image has one task.

        Args:
            batch_inputs: Normalised images of shape (B, 3, H, W).
            batch_data_samples: Samples with the targets (see ``batch_targets``), and ``task``,
                ``texts`` and ``filler`` in their metainfo, as ``SampleTask`` makes them.

        Returns:
            Losses of ``SetCriterion`` and, if the model has a text branch, ``loss_contrastive``.
        """
        tasks = [sample.task for sample in batch_data_samples]
        encoded = self.panoptic_head.encode(self.extract_feat(batch_inputs))
        decoded = self.panoptic_head.decode(encoded, [[task] for task in tasks])
        targets = batch_targets(batch_data_samples, is_thing(self.metainfo))
        outputs = decoded.of_only_task()
        matchings = self.criterion.start_matching(*outputs, targets)
        if self.text_mapper is not None:  # work for a GPU while the host matches
            text_queries = self.text_mapper(
                [sample.texts for sample in batch_data_samples],
                [sample.filler for sample in batch_data_samples],
            )
        losses = self.criterion(*outputs, targets, matchings)
        if self.text_mapper is not None:
            keys = None
            if self.contrastive_loss.needs_keys:
                keys = [text_key(sample.texts, sample.filler) for sample in batch_data_samples]
            queries = decoded.initial_queries[:, 0]
            losses['loss_contrastive'] = self.contrastive_loss(queries, text_queries, keys)
        return losses

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None
    ) -> dict[str, Tensor]:
        """Raw outputs for the task named in each sample's metainfo (else the first to predict).

        Returns:
            ``cls_scores`` (B, Q, K + 1), ``mask_preds`` (B, Q, H/4, W/4), both logits, and
            ``object_queries`` (B, Q, C).
        """
        samples = batch_data_samples or [DetDataSample()] * len(batch_inputs)
        default = self.test_cfg['tasks'][0]
        tasks = [[sample.get('task', default)] for sample in samples]
        encoded = self.panoptic_head.encode(self.extract_feat(batch_inputs))
        decoded = self.panoptic_head.decode_for_prediction(encoded, tasks)
        scores, embeds, features = decoded.last()
        return dict(
            cls_scores=scores[:, 0],
            mask_preds=mask_logits(embeds, features)[:, 0],
            object_queries=decoded.object_queries[:, 0],
        )

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Predict all tasks of ``test_cfg.tasks`` from one pass over the images.

        Args:
            batch_inputs: Normalised images of shape (B, 3, H, W).
            batch_data_samples: Samples with ``img_shape`` and ``ori_shape`` in their metainfo.
            rescale: Predict at ``ori_shape``, else at ``img_shape``.

        Returns:
            The samples with, for each task, its field:
            ``pred_panoptic_seg`` (``sem_seg`` (1, h, w) holds ``label + INSTANCE_OFFSET * id`` for
            things, ``label`` for stuff, K for void; ``segments_info`` in its metainfo, see
            ``fusion.panoptic_map``), ``pred_instances`` (``labels``, ``scores``, ``masks``,
            ``bboxes``), ``pred_sem_seg`` (``sem_seg`` (1, h, w) holds labels).
        """
        outputs = self.network_outputs(batch_inputs, batch_data_samples)
        with exact_float32(batch_inputs.device):
            for b, sample in enumerate(batch_data_samples):
                resize = MaskResize(
                    outputs.grid,
                    batch_inputs.shape[-2:],
                    sample.img_shape,
                    sample.ori_shape if rescale else sample.img_shape,
                    batch_inputs.device,
                )
                for task, word in self.task_words().items():
                    self.post_process(sample, task, outputs.of_image(b, word), resize)
        return batch_data_samples

    def task_words(self) -> dict[str, str]:
        """Each task to predict, and the task word that conditions its queries."""
        tasks = map(check_task, self.test_cfg['tasks'])
        return {task: self.test_cfg.get('token') or task for task in tasks}

    def network_outputs(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> BatchOutputs | WindowedOutputs:
        """Outputs for each image and each of the ``task_words``, see ``predict``."""
        words = list(dict.fromkeys(self.task_words().values()))
        with network_precision(self.test_cfg.get('precision'), batch_inputs.device):
            if (window := self.test_cfg.get('window')) is None:
                return self.run_network(batch_inputs, words)
            contents = [sample.img_shape for sample in batch_data_samples]
            run = partial(self.run_network, tasks=words)
            return WindowedOutputs(run, batch_inputs, contents, window)

    def run_network(self, batch_inputs: Tensor, tasks: Sequence[str]) -> BatchOutputs:
        """Compute features once, and decode them for each task.

        Args:
            batch_inputs: Normalised images of shape (B, 3, H, W).
            tasks: Task words, each for all images.
        """
        encoded = self.panoptic_head.encode(self.extract_feat(batch_inputs))
        words = [tasks] * len(batch_inputs)
        decoded = self.panoptic_head.decode_for_prediction(encoded, words)
        scores, embeds, features = decoded.last()
        if embeds is not None:
            embeds = embeds.float()
        return BatchOutputs(tasks, scores.float(), embeds, features.float())

    def post_process(
        self,
        sample: DetDataSample,
        task: str,
        outputs: fusion.Outputs,
        resize: MaskResize,
    ) -> None:
        """Put the prediction of a task into its field of the sample, see ``predict``."""
        if task == 'panoptic':
            thresholds = self.test_cfg['object_mask_thr'], self.test_cfg['iou_thr']
            codes, segments = fusion.panoptic_map(outputs, resize, self.is_thing, *thresholds)
            sample.pred_panoptic_seg = PixelData(sem_seg=codes[None])
            sample.pred_panoptic_seg.set_metainfo(dict(segments_info=segments))
        elif task == 'instance':
            most = self.test_cfg['max_per_image']
            found = fusion.instances(outputs, resize, self.is_thing, most)
            sample.pred_instances = InstanceData(**found)
        else:
            labels = fusion.semantic_map(outputs, resize)
            sample.pred_sem_seg = PixelData(sem_seg=labels[None])
