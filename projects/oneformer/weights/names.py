"""One table of the names of all tensors: ours, the original's, and those of Hugging Face.

A row is one rule: our name, that of SHI-Labs' OneFormer in detectron2, and that of transformers.
Names are templates: ``{i}`` and ``{j}`` are layer numbers, ``{leaf}`` is a last part such as
``weight``, ``{rest}`` is any ending. A tuple of names is stacked on the first axis. A row whose
names end with a dot has what goes before the names of the rows below it. ``backbone_names`` has the
backbones, with a column for each way in which files name them.

Files of transformers bear the names of its version 4, which ``save_pretrained`` still writes;
models of version 5 have other names for Swin in memory. Both are read, those of files are written.
"""

from .backbone_names import ENCODER, HUGGING_FACE, SHI_LABS
from .rules import Layout, rules_of

# names of our own earlier checkpoints, and those of today
EARLIER = {
    'panoptic_head.task_queries.class_transformer.': (
        'panoptic_head.task_queries.query_transformer.'
    ),
    'panoptic_head.task_queries.class_input_proj.': 'panoptic_head.task_queries.feature_proj.',
    'text_mapper.prompt_ctx.': 'text_mapper.context.',
}

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
    ('input_convs.{i}.conv.{leaf}', 'input_proj.{i}.0.{leaf}', 'input_projections.{i}.0.{leaf}'),
    ('input_convs.{i}.gn.{leaf}', 'input_proj.{i}.1.{leaf}', 'input_projections.{i}.1.{leaf}'),
    ('level_encoding.weight', 'transformer.level_embed', 'level_embed'),
    ('lateral_convs.0.conv.{leaf}', 'adapter_1.{leaf}', 'adapter_1.0.{leaf}'),
    ('lateral_convs.0.gn.{leaf}', 'adapter_1.norm.{leaf}', 'adapter_1.1.{leaf}'),
    ('output_convs.0.conv.{leaf}', 'layer_1.{leaf}', 'layer_1.0.{leaf}'),
    ('output_convs.0.gn.{leaf}', 'layer_1.norm.{leaf}', 'layer_1.1.{leaf}'),
    ('mask_feature.{leaf}', 'mask_features.{leaf}', 'mask_projection.{leaf}'),
    (
        'panoptic_head.pixel_decoder.encoder.layers.{i}.',
        f'{_PIXELS}transformer.encoder.layers.{{i}}.',
        f'{_THEIR_PIXELS}encoder.layers.{{i}}.',
    ),
    ('self_attn.{rest}', 'self_attn.{rest}', 'self_attn.{rest}'),
    ('norms.0.{leaf}', 'norm1.{leaf}', 'self_attn_layer_norm.{leaf}'),
    ('norms.1.{leaf}', 'norm2.{leaf}', 'final_layer_norm.{leaf}'),
    ('ffn.layers.0.0.{leaf}', 'linear1.{leaf}', 'fc1.{leaf}'),
    ('ffn.layers.1.{leaf}', 'linear2.{leaf}', 'fc2.{leaf}'),
    ('panoptic_head.', _PREDICTOR, 'model.transformer_module.'),
    ('query_embed.weight', 'query_embed.weight', 'queries_embedder.weight'),
    ('level_embed.weight', 'level_embed.weight', 'level_embed.weight'),
    ('cls_embed.{leaf}', 'class_embed.{leaf}', 'decoder.class_embed.{leaf}'),
    ('mask_embed.0.{leaf}', 'mask_embed.layers.0.{leaf}', 'decoder.mask_embed.layers.0.0.{leaf}'),
    ('mask_embed.2.{leaf}', 'mask_embed.layers.1.{leaf}', 'decoder.mask_embed.layers.1.0.{leaf}'),
    ('mask_embed.4.{leaf}', 'mask_embed.layers.2.{leaf}', 'decoder.mask_embed.layers.2.0.{leaf}'),
    ('transformer_decoder.post_norm.{leaf}', 'decoder_norm.{leaf}', 'decoder.decoder_norm.{leaf}'),
    (_DECODER, f'{_PREDICTOR}transformer_cross_attention_layers.{{i}}.', _THEIR_DECODER),
    ('cross_attn.attn.{rest}', 'multihead_attn.{rest}', 'cross_attn.multihead_attn.{rest}'),
    ('norms.0.{leaf}', 'norm.{leaf}', 'cross_attn.norm.{leaf}'),
    (_DECODER, f'{_PREDICTOR}transformer_self_attention_layers.{{i}}.', _THEIR_DECODER),
    (
        'self_attn.attn.in_proj_{leaf}',
        'self_attn.in_proj_{leaf}',
        tuple(f'self_attn.self_attn.{part}_proj.{{leaf}}' for part in 'qkv'),
    ),
    (
        'self_attn.attn.out_proj.{leaf}',
        'self_attn.out_proj.{leaf}',
        'self_attn.self_attn.out_proj.{leaf}',
    ),
    ('norms.1.{leaf}', 'norm.{leaf}', 'self_attn.norm.{leaf}'),
    (_DECODER, f'{_PREDICTOR}transformer_ffn_layers.{{i}}.', _THEIR_DECODER),
    ('ffn.layers.0.0.{leaf}', 'linear1.{leaf}', 'ffn.linear1.{leaf}'),
    ('ffn.layers.1.{leaf}', 'linear2.{leaf}', 'ffn.linear2.{leaf}'),
    ('norms.2.{leaf}', 'norm.{leaf}', 'ffn.norm.{leaf}'),
    (_QUERIES, _PREDICTOR, 'model.transformer_module.decoder.'),
    ('feature_proj.{leaf}', 'class_input_proj.{leaf}', 'query_input_projection.{leaf}'),
    (
        'query_transformer.post_norm.{leaf}',
        'class_transformer.decoder.norm.{leaf}',
        'query_transformer.decoder.norm.{leaf}',
    ),
    (
        _QUERY_LAYERS,
        f'{_PREDICTOR}class_transformer.decoder.layers.{{i}}.',
        'model.transformer_module.decoder.query_transformer.decoder.layers.{i}.',
    ),
    ('self_attn.attn.{rest}', 'self_attn.{rest}', 'self_attn.{rest}'),
    ('cross_attn.attn.{rest}', 'multihead_attn.{rest}', 'multihead_attn.{rest}'),
    ('ffn.layers.0.0.{leaf}', 'linear1.{leaf}', 'linear1.{leaf}'),
    ('ffn.layers.1.{leaf}', 'linear2.{leaf}', 'linear2.{leaf}'),
    ('norms.0.{leaf}', 'norm1.{leaf}', 'norm1.{leaf}'),
    ('norms.1.{leaf}', 'norm2.{leaf}', 'norm2.{leaf}'),
    ('norms.2.{leaf}', 'norm3.{leaf}', 'norm3.{leaf}'),
    (_QUERIES, '', 'model.task_encoder.'),
    (
        'task_mlp.layers.{i}.{leaf}',
        'task_mlp.layers.{i}.{leaf}',
        'task_mlp.layers.{i}.0.{leaf}',
    ),
    ('text_mapper.', '', 'model.text_mapper.'),
    ('context.weight', 'prompt_ctx.weight', 'prompt_ctx.weight'),
    (
        'text_projector.layers.{i}.{leaf}',
        'text_projector.layers.{i}.{leaf}',
        'text_projector.layers.{i}.0.{leaf}',
    ),
    ('text_mapper.text_encoder.', 'text_encoder.', 'model.text_mapper.text_encoder.'),
    ('positional_embedding', 'positional_embedding', 'positional_embedding'),
    ('token_embedding.weight', 'token_embedding.weight', 'token_embedding.weight'),
    ('ln_final.{leaf}', 'ln_final.{leaf}', 'ln_final.{leaf}'),
    (
        'text_mapper.text_encoder.layers.{i}.',
        'text_encoder.transformer.resblocks.{i}.',
        'model.text_mapper.text_encoder.transformer.layers.{i}.',
    ),
    ('attn.attn.{rest}', 'attn.{rest}', 'self_attn.{rest}'),
    ('ln_1.{leaf}', 'ln_1.{leaf}', 'layer_norm1.{leaf}'),
    ('ln_2.{leaf}', 'ln_2.{leaf}', 'layer_norm2.{leaf}'),
    ('c_fc.{leaf}', 'mlp.c_fc.{leaf}', 'mlp.fc1.{leaf}'),
    ('c_proj.{leaf}', 'mlp.c_proj.{leaf}', 'mlp.fc2.{leaf}'),
    ('', '', ''),
    ('contrastive_loss.logit_scale', 'criterion.logit_scale', 'criterion.logit_scale'),
]

# a key that every OneFormer of a layout has begins with this
MARKS = {
    'plugin': 'panoptic_head.',
    'shi-labs': 'sem_seg_head.predictor.',
    'huggingface': 'model.transformer_module.',
}
LAYOUTS = {
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
