"""One table of the names of all tensors: ours, the original's, and those of Hugging Face.

A row is one rule: our name, that of SHI-Labs' OneFormer in detectron2, and that of transformers.
Names are templates: ``{i}`` and ``{j}`` are layer numbers, ``*`` is a last part such as ``weight``,
``**`` is any ending. A tuple of names is stacked on the first axis. A row whose names end with a
dot has what goes before the names of the rows below it. ``backbone_names`` has the backbones, with
a column for each way in which files name them, and ``checkpoint_names`` by what all of these are
recognised.

Files of transformers bear the names of its version 4, which ``save_pretrained`` still writes;
models of version 5 have other names for Swin in memory. Both are read, those of files are written.
"""

from ..checkpoint_names import MARKS
from .backbone_names import ENCODER, HUGGING_FACE, SHI_LABS
from .eomt_names import EOMT_LAYOUTS
from .rules import Layout, rules_of

# what is done to values, by our name: FSDP wants a scalar of shape (1,)
_CHANGES = {
    'contrastive_loss.logit_scale': (
        lambda tensor: tensor.reshape(1) if tensor.numel() == 1 else tensor,
        lambda tensor: tensor.reshape(()),
    )
}

_DECODER = 'panoptic_head.transformer_decoder.layers.{i}.'
_THEIR_DECODER = 'model.transformer_module.decoder.layers.{i}.'
_QUERIES = 'panoptic_head.task_queries.'
_QUERY_LAYERS = f'{_QUERIES}query_transformer.layers.{{i}}.'
_PIXELS, _THEIR_PIXELS = 'sem_seg_head.pixel_decoder.', 'model.pixel_level_module.decoder.'
_PREDICTOR = 'sem_seg_head.predictor.'

_HEAD = [
    # ours | SHI-Labs | Hugging Face
    ('panoptic_head.pixel_decoder.', _PIXELS, _THEIR_PIXELS),
    ('input_convs.{i}.conv.*', 'input_proj.{i}.0.*', 'input_projections.{i}.0.*'),
    ('input_convs.{i}.gn.*', 'input_proj.{i}.1.*', 'input_projections.{i}.1.*'),
    ('level_encoding.weight', 'transformer.level_embed', 'level_embed'),
    ('lateral_convs.0.conv.*', 'adapter_1.*', 'adapter_1.0.*'),
    ('lateral_convs.0.gn.*', 'adapter_1.norm.*', 'adapter_1.1.*'),
    ('output_convs.0.conv.*', 'layer_1.*', 'layer_1.0.*'),
    ('output_convs.0.gn.*', 'layer_1.norm.*', 'layer_1.1.*'),
    ('mask_feature.*', 'mask_features.*', 'mask_projection.*'),
    (
        'panoptic_head.pixel_decoder.encoder.layers.{i}.',
        f'{_PIXELS}transformer.encoder.layers.{{i}}.',
        f'{_THEIR_PIXELS}encoder.layers.{{i}}.',
    ),
    ('self_attn.**', 'self_attn.**', 'self_attn.**'),
    ('norms.0.*', 'norm1.*', 'self_attn_layer_norm.*'),
    ('norms.1.*', 'norm2.*', 'final_layer_norm.*'),
    ('ffn.layers.0.0.*', 'linear1.*', 'fc1.*'),
    ('ffn.layers.1.*', 'linear2.*', 'fc2.*'),
    ('panoptic_head.', _PREDICTOR, 'model.transformer_module.'),
    ('query_embed.weight', 'query_embed.weight', 'queries_embedder.weight'),
    ('level_embed.weight', 'level_embed.weight', 'level_embed.weight'),
    ('cls_embed.*', 'class_embed.*', 'decoder.class_embed.*'),
    ('mask_embed.0.*', 'mask_embed.layers.0.*', 'decoder.mask_embed.layers.0.0.*'),
    ('mask_embed.2.*', 'mask_embed.layers.1.*', 'decoder.mask_embed.layers.1.0.*'),
    ('mask_embed.4.*', 'mask_embed.layers.2.*', 'decoder.mask_embed.layers.2.0.*'),
    ('transformer_decoder.post_norm.*', 'decoder_norm.*', 'decoder.decoder_norm.*'),
    (_DECODER, f'{_PREDICTOR}transformer_cross_attention_layers.{{i}}.', _THEIR_DECODER),
    ('cross_attn.attn.**', 'multihead_attn.**', 'cross_attn.multihead_attn.**'),
    ('norms.0.*', 'norm.*', 'cross_attn.norm.*'),
    (_DECODER, f'{_PREDICTOR}transformer_self_attention_layers.{{i}}.', _THEIR_DECODER),
    (
        'self_attn.attn.in_proj_*',
        'self_attn.in_proj_*',
        tuple(f'self_attn.self_attn.{part}_proj.*' for part in 'qkv'),
    ),
    ('self_attn.attn.out_proj.*', 'self_attn.out_proj.*', 'self_attn.self_attn.out_proj.*'),
    ('norms.1.*', 'norm.*', 'self_attn.norm.*'),
    (_DECODER, f'{_PREDICTOR}transformer_ffn_layers.{{i}}.', _THEIR_DECODER),
    ('ffn.layers.0.0.*', 'linear1.*', 'ffn.linear1.*'),
    ('ffn.layers.1.*', 'linear2.*', 'ffn.linear2.*'),
    ('norms.2.*', 'norm.*', 'ffn.norm.*'),
    (_QUERIES, _PREDICTOR, 'model.transformer_module.decoder.'),
    ('feature_proj.*', 'class_input_proj.*', 'query_input_projection.*'),
    (
        'query_transformer.post_norm.*',
        'class_transformer.decoder.norm.*',
        'query_transformer.decoder.norm.*',
    ),
    (
        _QUERY_LAYERS,
        f'{_PREDICTOR}class_transformer.decoder.layers.{{i}}.',
        'model.transformer_module.decoder.query_transformer.decoder.layers.{i}.',
    ),
    ('self_attn.attn.**', 'self_attn.**', 'self_attn.**'),
    ('cross_attn.attn.**', 'multihead_attn.**', 'multihead_attn.**'),
    ('ffn.layers.0.0.*', 'linear1.*', 'linear1.*'),
    ('ffn.layers.1.*', 'linear2.*', 'linear2.*'),
    ('norms.0.*', 'norm1.*', 'norm1.*'),
    ('norms.1.*', 'norm2.*', 'norm2.*'),
    ('norms.2.*', 'norm3.*', 'norm3.*'),
    (_QUERIES, '', 'model.task_encoder.'),
    ('task_mlp.layers.{i}.*', 'task_mlp.layers.{i}.*', 'task_mlp.layers.{i}.0.*'),
    ('text_mapper.', '', 'model.text_mapper.'),
    ('context.weight', 'prompt_ctx.weight', 'prompt_ctx.weight'),
    ('text_projector.layers.{i}.*', 'text_projector.layers.{i}.*', 'text_projector.layers.{i}.0.*'),
    ('text_mapper.text_encoder.', 'text_encoder.', 'model.text_mapper.text_encoder.'),
    ('positional_embedding', 'positional_embedding', 'positional_embedding'),
    ('token_embedding.weight', 'token_embedding.weight', 'token_embedding.weight'),
    ('ln_final.*', 'ln_final.*', 'ln_final.*'),
    (
        'text_mapper.text_encoder.layers.{i}.',
        'text_encoder.transformer.resblocks.{i}.',
        'model.text_mapper.text_encoder.transformer.layers.{i}.',
    ),
    ('attn.attn.**', 'attn.**', 'self_attn.**'),
    ('ln_1.*', 'ln_1.*', 'layer_norm1.*'),
    ('ln_2.*', 'ln_2.*', 'layer_norm2.*'),
    ('c_fc.*', 'mlp.c_fc.*', 'mlp.fc1.*'),
    ('c_proj.*', 'mlp.c_proj.*', 'mlp.fc2.*'),
    ('', '', ''),
    ('contrastive_loss.logit_scale', 'criterion.logit_scale', 'criterion.logit_scale'),
]

# what weights can be written as; of an encoder-only model, Hugging Face's EoMT
TARGETS = tuple(name for name in MARKS if name != 'huggingface-eomt')
LAYOUTS: dict[str, Layout] = {
    **EOMT_LAYOUTS,
    'shi-labs': Layout(
        name='the original',
        head=rules_of(_HEAD, 1, _CHANGES),
        backbones=SHI_LABS,
        # counters of BatchNorm, the window index of Swin and the class weights of the loss
        unused=[
            'backbone.layers.{i}.blocks.{j}.attn.relative_position_index',
            'backbone.{rest}.norm.num_batches_tracked',
            'criterion.empty_weight',
        ],
    ),
    'huggingface': Layout(
        name='Hugging Face',
        head=rules_of(_HEAD, 2, _CHANGES),
        backbones=HUGGING_FACE,
        unused=[
            f'{ENCODER}layernorm.{{leaf}}',
            f'{ENCODER}swin.layernorm.{{leaf}}',
            f'{ENCODER}encoder.layers.{{i}}.blocks.{{j}}.attention.self.relative_position_index',
            'criterion.empty_weight',
        ],
    ),
}
