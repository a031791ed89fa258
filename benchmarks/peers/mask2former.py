"""mmdet's Mask2Former."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from mmcv.ops import multi_scale_deform_attn
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from oneformer.kernels.attention_paths import find_obstacle
from oneformer.object_limits import default_max_per_image

from .batches import Batch, Outputs, target_masks
from .shapes import ADE20K, CLASSES, Shape, pixel_decoder_changes, randomise


def attention_note(device: torch.device) -> str:
    """What the peer's deformable attention runs in, if not in what mmcv has for the device."""
    lacks = device.type == 'cuda' and find_obstacle('cuda', device) is not None
    return "peer's attention in plain torch, mmcv has no operator here" if lacks else ''


def build_mask2former(
    shape: Shape,
    device: torch.device,
    num_things: int = len(ADE20K['thing_classes']),
    num_stuff: int = len(CLASSES) - len(ADE20K['thing_classes']),
) -> nn.Module:
    """mmdet's Mask2Former with ResNet, as its config for COCO has it, in evaluation.

    mmcv calls its operator for every tensor on a GPU, also where that is not compiled; there its
    plain torch is used, which ``attention_note`` says.
    """
    if attention_note(device):
        multi_scale_deform_attn.IS_CUDA_AVAILABLE = False
    init_default_scope('mmdet')
    cfg = get_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py')
    pixel_decoder = pixel_decoder_changes(shape)
    cfg.merge_from_dict(dict(model=dict(panoptic_head=dict(pixel_decoder=pixel_decoder))))
    model = cfg.model
    model.data_preprocessor = None
    model.backbone.update(base_channels=shape.resnet_channels, init_cfg=None)
    classes = dict(num_things_classes=num_things, num_stuff_classes=num_stuff)
    model.panoptic_fusion_head.update(classes)
    head = model.panoptic_head
    head.update(
        classes,
        in_channels=shape.resnet_maps,
        num_queries=shape.queries,
        feat_channels=shape.channels,
        out_channels=shape.channels,
    )
    head.positional_encoding.num_feats = shape.channels // 2
    layer = head.transformer_decoder.layer_cfg
    for part in (layer.self_attn_cfg, layer.cross_attn_cfg, layer.ffn_cfg):
        part.embed_dims = shape.channels
    head.transformer_decoder.num_layers = shape.decoder_layers
    head.loss_cls.class_weight = [1.0] * (num_things + num_stuff) + [0.1]
    model.train_cfg.num_points = shape.points
    model.test_cfg.max_per_image = default_max_per_image(shape.queries)  # as many as ours
    return randomise(MODELS.build(model)).eval().to(device)


def mmdet_samples(batch: Batch) -> list[DetDataSample]:
    """All targets as instances, since only things bring one mask per target there."""
    samples = []
    for labels, masks in zip(batch.labels, target_masks(batch)):
        size = tuple(masks.shape[1:])
        sample = DetDataSample(
            metainfo=dict(batch_input_shape=size, img_shape=size, ori_shape=size)
        )
        sample.gt_instances = InstanceData(
            labels=labels, masks=BitmapMasks(masks.cpu().numpy().astype(np.uint8), *size)
        )
        samples.append(sample)
    return samples


@torch.no_grad()
def mask2former_outputs(model: nn.Module, images: Tensor) -> Outputs:
    """Of its last layer; it also returns those of the others."""
    scores, masks = model(images, None, mode='tensor')
    return Outputs(scores[-1][None], masks[-1][None])


@contextmanager
def same_start(ours: nn.Module, peer: nn.Module) -> Iterator[None]:
    """Let ours start from Mask2Former's learned queries, which makes the two the same function."""
    queries = peer.panoptic_head.query_feat.weight

    def forward(tokens: Tensor, *_, **__) -> Tensor:
        return queries.expand(*tokens.shape[:2], -1, -1)

    with mock.patch.object(ours.panoptic_head.task_queries, 'forward', forward):
        yield
