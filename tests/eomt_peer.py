"""transformers' EoMT as a peer: small models of random weights, and ours with the same."""

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from benchmarks.peers import CLASSES, randomise
from oneformer.weights import Weights
from oneformer.weights.architecture import model_config
from oneformer.weights.encoder_only import options_in
from oneformer.weights.shapes import shapes_of

SIZE, LABELS, QUERIES, JOINT = 64, len(CLASSES), 6, 3
VARIANTS = ('dinov2', 'dinov2-swiglu', 'dinov3', 'dinov3-gated')
POINTS = 64


def build_peer(variant, seed=0, **changes):
    """A small EoMT of transformers with random weights, in evaluation; its masks are on."""
    import transformers

    family, _, gate = variant.partition('-')
    options = dict(
        hidden_size=48,
        num_hidden_layers=5,
        num_attention_heads=2,
        num_blocks=JOINT,
        num_queries=QUERIES,
        image_size=SIZE,
        num_labels=LABELS,
        train_num_points=POINTS,
    )
    if family == 'dinov2':
        config = transformers.EomtConfig(**{**options, **changes}, use_swiglu_ffn=bool(gate))
        return randomise(transformers.EomtForUniversalSegmentation(config), seed).eval()
    gated = dict(use_gated_mlp=True, hidden_act='silu') if gate else {}
    config = transformers.EomtDinov3Config(
        **{**options, **changes},
        **gated,
        intermediate_size=192,
        layer_norm_eps=1e-5,
        pos_embed_rescale=None,  # an augmentation of training
    )
    peer = transformers.EomtDinov3ForUniversalSegmentation(config)
    if gate:  # there the head gets the activation of the blocks, of the authors' it has GELU
        peer.mask_head.activation = torch.nn.GELU()
        for layer in peer.upscale_block.block:
            layer.activation = torch.nn.GELU()
    return randomise(peer, seed).eval()


def weights_of(peer, path='eomt'):
    """Its weights through our door."""
    state = {key: value.detach().clone() for key, value in peer.state_dict().items()}
    return Weights.of(state, path, peer.config.to_dict())


def our_config(weights, criterion=False, text=False, **head):
    """Config of our model of the architecture of weights.

    Args:
        weights: What was read.
        criterion: Whether it has one.
        text: Whether it has a text branch.
        **head: Changes of the head.
    """
    config = model_config(shapes_of(weights.tensors), options_in(weights.config))
    config['panoptic_head'].update(head)
    config['data_preprocessor'] = dict(type='OneFormerDataPreprocessor', pad_size_divisor=16)
    if criterion:
        config['criterion'] = dict(type='SetCriterion', num_points=POINTS)
    if text:
        config['text_mapper'] = dict(type='TextMapper', num_context=2, embed_dims=16, num_layers=1)
        config['contrastive_loss'] = dict(type='QueryTextContrastiveLoss')
    return config


def build_ours(weights, **options):
    """Our model of the architecture of weights, with those that both have; see ``our_config``."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(our_config(weights, **options))
    state = {key: value for key, value in weights.tensors.items() if key in model.state_dict()}
    model.load_state_dict(state, strict=False)
    return model.eval()
