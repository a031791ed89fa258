"""By which names a OneFormer in a file is recognised, whoever wrote it.

``weights`` has all names. A model has these to refuse what mmengine would load nothing of.
"""

# a key that every OneFormer of a layout has begins with this
MARKS = {
    'plugin': 'panoptic_head.',
    'shi-labs': 'sem_seg_head.predictor.',
    'huggingface': 'model.transformer_module.',
    'eomt': 'network.q.',
    'huggingface-eomt': 'upscale_block.block.',
}
# names of our own earlier checkpoints, and those of today
EARLIER = {
    'panoptic_head.task_queries.class_transformer.': (
        'panoptic_head.task_queries.query_transformer.'
    ),
    'panoptic_head.task_queries.class_input_proj.': 'panoptic_head.task_queries.feature_proj.',
    'text_mapper.prompt_ctx.': 'text_mapper.context.',
}
