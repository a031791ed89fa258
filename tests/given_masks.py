"""Outputs of a network whose mask logits are given, in place of embeddings and features."""

from oneformer.models.oneformer_head import ImageOutputs


class GivenMasks(ImageOutputs):
    """Class scores (Q, K + 1) and mask logits (Q, h, w) of an image."""

    def __init__(self, cls_scores, masks):
        super().__init__(cls_scores, None, masks)

    def mask_logits(self, index=slice(None)):
        return self.mask_features[index]
