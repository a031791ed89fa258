"""Swin's window attention: ours, which keeps no weights, against mmdet's explicit product.

A shifted and an unshifted one of each stage, with random weights, which are the same. The results
of all are compared before anything is timed.

* forward: without gradients, by scaled_dot_product_attention.
* step: and back, to the tokens and to all parameters; on a CPU by ``attend_with_bias``, and not
  under autocast, where a CPU takes mmdet's product.
* memory: above the weights and tokens, at most during the step of one that is shifted, of stage 1.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from mmdet.models.backbones.swin import ShiftWindowMSA
from torch import Tensor

from oneformer.backbones.window_attention import WindowAttention

from . import memory
from .peers import check_close
from .timing import Note, Row, Variant, add_device, alternate, positive_int

# channels and heads of stage 1, and sides of windows
MODELS = {'swin-t': (96, 3, 7), 'swin-l': (192, 6, 12)}

Work = Callable[[WindowAttention, Tensor, tuple[int, int]], Tensor]
WORKS: dict[str, Work] = dict(ours=WindowAttention.forward, peer=ShiftWindowMSA.forward)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', choices=MODELS, default='swin-t', help='(%(default)s)')
    parser.add_argument('--size', type=positive_int, default=512, help='height and width')
    parser.add_argument('--images', type=positive_int, default=1, help='(%(default)s)')
    parser.add_argument('--amp', action='store_true', help='under bfloat16 autocast')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    add_device(parser)


def build(args: argparse.Namespace) -> list[tuple[WindowAttention, Tensor, tuple[int, int]]]:
    """Each attention, with its tokens and the size of their map."""
    torch.manual_seed(0)
    channels, heads, window = MODELS[args.model]
    blocks = []
    for stage in range(4):
        side, width = args.size // 2 ** (stage + 2), channels * 2**stage
        for shift in (0, window // 2):
            attention = WindowAttention(ShiftWindowMSA(width, heads * 2**stage, window, shift))
            torch.nn.init.normal_(attention.w_msa.relative_position_bias_table)
            tokens = torch.randn(args.images, side * side, width, device=args.device)
            blocks.append((attention.to(args.device), tokens.requires_grad_(), (side, side)))
    return blocks


def run(args: argparse.Namespace) -> list[Row | Note]:
    """Compare and measure."""
    blocks = build(args)

    def forward(work: Work) -> list[Tensor]:
        with torch.no_grad(), torch.autocast(args.device.type, torch.bfloat16, enabled=args.amp):
            return [work(*block) for block in blocks]

    def step(work: Work) -> list[Tensor]:
        with torch.autocast(args.device.type, torch.bfloat16, enabled=args.amp):
            results = [work(*block) for block in blocks]
        sum(result.float().square().sum() for result in results).backward()
        return [x.grad for attention, x, _ in blocks for x in (x, *attention.parameters())]

    def one_step(work: Work) -> None:
        with torch.autocast(args.device.type, torch.bfloat16, enabled=args.amp):
            result = work(*blocks[1])
        result.float().sum().backward()

    def same(results: dict[str, list[Tensor]]) -> None:
        for ours, peer in zip(results['ours'], results['peer']):
            atol = (3e-2 if args.amp else 1e-4) * max(peer.abs().max().item(), 1)
            check_close('windows', ours.float(), peer.float(), atol=atol)

    rows: list[Row | Note] = []
    works = dict(forward=forward, step=step)
    if args.amp and args.device.type == 'cpu':
        del works['step']
        rows.append(Note("no step: under autocast a CPU takes mmdet's product"))
    for name, measured in works.items():
        variants = {
            side: Variant(run=measured, prepare=lambda work=work: clear(blocks) or work)
            for side, work in WORKS.items()
        }
        seconds = alternate(variants, args.repeats, same, args.device)
        rows.append(Row(f'windows/{args.model}/{name}', seconds['ours'], seconds['peer']))
    if 'step' not in works:
        return rows
    peaks = {}
    for side, work in WORKS.items():
        clear(blocks)
        peaks[side] = [memory.peak_of(partial(one_step, work), args.device)]
    return [*rows, Row(f'windows/{args.model}/memory', peaks['ours'], peaks['peer'], 'bytes')]


def clear(blocks: list) -> None:
    """Forget the gradients."""
    for attention, tokens, _ in blocks:
        attention.zero_grad()
        tokens.grad = None
