"""The compared models, with random weights that make masks of both signs, and what they are fed.

Ours is compared with Hugging Face's OneFormer, which gets the same weights through our converter,
and with mmdet's Mask2Former, from which ours takes what both have: backbone, pixel decoder and
masked-attention layers.

Legend: B images, T tasks, Q queries, K classes, H x W the input.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from oneformer.conversion.huggingface import HUGGINGFACE
from oneformer.metainfo import KNOWN_DATASETS
from oneformer.models.oneformer_head import mask_logits
from oneformer.models.text_mapper import token_ids
from oneformer.tasks import CONTEXT_LENGTH, TASK_TOKEN_IDS
from oneformer.texts import Prompts, text_list

from .scenes import draw_cells
from .timing import ResultsDiffer

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
ADE20K = KNOWN_DATASETS['ade20k']
CLASSES = ADE20K['classes']


class Shape(NamedTuple):
    """Sizes that all sides share. The defaults are the published model of ADE20K with Swin-T."""

    swin_channels: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7
    resnet_channels: int = 64
    channels: int = 256
    queries: int = 150
    encoder_layers: int = 6
    decoder_layers: int = 9
    text_layers: int = 6
    context: int = 16
    points: int = 12544

    @property
    def resnet_maps(self) -> list[int]:
        """Channels of the maps of ResNet-50."""
        return [self.resnet_channels * 4 << stage for stage in range(4)]

    @property
    def texts(self) -> int:
        """Prompts per image."""
        return self.queries - self.context


SHAPE = Shape()
SMALL = Shape(
    swin_channels=32,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    swin_window=4,
    resnet_channels=8,
    channels=64,
    queries=20,
    encoder_layers=2,
    decoder_layers=3,
    text_layers=2,
    context=4,
    points=128,
)


def require_transformers() -> None:
    """End with advice if Hugging Face's library is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise SystemExit(
            "this compares with Hugging Face's OneFormer: pip install -r requirements/tests.txt"
        ) from None


_TABLES = (
    'queries_embedder.weight',
    'query_embed.weight',
    'query_feat.weight',
    'level_embed',
    'level_embed.weight',
    'prompt_ctx.weight',
    'token_embedding.weight',
    'positional_embedding',
    'relative_position_bias_table',
)
_READS_TOKEN_IDS = ('task_mlp.layers.0.0.weight', 'task_mlp.layers.0.weight')


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter a value that matters: no zeros, no ones, masks of both signs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 0:
                continue  # the temperature keeps its value
            if 'sampling_offsets' in name:
                parameter.add_(noise * 0.1)
            elif name.endswith(_READS_TOKEN_IDS):
                parameter.copy_(noise * 1e-4)  # its inputs are token ids up to 49407
            elif name.endswith(_TABLES):
                parameter.copy_(noise)
            elif parameter.dim() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            elif parameter.dim() == 1 and name.endswith('weight'):
                parameter.copy_(1 + noise * 0.2)
            else:
                parameter.copy_(noise * 0.3)
    return model


def renamed_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's weights as ours."""
    translation = HUGGINGFACE.to_ours(state_dict)
    assert not translation.unknown + translation.broken
    return translation.tensors


def build_hugging_face(shape: Shape, training: bool, device: torch.device) -> nn.Module:
    """Hugging Face's OneFormer in evaluation, dropout and drop path as published.

    Args:
        shape: Its sizes.
        training: With text branch; then it wants texts and cannot do without.
        device: Where to put it.
    """
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(
        embed_dim=shape.swin_channels,
        depths=list(shape.swin_depths),
        num_heads=list(shape.swin_heads),
        window_size=shape.swin_window,
        drop_path_rate=0.3,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    config = OneFormerConfig(
        backbone_config=swin,
        num_labels=len(CLASSES),
        num_queries=shape.queries,
        hidden_dim=shape.channels,
        conv_dim=shape.channels,
        mask_dim=shape.channels,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers + 1,  # it counts the initial prediction
        text_encoder_width=shape.channels,
        text_encoder_num_layers=shape.text_layers,
        text_encoder_n_ctx=shape.context,
        train_num_points=shape.points,
        is_training=training,
    )
    return randomise(OneFormerForUniversalSegmentation(config)).eval().to(device)


def build_ours(
    shape: Shape, training: bool, device: torch.device, backbone: str = 'swin-t'
) -> nn.Module:
    """Ours in evaluation, dropout and drop path as published.

    Args:
        shape: Its sizes.
        training: With criterion and text branch.
        device: Where to put it.
        backbone: 'swin-t' or 'r50'.
    """
    init_default_scope('mmdet')
    model = Config.fromfile(CONFIGS / f'oneformer_{backbone}_ade20k.py').model
    model.backbone.init_cfg = None
    if backbone == 'swin-t':
        model.backbone.update(
            embed_dims=shape.swin_channels,
            depths=shape.swin_depths,
            num_heads=shape.swin_heads,
            window_size=shape.swin_window,
        )
        in_channels = [shape.swin_channels << stage for stage in range(4)]
    else:
        model.backbone.base_channels = shape.resnet_channels
        in_channels = shape.resnet_maps
    head = model.panoptic_head
    head.update(in_channels=in_channels, num_queries=shape.queries, feat_channels=shape.channels)
    _resize_pixel_decoder(head.pixel_decoder, shape)
    head.transformer_decoder.num_layers = shape.decoder_layers
    model.criterion.num_points = shape.points
    model.text_mapper.update(
        num_context=shape.context, embed_dims=shape.channels, num_layers=shape.text_layers
    )
    if not training:
        model.update(criterion=None, text_mapper=None, contrastive_loss=None)
    return randomise(MODELS.build(model)).eval().to(device)


def _resize_pixel_decoder(config: dict, shape: Shape) -> None:
    config.encoder.num_layers = shape.encoder_layers
    config.encoder.layer_cfg.self_attn_cfg.embed_dims = shape.channels
    config.encoder.layer_cfg.ffn_cfg.embed_dims = shape.channels
    config.positional_encoding.num_feats = shape.channels // 2


def build_mask2former(shape: Shape, device: torch.device) -> nn.Module:
    """mmdet's Mask2Former with ResNet, as its config for COCO has it, in evaluation."""
    init_default_scope('mmdet')
    model = get_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py').model
    model.data_preprocessor = None
    model.backbone.update(base_channels=shape.resnet_channels, init_cfg=None)
    num_things = len(ADE20K['thing_classes'])
    classes = dict(num_things_classes=num_things, num_stuff_classes=len(CLASSES) - num_things)
    model.panoptic_fusion_head.update(classes)
    head = model.panoptic_head
    head.update(
        classes,
        in_channels=shape.resnet_maps,
        num_queries=shape.queries,
        feat_channels=shape.channels,
        out_channels=shape.channels,
    )
    _resize_pixel_decoder(head.pixel_decoder, shape)
    head.positional_encoding.num_feats = shape.channels // 2
    layer = head.transformer_decoder.layer_cfg
    for part in (layer.self_attn_cfg, layer.cross_attn_cfg, layer.ffn_cfg):
        part.embed_dims = shape.channels
    head.transformer_decoder.num_layers = shape.decoder_layers
    head.loss_cls.class_weight = [1.0] * len(CLASSES) + [0.1]
    model.train_cfg.num_points = shape.points
    return randomise(MODELS.build(model)).eval().to(device)


def share_weights(ours: nn.Module, peer: nn.Module) -> None:
    """Load all that a peer has into ours.

    Raises:
        RuntimeError: If Hugging Face's model has less or more than ours, or if mmdet's lacks a
            tensor of backbone, pixel decoder or masked-attention layers.
    """
    if type(peer).__name__ == 'Mask2Former':
        weights = dict(peer.state_dict())
        del weights['panoptic_head.query_feat.weight']  # ours asks the task for initial queries
        may_lack = ('panoptic_head.task_queries.', 'text_mapper.', 'contrastive_loss.')
    else:
        weights = renamed_weights(peer.state_dict())
        may_lack = ()
    missing, unexpected = ours.load_state_dict(weights, strict=False)
    missing = [
        name
        for name in missing
        if not name.startswith(may_lack) and not name.endswith('relative_position_index')
    ]
    if missing or unexpected:
        raise RuntimeError(f'{type(peer).__name__}: missing {missing}, unexpected {unexpected}')


@contextmanager
def same_start(ours: nn.Module, peer: nn.Module) -> Iterator[None]:
    """Let ours start from Mask2Former's learned queries, which makes the two the same function."""
    queries = peer.panoptic_head.query_feat.weight

    def forward(tokens: Tensor, *_, **__) -> Tensor:
        return queries.expand(*tokens.shape[:2], -1, -1)

    with mock.patch.object(ours.panoptic_head.task_queries, 'forward', forward):
        yield


@contextmanager
def same_points(ours: nn.Module) -> Iterator[None]:
    """Let all criterions sample masks at the same points wherever they draw some."""
    generator = torch.Generator().manual_seed(5)
    sets: dict[int, Tensor] = {}

    def rand(*size, device=None, **_) -> Tensor:
        num_sets, num_points, _ = size[0] if len(size) == 1 else size
        if num_points not in sets:
            draw = torch.empty(1, num_points, 2).uniform_(generator=generator)
            sets[num_points] = draw.to(device or 'cpu')
        return sets[num_points].repeat(num_sets, 1, 1)

    def sample_points(num_sets, num_points, device, *_) -> Tensor:
        return rand(num_sets, num_points, 2, device=device)

    with (
        mock.patch.object(torch, 'rand', rand),
        mock.patch.object(ours.criterion, 'sample_points', sample_points),
    ):
        yield


def check_close(name: str, ours: Tensor, peer: Tensor, atol: float = 1e-2) -> None:
    """Compare logits.

    Where a mask logit is zero but for rounding, the sides may disagree about a bit of an attention
    mask, which moves a whole query a little. So one logit in a hundred may differ by more.

    Raises:
        ResultsDiffer: If shapes or more logits differ.
    """
    if ours.shape != peer.shape:
        raise ResultsDiffer(f"{name}: ours are {tuple(ours.shape)}, the peer's {tuple(peer.shape)}")
    far = ((ours - peer).abs() > atol).double().mean().item()
    if not far <= 0.01:  # also nan
        raise ResultsDiffer(f'{name}: {far:.1%} of the logits differ by more than {atol}')


class Batch(NamedTuple):
    """Images with targets; maps hold k for target k - 1."""

    images: Tensor  # B 3 H W
    maps: Tensor  # B H W
    labels: list[Tensor]
    task: str = 'panoptic'

    @property
    def resnet_maps(self) -> list[int]:
        """Channels of the maps of ResNet-50."""
        return [self.resnet_channels * 4 << stage for stage in range(4)]

    @property
    def texts(self) -> list[list[str]]:
        """For each image one prompt per target."""
        return [Prompts().targets(labels.tolist(), CLASSES) for labels in self.labels]


def draw_batch(size: int, targets: Sequence[int], device: torch.device) -> Batch:
    """Noise, and for each image as many cells that tile it; none are lost.

    Args:
        size: Height and width.
        targets: Number for each image, may be zero.
        device: Where to put it.
    """
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(2)
    maps = [
        draw_cells(rng, size, size, count) if count else np.zeros((size, size)) for count in targets
    ]
    # ours takes the smallest integers, as its data pipeline makes them
    maps = torch.from_numpy(np.stack(maps).astype(np.int16))
    labels = [torch.from_numpy(rng.integers(len(CLASSES), size=count)) for count in targets]
    images = torch.randn(len(targets), 3, size, size, generator=generator)
    return Batch(images.to(device), maps.to(device), [label.to(device) for label in labels])


def our_samples(batch: Batch) -> list[DetDataSample]:
    """Targets and texts as our data pipeline packs them."""
    samples = []
    for number, (texts, labels, segment_map) in enumerate(
        zip(batch.texts, batch.labels, batch.maps)
    ):
        sample = DetDataSample(
            metainfo=dict(
                task=batch.task,
                texts=texts,
                filler=Prompts().filler_of(batch.task),
                img_id=number,
                batch_input_shape=tuple(segment_map.shape),
            )
        )
        sample.gt_instances = InstanceData(labels=labels)
        sample.gt_panoptic_seg = PixelData(sem_seg=segment_map[None])
        samples.append(sample)
    return samples


def _masks(batch: Batch) -> list[Tensor]:
    return [
        segment_map == torch.arange(1, len(labels) + 1, device=labels.device)[:, None, None]
        for segment_map, labels in zip(batch.maps, batch.labels)
    ]


def hugging_face_texts(batch: Batch, num_texts: int) -> Tensor:
    """Token ids of shape (B, N, 77), padded with zeros."""
    filler = Prompts().filler_of(batch.task)
    ids = torch.zeros(len(batch.texts), num_texts, CONTEXT_LENGTH, dtype=torch.long)
    for rows, texts in zip(ids, batch.texts):
        for row, text in zip(rows, text_list(texts, filler, num_texts)):
            row[: len(token_ids(text))] = torch.tensor(token_ids(text))
    return ids.to(batch.images.device)


def hugging_face_tasks(batch: Batch, task: str) -> Tensor:
    """Token ids of shape (B, 77)."""
    return torch.tensor([TASK_TOKEN_IDS[task]] * len(batch.images), device=batch.images.device)


def hugging_face_inputs(batch: Batch, num_texts: int) -> dict:
    """Arguments of a training step, as its processor makes them."""
    return dict(
        pixel_values=batch.images,
        task_inputs=hugging_face_tasks(batch, batch.task),
        text_inputs=hugging_face_texts(batch, num_texts),
        mask_labels=[masks.float() for masks in _masks(batch)],
        class_labels=batch.labels,
    )


def mmdet_samples(batch: Batch) -> list[DetDataSample]:
    """All targets as instances, since only things bring one mask per target there."""
    samples = []
    for labels, masks in zip(batch.labels, _masks(batch)):
        size = tuple(masks.shape[1:])
        sample = DetDataSample(
            metainfo=dict(batch_input_shape=size, img_shape=size, ori_shape=size)
        )
        sample.gt_instances = InstanceData(
            labels=labels, masks=BitmapMasks(masks.cpu().numpy().astype(np.uint8), *size)
        )
        samples.append(sample)
    return samples


class Outputs(NamedTuple):
    """Raw logits."""

    scores: Tensor  # T B Q K+1
    masks: Tensor  # T B Q H/4 W/4


@torch.no_grad()
def our_outputs(model: nn.Module, images: Tensor, tasks: Sequence[str]) -> Outputs:
    """All tasks in one pass."""
    head = model.panoptic_head
    encoded = head.encode(model.extract_feat(images))
    decoded = head.decode(encoded, [list(tasks)] * len(images))
    masks = mask_logits(decoded.mask_embeds[-1], encoded.mask_features)
    return Outputs(decoded.cls_scores[-1].transpose(0, 1), masks.transpose(0, 1))


@torch.no_grad()
def hugging_face_outputs(model: nn.Module, batch: Batch, tasks: Sequence[str]) -> Outputs:
    """One pass for each task; it knows no other way."""
    predictions = [
        model(pixel_values=batch.images, task_inputs=hugging_face_tasks(batch, task))
        for task in tasks
    ]
    return Outputs(
        torch.stack([prediction.class_queries_logits for prediction in predictions]),
        torch.stack([prediction.masks_queries_logits for prediction in predictions]),
    )


@torch.no_grad()
def mask2former_outputs(model: nn.Module, images: Tensor) -> Outputs:
    """Of its last layer; it also returns those of the others."""
    scores, masks = model(images, None, mode='tensor')
    return Outputs(scores[-1][None], masks[-1][None])
