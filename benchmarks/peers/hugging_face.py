"""Hugging Face's OneFormer."""

from collections.abc import Mapping, Sequence

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from oneformer.models.text_mapper import token_ids
from oneformer.tasks import CONTEXT_LENGTH, TASK_TOKEN_IDS
from oneformer.weights.names import LAYOUTS

from .batches import Batch, Outputs
from .shapes import CLASSES, Shape, randomise


def require_transformers() -> None:
    """End with advice if Hugging Face's library is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise SystemExit(
            "this compares with Hugging Face's OneFormer: pip install -r requirements/tests.txt"
        ) from None


def build_hugging_face(
    shape: Shape, training: bool, device: torch.device, num_classes: int = len(CLASSES)
) -> nn.Module:
    """Hugging Face's OneFormer in evaluation, dropout and drop path as published.

    Args:
        shape: Its sizes.
        training: Whether it has a text branch; then it wants texts and cannot do without.
        device: Device to put it on.
        num_classes: Number of classes.
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
        num_labels=num_classes,
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


def renamed_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's weights as ours."""
    translation = LAYOUTS['huggingface'].to_ours(state_dict)
    assert not translation.unknown + translation.broken
    return translation.tensors


def hugging_face_texts(samples: Sequence[DetDataSample], num_texts: int) -> Tensor:
    """Token ids of shape (B, N, 77), padded with zeros."""
    ids = torch.zeros(len(samples), num_texts, CONTEXT_LENGTH, dtype=torch.long)
    for rows, sample in zip(ids, samples):
        texts = [*sample.texts, *[sample.filler] * num_texts]
        for row, text in zip(rows, texts[:num_texts]):
            row[: len(token_ids(text))] = torch.tensor(token_ids(text))
    return ids


def hugging_face_tasks(tasks: Sequence[str]) -> Tensor:
    """Token ids of shape (B, 77)."""
    return torch.tensor([TASK_TOKEN_IDS[task] for task in tasks])


def hugging_face_inputs(images: Tensor, samples: Sequence[DetDataSample], num_texts: int) -> dict:
    """Arguments of a training step, as its processor makes them.

    Args:
        images: (B, 3, H, W), normalised.
        samples: Samples as our data pipeline packs them.
        num_texts: N.
    """
    labels = [sample.gt_instances.labels for sample in samples]
    maps = [sample.gt_target_map.sem_seg for sample in samples]  # k is target k - 1
    numbers = [torch.arange(1, len(own) + 1, device=images.device) for own in labels]
    return dict(
        pixel_values=images,
        task_inputs=hugging_face_tasks([sample.task for sample in samples]).to(images.device),
        text_inputs=hugging_face_texts(samples, num_texts).to(images.device),
        mask_labels=[(m == own[:, None, None]).float() for m, own in zip(maps, numbers)],
        class_labels=labels,
    )


def hugging_face_losses(model: nn.Module, inputs: Mapping) -> dict[str, Tensor]:
    """Its weighted losses under our names; ``inputs`` are those of ``hugging_face_inputs``."""
    captured = {}
    get_loss_dict = model.get_loss_dict
    model.get_loss_dict = lambda *args, **kwargs: captured.setdefault(
        'losses', get_loss_dict(*args, **kwargs)
    )
    try:
        model(**inputs)
    finally:
        del model.get_loss_dict
    losses = {}
    for name, value in captured['losses'].items():
        name, _, index = name.replace('cross_entropy', 'cls').partition('_')[2].partition('_')
        losses[f'd{index}.loss_{name}' if index else f'loss_{name}'] = value
    return losses


@torch.no_grad()
def hugging_face_outputs(model: nn.Module, batch: Batch, tasks: Sequence[str]) -> Outputs:
    """One pass for each task; it knows no other way."""
    images = batch.images
    ids = hugging_face_tasks(tasks).to(images.device)
    predictions = [
        model(pixel_values=images, task_inputs=row.expand(len(images), -1)) for row in ids
    ]
    return Outputs(
        torch.stack([prediction.class_queries_logits for prediction in predictions]),
        torch.stack([prediction.masks_queries_logits for prediction in predictions]),
    )
