"""Sec. 3.4: decode the objects of an image, conditioned on tasks.

Shapes: B images, T tasks per image, Q queries, C channels, K classes, L decoder outputs (the
initial queries and one per layer), h x w the 1/4-resolution grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..host.transfers import send
from ..kernels.class_scores import ScoresOfBlock, relevant_probabilities
from ..kernels.mask_annealing import MaskAnnealing
from ..kernels.positional_encoding import positional_encoding
from .pixel_decoder import IdentityPixelDecoder
from .task_queries import Tasks
from .transformer import Decoder, KeyValue


@dataclass
class EncodedBatch:
    """What the tasks share of a batch of images.

    Attributes:
        mask_features: Mask features of shape (B, C, h, w), float32.
        shrunk: ``mask_features`` at the sizes of strides 32, 16, 8, for attention masks; empty if
            all are annealed.
        memories: Projected keys and values of the level of each decoder layer.
    """

    mask_features: Tensor
    shrunk: list[Tensor]
    memories: list[KeyValue]


@dataclass
class Decoded:
    """Outputs of the decoder, L of each.

    Attributes:
        cls_scores: Logits of shape (L, B, T, Q, K + 1), the last class is "no object".
        mask_embeds: Mask embeddings of shape (L, B, T, Q, C); times ``mask_features`` they are
            mask logits. None, for prediction, where ``mask_features`` are L of mask logits of shape
            (B, T, Q, h, w) already.
        mask_features: Features of shape (B, C, h, w) that all outputs and tasks share, or where
            they do not, those of each output, L of shape (B, T, C, h, w) or (B, C, h, w).
        initial_queries: Queries of shape (B, T, Q, C) that are compared with texts.
        object_queries: Queries of shape (B, T, Q, C), after the last layer.
    """

    cls_scores: Tensor
    mask_embeds: Tensor | None
    mask_features: Tensor | Sequence[Tensor]
    initial_queries: Tensor
    object_queries: Tensor

    def of_only_task(self) -> tuple[Tensor, Tensor, Tensor | list[Tensor]]:
        """Scores, embeddings and features without the axis of tasks, for the criterion."""
        features = self.mask_features
        assert self.mask_embeds is not None, 'they are for prediction'
        if not isinstance(features, Tensor):
            features = [x[:, 0] if x.dim() == 5 else x for x in features]
        return self.cls_scores[:, :, 0], self.mask_embeds[:, :, 0], features

    def last(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Scores, embeddings (or None) and features of the last output."""
        features = self.mask_features
        if not isinstance(features, Tensor):
            features = features[-1]
        embeds = None if self.mask_embeds is None else self.mask_embeds[-1]
        return self.cls_scores[-1], embeds, features


def _check_layers(layers: int, pixel_decoder: nn.Module) -> None:
    if isinstance(pixel_decoder, IdentityPixelDecoder) and layers < 3:
        raise ValueError(
            f'panoptic_head.transformer_decoder.num_layers is {layers}: with IdentityPixelDecoder '
            'it takes at least 3, one for each map, or the projections of the other maps would not '
            'be trained'
        )


def _annealing(arguments: dict | None, layers: int) -> MaskAnnealing | None:
    """The module of the option ``mask_annealing``."""
    if arguments is None:
        return None
    annealing = MaskAnnealing(**arguments)
    if len(annealing) != layers:
        raise ValueError(
            f'panoptic_head.mask_annealing has {len(annealing)} spans: it takes one for each of '
            f'{layers} decoder layers'
        )
    return annealing


@MODELS.register_module()
class OneFormerHead(BaseModule):
    """Pixel decoder, task queries and masked-attention layers (nine in the original).

    Parameters that Mask2Former has too bear the names of mmdet's ``Mask2FormerHead``.

    Args:
        in_channels: Channels of the backbone's maps of strides 4, 8, 16, 32.
        num_classes: K.
        pixel_decoder: Config of the pixel decoder.
        num_queries: Q, the task token included; 150 or 250 in the original.
        feat_channels: C.
        task_queries: Config of the task queries, by default of the type ``TaskQueries``.
        transformer_decoder: Arguments of ``Decoder``.
        mask_annealing: Arguments of ``MaskAnnealing``, with a span for each decoder layer; None for
            attention masks in training and prediction, as in the original.

    Raises:
        ValueError: If there are too few queries, not as many spans as decoder layers, or fewer
            layers than maps that only the layers bring together.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        pixel_decoder: dict,
        num_queries: int = 150,
        feat_channels: int = 256,
        task_queries: dict | None = None,
        transformer_decoder: dict | None = None,
        mask_annealing: dict | None = None,
    ) -> None:
        super().__init__()
        if num_queries < 2:
            raise ValueError(
                f'panoptic_head.num_queries is {num_queries}: it has to be at least 2, one of '
                'which is the task token'
            )
        self.num_queries = num_queries
        self.pixel_decoder = MODELS.build(
            dict(
                pixel_decoder,
                in_channels=in_channels,
                feat_channels=feat_channels,
                out_channels=feat_channels,
            )
        )
        self.task_queries = MODELS.build(
            dict(dict(type='TaskQueries', embed_dims=feat_channels), **(task_queries or {}))
        )
        decoder = dict(num_layers=9, order=('cross', 'self'), embed_dims=feat_channels)
        self.transformer_decoder = Decoder(**{**decoder, **(transformer_decoder or {})})
        layers = len(self.transformer_decoder.layers)
        _check_layers(layers, self.pixel_decoder)
        self.query_embed = nn.Embedding(num_queries, feat_channels)
        self.level_embed = nn.Embedding(3, feat_channels)
        self.cls_embed = nn.Linear(feat_channels, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(feat_channels, feat_channels),
            nn.ReLU(),
            nn.Linear(feat_channels, feat_channels),
            nn.ReLU(),
            nn.Linear(feat_channels, feat_channels),
        )
        self.mask_annealing = _annealing(mask_annealing, layers)

    def _has_masks(self, layer: int) -> bool:
        return self.mask_annealing is None or not self.mask_annealing.is_gone(layer)

    def encode(self, feats: Sequence[Tensor]) -> EncodedBatch:
        """Compute what does not depend on a task, once per image.

        Args:
            feats: The backbone's maps of strides 4, 8, 16, 32.
        """
        mask_features, levels = self.pixel_decoder(feats)
        values, keys = [], []
        for level, embed in zip(levels, self.level_embed.weight):
            value = level.flatten(2).mT + embed  # B N C
            values.append(value)
            height, width = level.shape[-2:]
            keys.append(value + positional_encoding(height, width, value.shape[-1], value.device))
        memories = [
            layer.cross_attn.project(keys[i % len(levels)], values[i % len(levels)])
            for i, layer in enumerate(self.transformer_decoder.layers)
        ]
        # bilinear resize and the product over channels commute, so this replaces resizing Q masks
        masked = any(map(self._has_masks, range(len(memories))))
        with torch.no_grad():
            shrunk = [
                F.interpolate(mask_features, size=level.shape[-2:], mode='bilinear')
                for level in (levels if masked else ())
            ]
        return EncodedBatch(mask_features, shrunk, memories)

    def decode(self, encoded: EncodedBatch, tasks: Tasks) -> Decoded:
        """Decode tasks of encoded images.

        Args:
            encoded: What ``encode`` returned for B images.
            tasks: Task words of each image, the same number T for all, or their ids, see
                ``task_queries.token_ids``.

        Raises:
            ValueError: For a word that is not a task.
        """
        query_pos = self.query_embed.weight
        norm = self.transformer_decoder.post_norm
        tokens = self.task_queries.task_tokens(tasks, norm)
        queries = initial = self.task_queries(tokens, encoded.mask_features, query_pos)
        cls_scores, mask_embeds = [], []

        def predict_heads(queries: Tensor) -> None:
            normed = norm(queries)
            cls_scores.append(self.cls_embed(normed))
            mask_embeds.append(self.mask_embed(normed))

        predict_heads(queries)
        for i, (layer, memory) in enumerate(zip(self.transformer_decoder.layers, encoded.memories)):
            allowed = None
            if self._has_masks(i):
                allowed = attention_mask(mask_embeds[-1], encoded.shrunk[i % len(encoded.shrunk)])
            if self.mask_annealing is not None:
                allowed = self.mask_annealing.keep(i, allowed)
            queries = layer(queries, query_pos, memory, allowed)
            predict_heads(queries)
        outputs = torch.stack(cls_scores), torch.stack(mask_embeds)
        return Decoded(*outputs, encoded.mask_features, initial, queries)

    def decode_for_prediction(self, encoded: EncodedBatch, tasks: Tasks) -> Decoded:
        """As ``decode``, of which a head may leave out what only losses read: all but the last."""
        return self.decode(encoded, tasks)


@torch.no_grad()
def attention_mask(mask_embeds: Tensor, shrunk: Tensor) -> Tensor:
    """Where each query may look: inside its own mask, or everywhere if that is empty.

    Args:
        mask_embeds: Mask embeddings of shape (B, T, Q, C).
        shrunk: Mask features at the size of the memory, of shape (B, C, h, w).

    Returns:
        Bool of shape (B, T, Q, h * w), True where attention is allowed.
    """
    # sigmoid(x) >= 0.5 is x >= 0
    allowed = torch.einsum('btqc,bcn->btqn', mask_embeds, shrunk.flatten(2)) >= 0
    return allowed | ~allowed.any(-1, keepdim=True)


def mask_logits(mask_embeds: Tensor | None, mask_features: Tensor) -> Tensor:
    """Mask logits of all queries.

    Args:
        mask_embeds: Mask embeddings of shape (B, T, Q, C), or None.
        mask_features: Mask features of shape (B, C, h, w), or (B, T, C, h, w), or without
            embeddings the logits themselves.

    Returns:
        Tensor of shape (B, T, Q, h, w).
    """
    if mask_embeds is None:
        return mask_features
    if mask_features.dim() == 5:
        return torch.einsum('btqc,btchw->btqhw', mask_embeds, mask_features)
    return torch.einsum('btqc,bchw->btqhw', mask_embeds, mask_features)


@dataclass
class ImageOutputs:
    """Outputs of the network for an image and a task; ``merged_windows`` has those of windows.

    Attributes:
        cls_scores: Class logits of shape (Q, K + 1).
        mask_embeds: Mask embeddings of shape (Q, C), or None.
        mask_features: Features of shape (C, h, w), or without embeddings mask logits (Q, h, w).
    """

    cls_scores: Tensor
    mask_embeds: Tensor | None
    mask_features: Tensor

    def mask_logits(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Mask logits (n, h, w) of the queries of given indices (n,), or of a slice."""
        if isinstance(index, Tensor):
            index = send(index, self.mask_features.device)
        if self.mask_embeds is None:
            return self.mask_features[index]
        return mask_logits(self.mask_embeds[None, None, index], self.mask_features[None])[0, 0]

    def block_scores(self) -> ScoresOfBlock:
        """A function that returns the two factors of the class scores of a block."""
        class_weights = self.cls_scores.softmax(-1)[:, :-1]
        masks = self.mask_logits()
        return lambda block: relevant_probabilities(class_weights, block.source(masks), block)


@dataclass
class BatchOutputs:
    """Outputs of the network for a batch; all else of it is released.

    Attributes:
        tasks: The T task words that the queries were conditioned on.
        cls_scores: Class logits of shape (B, T, Q, K + 1), float32.
        mask_embeds: Mask embeddings of shape (B, T, Q, C), float32, or None.
        mask_features: Features of shape (B, C, h, w), float32, or without embeddings mask logits of
            shape (B, T, Q, h, w).
    """

    tasks: Sequence[str]
    cls_scores: Tensor
    mask_embeds: Tensor | None
    mask_features: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return tuple(self.mask_features.shape[-2:])

    def split(self, parts: int) -> list['BatchOutputs']:
        """The outputs of equal parts of the batch, one after the other."""
        if parts == 1:
            return [self]
        pieces = (
            [None] * parts if x is None else x.chunk(parts)
            for x in (self.cls_scores, self.mask_embeds, self.mask_features)
        )
        return [BatchOutputs(self.tasks, *piece) for piece in zip(*pieces)]

    def of_image(self, b: int, task: str) -> ImageOutputs:
        """Outputs for an image and a task."""
        t = self.tasks.index(task)
        if self.mask_embeds is None:
            return ImageOutputs(self.cls_scores[b, t], None, self.mask_features[b, t])
        return ImageOutputs(self.cls_scores[b, t], self.mask_embeds[b, t], self.mask_features[b])
