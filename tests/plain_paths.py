"""The plain, slow ways of all that is computed fast, to put in its place in a model."""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmcv.ops import point_sample

from oneformer.models import criterion, oneformer_head, transformer
from oneformer.models.text_mapper import token_ids


class SampledMasks:
    """Samples one full-size mask per target."""

    def __init__(self, target_map, points, regions=None):
        self.target_map, self.points, self.regions = target_map, points, regions

    def _mask(self, target):
        if self.regions is None:
            return self.target_map == target + 1
        return torch.isin(self.target_map, self.regions[target].nonzero() + 1)

    def _sample(self, masks, points):
        return point_sample(masks[:, None].to(points.dtype), points)[:, 0]

    def all_masks(self, count):
        masks = torch.stack([self._mask(k) for k in range(count)])
        return torch.stack([self._sample(masks, p.expand(count, -1, -1)) for p in self.points])

    def own_masks(self):
        masks = torch.stack([self._mask(k) for k in range(self.points.shape[1])])
        return torch.stack([self._sample(masks, points) for points in self.points])

    def valid(self):
        unknown = (self.target_map < 0)[None, None].to(self.points.dtype)
        share = point_sample(unknown, self.points.reshape(1, -1, 2))
        return (share == 0).to(self.points.dtype).view(self.points.shape[:-1])


def text_list(texts, filler, num_texts):
    """The original's padded list: the prompts of an image, then fillers; none too many."""
    kept = list(texts[:num_texts])
    return kept + [filler] * (num_texts - len(kept))


def sample_pixels(features, points):
    return point_sample(features, points[None])[0].mT


def attend_positions(query, memory, dropout):
    value = (memory.rows[:, :, None] + memory.columns[:, None]).flatten(1, 2)
    return F.scaled_dot_product_attention(query, memory.key, value.expand_as(memory.key))


def text_queries(mapper):
    """All prompts of all images, at their full length."""

    def forward(texts, fillers):
        lists = [text_list(*pair, mapper.num_texts) for pair in zip(texts, fillers)]
        ids = torch.zeros(len(lists), mapper.num_texts, 77, dtype=torch.long)
        for i, prompts in enumerate(lists):
            for j, prompt in enumerate(prompts):
                ids[i, j, : len(token_ids(prompt))] = torch.tensor(token_ids(prompt))
        features = mapper.encode(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
        context = mapper.context.weight.expand(len(lists), -1, -1)
        return torch.cat([features, context], 1)

    return forward


def use_plain_paths(model, monkeypatch):
    """Change everything that a fast path computes, all over the model."""
    held = {}

    def hold_features(module, inputs, outputs):
        held['mask_features'] = outputs[0]

    def attention_mask(mask_embeds, shrunk):
        masks = torch.einsum('btqc,bchw->btqhw', mask_embeds, held['mask_features']).detach()
        masks = F.interpolate(masks.flatten(0, 1), size=shrunk.shape[-2:], mode='bilinear')
        allowed = (masks.sigmoid() >= 0.5).flatten(2).unflatten(0, mask_embeds.shape[:2])
        return allowed | ~allowed.any(-1, keepdim=True)

    model.panoptic_head.pixel_decoder.register_forward_hook(hold_features)
    monkeypatch.setattr(oneformer_head, 'attention_mask', attention_mask)
    monkeypatch.setattr(model.panoptic_head.pixel_decoder, 'attention', 'torch')
    monkeypatch.setattr(transformer, 'attend_positions', attend_positions)
    monkeypatch.setattr(transformer.FeedForward, 'forward', FFN.forward)
    monkeypatch.setattr(criterion, 'sample_pixels', sample_pixels)
    monkeypatch.setattr(criterion, 'SampledTargets', SampledMasks)
    monkeypatch.setattr(model.text_mapper, 'forward', text_queries(model.text_mapper))
