"""Names of EoMT's tensors: the authors' and those of transformers, see ``names``.

A DINOv3 of the authors has transformers' names inside its blocks. The SwiGLU of DINOv2-g has other
names in files of transformers 4 (``weights_in``) than in those of version 5; both are read, and the
second are written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .rules import Backbone, Layout, Rule, rules_of

_AUTHORS = 'network.encoder.backbone.'
_QKV = ('q', 'k', 'v')

_HEAD = [
    # ours | the authors | Hugging Face
    ('panoptic_head.', 'network.', ''),
    ('query_embed.weight', 'q.weight', 'query.weight'),
    ('cls_embed.*', 'class_head.*', 'class_predictor.*'),
    ('mask_embed.0.*', 'mask_head.0.*', 'mask_head.fc1.*'),
    ('mask_embed.2.*', 'mask_head.2.*', 'mask_head.fc2.*'),
    ('mask_embed.4.*', 'mask_head.4.*', 'mask_head.fc3.*'),
    ('mask_annealing.probabilities', 'attn_mask_probs', 'attn_mask_probs'),
    ('panoptic_head.upscale.{i}.', 'network.upscale.{i}.', 'upscale_block.block.{i}.'),
    ('conv1.*', 'conv1.*', 'conv1.*'),
    ('conv2.weight', 'conv2.weight', 'conv2.weight'),
    ('norm.*', 'norm.*', 'layernorm2d.*'),
]

_DINOV2 = [
    # ours, which are timm's and the authors' | Hugging Face | with SwiGLU | the same in version 4
    ('backbone.', _AUTHORS, *['embeddings.'] * 3),
    ('cls_token', 'cls_token', *['cls_token'] * 3),
    ('reg_token', 'reg_token', *['register_tokens'] * 3),
    ('pos_embed', 'pos_embed', *['position_embeddings.weight'] * 3),
    ('patch_embed.proj.*', 'patch_embed.proj.*', *['patch_embeddings.projection.*'] * 3),
    ('backbone.', _AUTHORS, *[''] * 3),
    ('norm.*', 'norm.*', *['layernorm.*'] * 3),
    ('backbone.blocks.{i}.', f'{_AUTHORS}blocks.{{i}}.', *['layers.{i}.'] * 3),
    ('norm1.*', 'norm1.*', *['norm1.*'] * 3),
    ('attn.qkv.*', 'attn.qkv.*', *[tuple(f'attention.{part}_proj.*' for part in _QKV)] * 3),
    ('attn.proj.*', 'attn.proj.*', *['attention.out_proj.*'] * 3),
    ('ls1.gamma', 'ls1.gamma', *['layer_scale1.lambda1'] * 3),
    ('norm2.*', 'norm2.*', *['norm2.*'] * 3),
    (
        'mlp.fc1.*',
        'mlp.fc1.*',
        'mlp.fc1.*',
        ('mlp.gate_proj.*', 'mlp.up_proj.*'),
        'mlp.weights_in.*',
    ),
    ('mlp.fc2.*', 'mlp.fc2.*', 'mlp.fc2.*', 'mlp.down_proj.*', 'mlp.weights_out.*'),
    ('ls2.gamma', 'ls2.gamma', *['layer_scale2.lambda1'] * 3),
]

_DINOV3 = [
    # ours, which are timm's | the authors | Hugging Face
    ('backbone.', f'{_AUTHORS}patch_embed.', 'embeddings.'),
    ('cls_token', *['cls_token'] * 2),
    ('reg_token', *['register_tokens'] * 2),
    ('patch_embed.proj.*', *['patch_embeddings.*'] * 2),
    ('backbone.', _AUTHORS, ''),
    ('norm.*', 'norm.*', 'layernorm.*'),
    ('backbone.blocks.{i}.', f'{_AUTHORS}blocks.{{i}}.', 'layers.{i}.'),
    ('norm1.*', *['norm1.*'] * 2),
    ('attn.qkv.weight', *[tuple(f'attention.{part}_proj.weight' for part in _QKV)] * 2),
    ('attn.q_bias', *['attention.q_proj.bias'] * 2),
    ('attn.v_bias', *['attention.v_proj.bias'] * 2),
    ('attn.proj.*', *['attention.o_proj.*'] * 2),
    ('gamma_1', *['layer_scale1.lambda1'] * 2),
    ('norm2.*', *['norm2.*'] * 2),
    ('mlp.fc2.*', *['mlp.down_proj.*'] * 2),
    ('gamma_2', *['layer_scale2.lambda1'] * 2),
]
_PLAIN_MLP = [
    ('backbone.blocks.{i}.', f'{_AUTHORS}blocks.{{i}}.', 'layers.{i}.'),
    ('mlp.fc1.*', *['mlp.up_proj.*'] * 2),
]
_GATED_MLP = [
    ('backbone.blocks.{i}.', f'{_AUTHORS}blocks.{{i}}.', 'layers.{i}.'),
    ('mlp.fc1_g.*', *['mlp.gate_proj.*'] * 2),
    ('mlp.fc1_x.*', *['mlp.up_proj.*'] * 2),
]

# what is done to values, by our name: to ours, and back
_TABLE = {'backbone.pos_embed': (lambda tensor: tensor[None], lambda tensor: tensor[0])}


def _dinov2(name: str, column: int, mark: str) -> Backbone:
    return Backbone(name, mark, rules_of(_DINOV2, column, _TABLE if column > 1 else {}))


def _dinov3(name: str, rows: list[tuple], column: int, mark: str) -> Backbone:
    return Backbone(name, mark, rules_of([*_DINOV3, *rows], column, {}))


def _is_swiglu(tensors: Mapping[str, Tensor]) -> bool:
    """Whether an MLP of ours has gates among its first layer, as that of DINOv2-g."""
    first, second = (tensors.get(f'backbone.blocks.0.mlp.fc{n}.weight') for n in (1, 2))
    return first is not None and second is not None and len(first) == 2 * second.shape[-1]


@dataclass(frozen=True)
class EoMTLayout(Layout):
    """A ``Layout`` in which DINOv2-g, whose tensors have the names of others here, has its own."""

    def _our_rules(self, keys: Iterable[str]) -> list[Rule]:
        rules = super()._our_rules(keys)
        if isinstance(keys, Mapping) and _is_swiglu(keys):
            own = [backbone for backbone in self.backbones if backbone.name.endswith('SwiGLU')]
            if own and 'backbone.pos_embed' in keys:
                return [*self.head, *own[0].rules]
        return rules


AUTHORS = EoMTLayout(
    name='EoMT',
    head=rules_of(_HEAD, 1, {}),
    backbones=[
        _dinov2('DINOv2', 1, f'{_AUTHORS}blocks.0.attn.qkv.weight'),
        _dinov3('gated DINOv3', _GATED_MLP, 1, f'{_AUTHORS}blocks.0.mlp.gate_proj.weight'),
        _dinov3('DINOv3', _PLAIN_MLP, 1, f'{_AUTHORS}blocks.0.mlp.up_proj.weight'),
    ],
    # of the normalisation, the class weights of the loss, and what is rebuilt
    unused=[
        'network.encoder.pixel_mean',
        'network.encoder.pixel_std',
        'criterion.{rest}',
        f'{_AUTHORS}patch_embed.mask_token',
        f'{_AUTHORS}rope_embeddings.{{rest}}',
    ],
)
HUGGING_FACE = EoMTLayout(
    name="Hugging Face's EoMT",
    head=rules_of(_HEAD, 2, {}),
    backbones=[
        _dinov2('DINOv2', 2, 'layers.0.mlp.fc1.weight'),
        _dinov2('DINOv2 with SwiGLU of version 4', 4, 'layers.0.mlp.weights_in.weight'),
        # the two above have such a table, too, and were recognised before
        _dinov2('DINOv2 with SwiGLU', 3, 'embeddings.position_embeddings.weight'),
        _dinov3('gated DINOv3', _GATED_MLP, 2, 'layers.0.mlp.gate_proj.weight'),
        _dinov3('DINOv3', _PLAIN_MLP, 2, 'layers.0.mlp.up_proj.weight'),
    ],
    unused=['criterion.{rest}', 'embeddings.mask_token', 'rope_embeddings.{rest}'],
)
EOMT_LAYOUTS: dict[str, Layout] = {'eomt': AUTHORS, 'huggingface-eomt': HUGGING_FACE}
