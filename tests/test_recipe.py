"""What no config changes is the original's, number by number; tests/test_zoo.py has the rest."""

import math

import pytest
import torch
from mmdet.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.config import Config

from oneformer.metainfo import KNOWN_DATASETS


@pytest.fixture(scope='module')
def cfg(config_dir):
    return Config.fromfile(config_dir / 'oneformer_swin-l_ade20k.py')


@pytest.fixture(scope='module')
def model(cfg):
    return MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, 'init_cfg': None}})


def millions(parameters):
    return sum(p.numel() for p in parameters) / 1e6


def test_parameter_totals_are_the_published_ones(model):
    image_part = [
        p
        for name, p in model.named_parameters()
        if not name.startswith(('text_mapper.', 'contrastive_loss.'))
    ]
    assert round(millions(image_part), 2) == 218.81
    assert round(millions(model.parameters()), 2) == 236.35


def test_a_model_for_inference_has_no_text_branch(cfg, model):
    config = {**cfg.model, 'backbone': {**cfg.model.backbone, 'init_cfg': None}}
    inference = MODELS.build({**config, 'text_mapper': None, 'contrastive_loss': None})
    assert round(millions(inference.parameters()), 2) == 218.81
    assert not [key for key in inference.state_dict() if 'text' in key or 'contrastive' in key]


def test_shapes_texts_and_thresholds(cfg, model):
    assert model.panoptic_head.num_queries == len(model.panoptic_head.query_embed.weight) == 250
    assert model.text_mapper.num_texts == 234
    assert len(model.text_mapper.context.weight) == 16
    assert len(model.text_mapper.text_encoder.layers) == 6
    assert len(model.panoptic_head.transformer_decoder.layers) == 9
    assert model.num_classes == 150 and int(model.is_thing.sum()) == 100
    assert model.test_cfg['object_mask_thr'] == 0.5
    assert model.test_cfg['iou_thr'] == 0.8
    assert model.test_cfg['max_per_image'] == 250
    criterion = model.criterion
    assert criterion.weights == dict(cls=2.0, mask=5.0, dice=5.0)
    assert criterion.per_class[:150].eq(1).all() and criterion.per_class[150] == pytest.approx(0.1)
    assert model.contrastive_loss.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert (criterion.num_points, criterion.num_candidates) == (12544, 37632)
    assert criterion.num_uncertain == 9408
    assert model.contrastive_loss.loss_weight == 0.5


def test_dropout_is_where_the_original_has_it(model):
    head = model.panoptic_head
    for layer in head.pixel_decoder.encoder.layers:
        assert layer.self_attn.dropout.p == 0.1
        assert {m.p for m in layer.ffn.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}
    for layer in head.task_queries.query_transformer.layers:
        attentions = layer.self_attn.attn, layer.cross_attn.attn
        assert {layer.dropout_rate, *(attention.dropout for attention in attentions)} == {0.1}
    for layer in head.transformer_decoder.layers:
        attentions = layer.self_attn.attn, layer.cross_attn.attn
        assert {layer.dropout_rate, *(attention.dropout for attention in attentions)} == {0.0}


def test_labels_are_in_the_natural_order_of_ade20k(cfg, model):
    assert cfg.model.metainfo == cfg.train_dataloader.dataset.metainfo == 'ade20k'
    classes, things = KNOWN_DATASETS['ade20k']['classes'], KNOWN_DATASETS['ade20k']['thing_classes']
    assert classes[:4] == ('wall', 'building', 'sky', 'floor') and classes[7] == 'bed'
    assert len(things) == 100 and 'wall' not in things and 'bed' in things


SURPRISES = {
    # decayed, although mmdet holds it in an embedding
    'panoptic_head.pixel_decoder.level_encoding.weight': 0.05,
    'text_mapper.text_encoder.positional_embedding': 0.05,
    'contrastive_loss.logit_scale': 0.05,
    'panoptic_head.cls_embed.bias': 0.05,
    'panoptic_head.transformer_decoder.layers.0.cross_attn.attn.in_proj_bias': 0.05,
    'backbone.stages.0.blocks.0.attn.w_msa.qkv.bias': 0.05,
    # not decayed
    'backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table': 0.0,
    'backbone.stages.0.blocks.0.norm1.weight': 0.0,
    'backbone.norm3.bias': 0.0,
    'panoptic_head.pixel_decoder.input_convs.0.gn.weight': 0.0,
    'panoptic_head.query_embed.weight': 0.0,
    'panoptic_head.level_embed.weight': 0.0,
    'panoptic_head.transformer_decoder.post_norm.weight': 0.0,
    'text_mapper.context.weight': 0.0,
    'text_mapper.text_encoder.token_embedding.weight': 0.0,
}


def test_optimiser_rules_are_the_originals(cfg, model):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(cfg.optim_wrapper.constructor)(
        dict(type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer),
        cfg.optim_wrapper.paramwise_cfg,
    )
    optimizer = constructor(model).optimizer
    assert len(optimizer.param_groups) == 4
    assert optimizer.defaults['betas'] == (0.9, 0.999) and optimizer.defaults['eps'] == 1e-8
    rules = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert len(rules) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        lr, decay = rules[id(parameter)]
        assert lr == pytest.approx(1e-5 if name.startswith('backbone.') else 1e-4)
        if name in SURPRISES:
            assert decay == SURPRISES[name], name
    assert SURPRISES.keys() <= dict(model.named_parameters()).keys()
