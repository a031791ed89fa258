"""The compared models, with random weights, and what they are fed.

Ours is compared with Hugging Face's OneFormer, which gets the same weights through our converter,
and with mmdet's Mask2Former, from which ours takes what both have: backbone, pixel decoder and
masked-attention layers.
"""

# ruff: noqa: F401

from .batches import NUM_TASKS, Batch, Outputs, draw_batch
from .hugging_face import (
    build_hugging_face,
    hugging_face_inputs,
    hugging_face_losses,
    hugging_face_outputs,
    hugging_face_tasks,
    hugging_face_texts,
    renamed_weights,
    require_transformers,
)
from .mask2former import (
    attention_note,
    build_mask2former,
    mask2former_outputs,
    mmdet_samples,
    same_start,
)
from .ours import build_ours, our_changes, our_outputs, our_samples
from .shapes import ADE20K, CLASSES, SHAPE, SMALL, Shape, randomise
from .sides import (
    check_close,
    double_precision,
    same_points,
    same_texts,
    share_weights,
    without_dropout,
)
from .sure import make_classes_sure, make_masks_sure
