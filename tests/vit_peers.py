"""Small DINOv2 and DINOv3 of random weights, of timm, Hugging Face and as the authors' files."""

import re
from functools import cache

import torch

# name in a test | ours | timm's | extra options of ours | extra ones of timm's
WIDTH, DEPTH, HEADS, GRID = 24, 3, 2, 5
FAMILIES = {
    'dinov2': ('dinov2_s', 'vit_small_patch14_dinov2'),
    'dinov2 with registers': ('dinov2_b_reg4', 'vit_base_patch14_reg4_dinov2'),
    'dinov2 with a gate': ('dinov2_g', 'vit_giant_patch14_dinov2'),
    'dinov2 with both': ('dinov2_g_reg4', 'vit_giant_patch14_reg4_dinov2'),
    'dinov3': ('dinov3_b', 'vit_base_patch16_dinov3'),
    'dinov3 with a gate': ('dinov3_s+', 'vit_small_plus_patch16_dinov3'),
}


def patch_of(family):
    return 14 if family.startswith('dinov2') else 16


def our_config(family, **options):
    """Config of ours, of the last map alone unless options say otherwise."""
    small = dict(embed_dims=WIDTH, depth=DEPTH, num_heads=HEADS, img_size=GRID * patch_of(family))
    return dict(type='PlainViT', arch=FAMILIES[family][0], **{**small, 'pyramid': False, **options})


def timm_peer(family, **options):
    """timm's model in evaluation mode; of DINOv3 with biases."""
    import timm

    if family.startswith('dinov3'):
        options.setdefault('qkv_bias', True)
    peer = timm.create_model(
        FAMILIES[family][1],
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        img_size=GRID * patch_of(family),
        dynamic_img_size=True,
        num_classes=0,
        **options,
    )
    return randomised(peer)


def randomised(module):
    """The module with values that no initialisation gives, in evaluation mode."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def hf_peer(family):
    """The model of transformers in evaluation mode."""
    import transformers

    sizes = dict(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=GRID * patch_of(family),
        patch_size=patch_of(family),
    )
    is_gated = family.endswith(('gate', 'both'))
    if family.startswith('dinov3'):
        inner = timm_peer(family).blocks[0].mlp.fc2.in_features
        config = transformers.DINOv3ViTConfig(
            **sizes,
            intermediate_size=inner,
            num_register_tokens=4,
            use_gated_mlp=is_gated,
            hidden_act='silu' if is_gated else 'gelu',
        )
        return randomised(transformers.DINOv3ViTModel(config))
    if family.endswith(('registers', 'both')):
        config = transformers.Dinov2WithRegistersConfig(
            **sizes, num_register_tokens=4, use_swiglu_ffn=is_gated
        )
        return randomised(transformers.Dinov2WithRegistersModel(config))
    config = transformers.Dinov2Config(**sizes, use_swiglu_ffn=is_gated)
    return randomised(transformers.Dinov2Model(config))


@cache
def original_shapes(family):
    """Names and shapes of the authors' file, of our small size."""
    state = timm_peer(family).state_dict()
    inner = state['blocks.0.mlp.fc2.weight'].shape[1]
    shapes = {
        'cls_token': (1, 1, WIDTH),
        'mask_token': (1, WIDTH),
        'patch_embed.proj.weight': (WIDTH, 3, patch_of(family), patch_of(family)),
        'patch_embed.proj.bias': (WIDTH,),
        'norm.weight': (WIDTH,),
        'norm.bias': (WIDTH,),
    }
    if family.startswith('dinov2'):
        shapes['pos_embed'] = (1, 1 + GRID**2, WIDTH)
        if 'reg_token' in state:
            shapes['register_tokens'] = (1, 4, WIDTH)
    else:
        shapes['storage_tokens'] = (1, 4, WIDTH)
        shapes['rope_embed.periods'] = (WIDTH // HEADS // 4,)
    for i in range(DEPTH):
        block = {
            'attn.qkv': (3 * WIDTH, WIDTH),
            'attn.proj': (WIDTH, WIDTH),
            'mlp.fc1': (inner, WIDTH),
            'mlp.fc2': (WIDTH, inner),
        }
        if family.endswith(('gate', 'both')):
            del block['mlp.fc1'], block['mlp.fc2']
            if family.startswith('dinov2'):
                block.update({'mlp.w12': (2 * inner, WIDTH), 'mlp.w3': (WIDTH, inner)})
            else:
                block.update(
                    {'mlp.w1': (inner, WIDTH), 'mlp.w2': (inner, WIDTH), 'mlp.w3': (WIDTH, inner)}
                )
        for name, shape in block.items():
            shapes[f'blocks.{i}.{name}.weight'] = shape
            shapes[f'blocks.{i}.{name}.bias'] = shape[:1]
        for name in ('norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias'):
            shapes[f'blocks.{i}.{name}'] = (WIDTH,)
        for name in ('ls1.gamma', 'ls2.gamma'):
            shapes[f'blocks.{i}.{name}'] = (WIDTH,)
        if family.startswith('dinov3'):
            shapes[f'blocks.{i}.attn.qkv.bias_mask'] = (3 * WIDTH,)
    return shapes


def original_file(family):
    """Random tensors under the names of the authors' file."""
    generator = torch.Generator().manual_seed(3)
    tensors = {
        key: torch.randn(shape, generator=generator) * 0.3
        for key, shape in original_shapes(family).items()
    }
    for key, tensor in tensors.items():
        if key.endswith('bias_mask'):
            tensor.fill_(1)
            tensor[WIDTH : 2 * WIDTH] = 0
    return tensors


def in_chunks(tensors):
    """Blocks as DINOv2's training numbers them, two in a chunk."""
    return {
        re.sub(r'^blocks\.(\d+)', lambda m: f'blocks.{int(m[1]) // 2}.{m[1]}', key): value
        for key, value in tensors.items()
    }


def images(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height))
