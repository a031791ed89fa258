"""Hugging Face's OneFormer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oneformer.models.text_mapper import token_ids
from oneformer.tasks import CONTEXT_LENGTH, TASK_TOKEN_IDS, Prompts
from oneformer.weights.names import LAYOUTS

from .batches import Batch, Outputs, target_masks
from .shapes import CLASSES, Shape, randomise


def require_transformers() -> None:
    """End with advice if Hugging Face's library is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise SystemExit(
            "this compares with Hugging Face's OneFormer: pip install -r requirements/tests.txt"
        ) from None


def build_hugging_face(shape: Shape, training: bool, device: torch.device) -> nn.Module:
    """Hugging Face's OneFormer in evaluation, dropout and drop path as published.

    Args:
        shape: Its sizes.
        training: Whether it has a text branch; then it wants texts and cannot do without.
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


def renamed_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's weights as ours."""
    translation = LAYOUTS['huggingface'].to_ours(state_dict)
    assert not translation.unknown + translation.broken
    return translation.tensors


def hugging_face_texts(batch: Batch, num_texts: int) -> Tensor:
    """Token ids of shape (B, N, 77), padded with zeros."""
    filler = Prompts().filler_of(batch.task)
    ids = torch.zeros(len(batch.texts), num_texts, CONTEXT_LENGTH, dtype=torch.long)
    for rows, texts in zip(ids, batch.texts):
        for row, text in zip(rows, [*texts, *[filler] * num_texts][:num_texts]):
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
        mask_labels=[masks.float() for masks in target_masks(batch)],
        class_labels=batch.labels,
    )


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
