"""Names of Hugging Face's transformers.

Files bear the names of transformers 4, which ``save_pretrained`` still writes; models of
transformers 5 have other names for Swin in memory. Both are read, those of files are written.
"""

import torch
from torch import Tensor

from .architecture import Shapes, num_classes_of
from .layout import Backbone, Layout, Rule, pixel_order, unfold_order
from .official import LOGIT_SCALE, loss_tensors

ENCODER = 'model.pixel_level_module.encoder.'
_PIXELS = 'model.pixel_level_module.decoder.'
_OUR_PIXELS = 'panoptic_head.pixel_decoder.'
_MODULE = 'model.transformer_module.'
_DECODER = 'model.transformer_module.decoder.'
_QUERIES = 'panoptic_head.task_queries.'
_TEXT = 'model.text_mapper.'

_HEAD = [
    Rule(_PIXELS + 'input_projections.{i}.0.{leaf}', _OUR_PIXELS + 'input_convs.{i}.conv.{leaf}'),
    Rule(_PIXELS + 'input_projections.{i}.1.{leaf}', _OUR_PIXELS + 'input_convs.{i}.gn.{leaf}'),
    Rule(_PIXELS + 'level_embed', _OUR_PIXELS + 'level_encoding.weight'),
    *(
        Rule(
            _PIXELS + 'encoder.layers.{i}.' + theirs + '.{rest}',
            _OUR_PIXELS + 'encoder.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('self_attn', 'self_attn'),
            ('self_attn_layer_norm', 'norms.0'),
            ('final_layer_norm', 'norms.1'),
            ('fc1', 'ffn.layers.0.0'),
            ('fc2', 'ffn.layers.1'),
        )
    ),
    Rule(_PIXELS + 'adapter_1.0.{leaf}', _OUR_PIXELS + 'lateral_convs.0.conv.{leaf}'),
    Rule(_PIXELS + 'adapter_1.1.{leaf}', _OUR_PIXELS + 'lateral_convs.0.gn.{leaf}'),
    Rule(_PIXELS + 'layer_1.0.{leaf}', _OUR_PIXELS + 'output_convs.0.conv.{leaf}'),
    Rule(_PIXELS + 'layer_1.1.{leaf}', _OUR_PIXELS + 'output_convs.0.gn.{leaf}'),
    Rule(_PIXELS + 'mask_projection.{leaf}', _OUR_PIXELS + 'mask_feature.{leaf}'),
    Rule(_MODULE + 'queries_embedder.weight', 'panoptic_head.query_embed.weight'),
    Rule(_MODULE + 'level_embed.weight', 'panoptic_head.level_embed.weight'),
    Rule(_DECODER + 'class_embed.{leaf}', 'panoptic_head.cls_embed.{leaf}'),
    *(
        Rule(
            f'{_DECODER}mask_embed.layers.{n}' + '.0.{leaf}',
            f'panoptic_head.mask_embed.{2 * n}' + '.{leaf}',
        )
        for n in range(3)
    ),
    Rule(_DECODER + 'decoder_norm.{leaf}', 'panoptic_head.transformer_decoder.post_norm.{leaf}'),
    Rule(
        tuple(_DECODER + 'layers.{i}.self_attn.self_attn.' + q + '_proj.{leaf}' for q in 'qkv'),
        'panoptic_head.transformer_decoder.layers.{i}.self_attn.attn.in_proj_{leaf}',
    ),
    *(
        Rule(
            _DECODER + 'layers.{i}.' + theirs + '.{rest}',
            'panoptic_head.transformer_decoder.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('self_attn.self_attn.out_proj', 'self_attn.attn.out_proj'),
            ('cross_attn.multihead_attn', 'cross_attn.attn'),
            ('cross_attn.norm', 'norms.0'),
            ('self_attn.norm', 'norms.1'),
            ('ffn.norm', 'norms.2'),
            ('ffn.linear1', 'ffn.layers.0.0'),
            ('ffn.linear2', 'ffn.layers.1'),
        )
    ),
    Rule(_DECODER + 'query_input_projection.{leaf}', _QUERIES + 'class_input_proj.{leaf}'),
    Rule(
        _DECODER + 'query_transformer.decoder.norm.{leaf}',
        _QUERIES + 'class_transformer.post_norm.{leaf}',
    ),
    *(
        Rule(
            _DECODER + 'query_transformer.decoder.layers.{i}.' + theirs + '.{rest}',
            _QUERIES + 'class_transformer.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('self_attn', 'self_attn.attn'),
            ('multihead_attn', 'cross_attn.attn'),
            ('linear1', 'ffn.layers.0.0'),
            ('linear2', 'ffn.layers.1'),
            ('norm1', 'norms.0'),
            ('norm2', 'norms.1'),
            ('norm3', 'norms.2'),
        )
    ),
    Rule(
        'model.task_encoder.task_mlp.layers.{i}.0.{leaf}', _QUERIES + 'task_mlp.layers.{i}.{leaf}'
    ),
    *(
        Rule(
            _TEXT + 'text_encoder.transformer.layers.{i}.' + theirs + '.{rest}',
            'text_mapper.text_encoder.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('self_attn', 'attn.attn'),
            ('layer_norm1', 'ln_1'),
            ('layer_norm2', 'ln_2'),
            ('mlp.fc1', 'c_fc'),
            ('mlp.fc2', 'c_proj'),
        )
    ),
    *(
        Rule(f'{_TEXT}text_encoder.{name}', f'text_mapper.text_encoder.{name}')
        for name in ('positional_embedding', 'token_embedding.weight', 'ln_final.{leaf}')
    ),
    Rule(
        _TEXT + 'text_projector.layers.{i}.0.{leaf}',
        'text_mapper.text_projector.layers.{i}.{leaf}',
    ),
    Rule(_TEXT + 'prompt_ctx.weight', 'text_mapper.prompt_ctx.weight'),
    LOGIT_SCALE,
]


_OUTPUT_NORMS = [
    Rule(f'{ENCODER}hidden_states_norms.stage{n + 1}' + '.{leaf}', f'backbone.norm{n}' + '.{leaf}')
    for n in range(4)
]


def _swin(swin: str, qkv: tuple[str, str, str], block: dict[str, str]) -> list[Rule]:
    """Rules of a spelling of Swin: its prefix, its three projections and the rest of a block."""
    theirs, ours = swin + 'encoder.layers.{i}.', 'backbone.stages.{i}.'
    return [
        Rule(
            swin + 'embeddings.patch_embeddings.projection.{leaf}',
            'backbone.patch_embed.projection.{leaf}',
        ),
        Rule(swin + 'embeddings.norm.{leaf}', 'backbone.patch_embed.norm.{leaf}'),
        Rule(
            tuple(theirs + 'blocks.{j}.' + name + '.{leaf}' for name in qkv),
            ours + 'blocks.{j}.attn.w_msa.qkv.{leaf}',
        ),
        *(
            Rule(theirs + 'blocks.{j}.' + name, ours + 'blocks.{j}.' + our_name)
            for name, our_name in block.items()
        ),
        Rule(theirs + 'downsample.{rest}', ours + 'downsample.{rest}', unfold_order, pixel_order),
        *_OUTPUT_NORMS,
    ]


_SWIN_ON_DISK = _swin(
    ENCODER,
    tuple(f'attention.self.{name}' for name in ('query', 'key', 'value')),
    {
        'attention.self.relative_position_bias_table': 'attn.w_msa.relative_position_bias_table',
        'attention.output.dense.{leaf}': 'attn.w_msa.proj.{leaf}',
        'layernorm_before.{leaf}': 'norm1.{leaf}',
        'layernorm_after.{leaf}': 'norm2.{leaf}',
        'intermediate.dense.{leaf}': 'ffn.layers.0.0.{leaf}',
        'output.dense.{leaf}': 'ffn.layers.1.{leaf}',
    },
)
_SWIN_IN_MEMORY = _swin(
    ENCODER + 'swin.',
    tuple(f'attention.{name}_proj' for name in 'qkv'),
    {
        'attention.relative_position_bias.relative_position_bias_table': (
            'attn.w_msa.relative_position_bias_table'
        ),
        'attention.o_proj.{leaf}': 'attn.w_msa.proj.{leaf}',
        'layernorm_before.{leaf}': 'norm1.{leaf}',
        'layernorm_after.{leaf}': 'norm2.{leaf}',
        'mlp.fc1.{leaf}': 'ffn.layers.0.0.{leaf}',
        'mlp.fc2.{leaf}': 'ffn.layers.1.{leaf}',
    },
)

_DINAT = [
    Rule(
        ENCODER + 'embeddings.patch_embeddings.projection.{i}.{leaf}',
        'backbone.patch_embed.proj.{i}.{leaf}',
    ),
    Rule(ENCODER + 'embeddings.norm.{leaf}', 'backbone.patch_embed.norm.{leaf}'),
    Rule(
        tuple(
            ENCODER + 'encoder.levels.{i}.layers.{j}.attention.self.' + name + '.{leaf}'
            for name in ('query', 'key', 'value')
        ),
        'backbone.levels.{i}.blocks.{j}.attn.qkv.{leaf}',
    ),
    *(
        Rule(
            ENCODER + 'encoder.levels.{i}.layers.{j}.' + theirs,
            'backbone.levels.{i}.blocks.{j}.' + ours,
        )
        for theirs, ours in (
            ('attention.self.rpb', 'attn.rpb'),
            ('attention.output.dense.{leaf}', 'attn.proj.{leaf}'),
            ('layernorm_before.{leaf}', 'norm1.{leaf}'),
            ('layernorm_after.{leaf}', 'norm2.{leaf}'),
            ('intermediate.dense.{leaf}', 'mlp.fc1.{leaf}'),
            ('output.dense.{leaf}', 'mlp.fc2.{leaf}'),
        )
    ),
    Rule(ENCODER + 'encoder.levels.{i}.downsample.{rest}', 'backbone.levels.{i}.downsample.{rest}'),
    *_OUTPUT_NORMS,
]

_FIRST_BLOCK = 'encoder.layers.0.blocks.0.attention.'
_FIRST_RPB = 'encoder.levels.0.layers.0.attention.self.rpb'

HUGGINGFACE = Layout(
    name='Hugging Face',
    head=_HEAD,
    backbones=[
        Backbone('Swin', f'{ENCODER}{_FIRST_BLOCK}self.query.weight', _SWIN_ON_DISK),
        Backbone('Swin in memory', f'{ENCODER}swin.{_FIRST_BLOCK}q_proj.weight', _SWIN_IN_MEMORY),
        Backbone('DiNAT', f'{ENCODER}{_FIRST_RPB}', _DINAT),
    ],
    unused=[
        ENCODER + 'layernorm.{leaf}',
        ENCODER + 'swin.layernorm.{leaf}',
        ENCODER + 'encoder.layers.{i}.blocks.{j}.attention.self.relative_position_index',
        'criterion.empty_weight',
    ],
)


def rebuilt(shapes: Shapes) -> dict[str, Tensor]:
    """What transformers' model may have beside tensors of ours: Swin's unused norm, the loss's.

    Args:
        shapes: Of all our tensors.
    """
    tensors = loss_tensors(num_classes_of(shapes))
    if 'backbone.stages.0.blocks.0.norm1.weight' in shapes:
        channels = shapes['backbone.norm3.weight'][0]
        tensors[ENCODER + 'swin.layernorm.weight'] = torch.ones(channels)
        tensors[ENCODER + 'swin.layernorm.bias'] = torch.zeros(channels)
    return tensors
