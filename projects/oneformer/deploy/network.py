"""What an exported graph computes: from an image and task numbers to class and mask logits."""

import torch
from torch import Tensor, nn

from ..models.oneformer_head import mask_logits
from ..tasks import TASK_TOKEN_IDS, TASKS


class ExportedNetwork(nn.Module):
    """A ``OneFormer`` for prediction, whose tasks are numbers and whose images are plain pixels.

    Args:
        model: A ``OneFormer`` in evaluation mode.
    """

    mean: Tensor
    std: Tensor
    token_ids: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        preprocessor = model.data_preprocessor
        self.exchanges_channels = getattr(
            preprocessor, 'exchanges_channels', preprocessor._channel_conversion
        )
        mean, std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
        if preprocessor._enable_normalize:
            mean, std = (x.detach().float().view(1, -1, 1, 1).clone() for x in _statistics(model))
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        ids = torch.tensor([TASK_TOKEN_IDS[task] for task in TASKS], dtype=torch.float32)
        self.register_buffer('token_ids', ids)

    def forward(self, image: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
        """Predict logits.

        Args:
            image: RGB of 0 to 255, of shape (B, 3, H, W), float32; H and W are multiples of the
                model's divisor.
            tasks: Positions in ``TASKS``, of shape (B, T), int64. Others are refused by the
                runtime's own check of an index.

        Returns:
            Class logits of shape (B, T, Q, K + 1) and mask logits (B, T, Q, H / 4, W / 4).
        """
        if not self.exchanges_channels:  # of files, which are BGR: the network takes it
            image = image.flip(1)
        # an index below 0 would count from the end
        ids = self.token_ids[torch.where(tasks < 0, len(TASKS), tasks)]
        head = self.model.panoptic_head
        encoded = head.encode(self.model.extract_feat((image - self.mean) / self.std))
        scores, embeds, features = head.decode_for_prediction(encoded, ids).last()
        return scores, mask_logits(embeds, features)


def _statistics(model: nn.Module) -> tuple[Tensor, Tensor]:
    return model.data_preprocessor.mean, model.data_preprocessor.std
