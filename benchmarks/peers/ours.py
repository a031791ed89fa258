"""Our model."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from oneformer.models.oneformer_head import mask_logits
from oneformer.tasks import Prompts

from .batches import Batch, Outputs
from .shapes import CONFIGS, Shape, pixel_decoder_changes, randomise


def our_changes(shape: Shape, backbone: str = 'swin-t') -> dict:
    """What to change in the model of our config, as ``Config.merge_from_dict`` takes it."""
    if backbone == 'swin-t':
        options = dict(
            embed_dims=shape.swin_channels,
            depths=shape.swin_depths,
            num_heads=shape.swin_heads,
            window_size=shape.swin_window,
        )
        in_channels = [shape.swin_channels << stage for stage in range(4)]
    else:
        options, in_channels = dict(base_channels=shape.resnet_channels), shape.resnet_maps
    return dict(
        backbone=dict(options, init_cfg=None),
        panoptic_head=dict(
            in_channels=in_channels,
            num_queries=shape.queries,
            feat_channels=shape.channels,
            pixel_decoder=pixel_decoder_changes(shape),
            transformer_decoder=dict(num_layers=shape.decoder_layers),
        ),
        criterion=dict(num_points=shape.points),
        text_mapper=dict(
            num_context=shape.context, embed_dims=shape.channels, num_layers=shape.text_layers
        ),
    )


def build_ours(
    shape: Shape,
    training: bool,
    device: torch.device,
    backbone: str = 'swin-t',
    dataset: str = 'ade20k',
    metainfo: dict | None = None,
) -> nn.Module:
    """Ours in evaluation, dropout and drop path as published.

    Args:
        shape: Its sizes.
        training: Whether it has criterion and text branch.
        device: Device to put it on.
        backbone: 'swin-t' or 'r50'.
        dataset: 'ade20k' or 'coco', whose classes it has.
        metainfo: Classes in their place.
    """
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / f'oneformer_{backbone}_{dataset}.py')
    cfg.merge_from_dict(dict(model=our_changes(shape, backbone)))
    model = cfg.model
    if metainfo is not None:
        model.metainfo = metainfo
    if not training:
        model.update(criterion=None, text_mapper=None, contrastive_loss=None)
    return randomise(MODELS.build(model)).eval().to(device)


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
        sample.gt_target_map = PixelData(sem_seg=segment_map[None])
        samples.append(sample)
    return samples


@torch.no_grad()
def our_outputs(model: nn.Module, images: Tensor, tasks: Sequence[str]) -> Outputs:
    """All tasks in one pass."""
    head = model.panoptic_head
    encoded = head.encode(model.extract_feat(images))
    decoded = head.decode_for_prediction(encoded, [list(tasks)] * len(images))
    scores, embeds, features = decoded.last()
    masks = mask_logits(embeds, features)
    return Outputs(scores.transpose(0, 1), masks.transpose(0, 1))
