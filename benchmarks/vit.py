"""One and three tasks of one image without a decoder: ours against transformers' EoMT.

Both sides go from a normalised image to class logits and mask logits at 1/4 of its size, of the
last block, without attention masks; nothing is post-processed. Weights are random and the same.
EoMT predicts three tasks by three passes, each with the queries of a task, and logits are compared
for each task.

* hf: time against EoMT, of one task and of three.
* one_task: ours of three tasks against ours of one.
* shared: the same of ours with ``shared_patches``, which is another function than EoMT's: its
  patches do not look at queries. Its logits are compared with those of its own single passes.
* memory: peak of a process that does one pass, above what it held with the model and the image.
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import median

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from oneformer.tasks import TASKS
from oneformer.weights.architecture import model_config
from oneformer.weights.encoder_only import options_in
from oneformer.weights.eomt_names import HUGGING_FACE
from oneformer.weights.shapes import shapes_of

from . import memory, peers
from .timing import Figure, Row, Variant, add_device, alternate, fix_threads, positive_int

# channels, blocks, heads, blocks with queries
SIZES = dict(s=(384, 12, 6, 3), b=(768, 12, 12, 3), l=(1024, 24, 16, 4), tiny=(64, 3, 1, 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=positive_int, default=640, help='height and width')
    parser.add_argument('--arch', choices=SIZES, default='b', help='of the ViT (%(default)s)')
    parser.add_argument('--family', choices=('dinov2', 'dinov3'), default='dinov2')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    add_device(parser)


def build_peer(args: argparse.Namespace) -> nn.Module:
    """EoMT of transformers without masks, with random weights, in evaluation."""
    import transformers

    channels, depth, heads, joint = SIZES[args.arch]
    options = dict(
        hidden_size=channels,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_blocks=joint,
        image_size=args.size,
        num_labels=len(peers.CLASSES),
    )
    if args.family == 'dinov3':
        config = transformers.EomtDinov3Config(
            **options, intermediate_size=4 * channels, layer_norm_eps=1e-5
        )
        peer = transformers.EomtDinov3ForUniversalSegmentation(config)
    else:
        peer = transformers.EomtForUniversalSegmentation(transformers.EomtConfig(**options))
    peers.randomise(peer)
    peer.attn_mask_probs.zero_()
    return peer.eval().to(args.device)


def build_ours(args: argparse.Namespace, peer: nn.Module, shared: bool = False) -> nn.Module:
    """Ours with the weights of a peer, a task token that tells tasks apart, and shared patches."""
    tensors = HUGGING_FACE.to_ours(peer.state_dict()).tensors
    config = model_config(shapes_of(tensors), options_in(peer.config.to_dict()))
    config['panoptic_head'].update(task_queries={}, shared_patches=shared)
    init_default_scope('mmdet')
    ours = MODELS.build(config)
    missing, unexpected = ours.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if 'task_queries' not in name and 'shared' not in name]
    if missing or unexpected:
        raise RuntimeError(f'EoMT: missing {missing}, unexpected {unexpected}')
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        last = ours.panoptic_head.task_queries.last
        last.weight.copy_(torch.randn(last.weight.shape, generator=generator) / 16)
    return ours.eval().to(args.device)


@torch.no_grad()
def queries_of(ours: nn.Module) -> dict[str, Tensor]:
    """The queries of each task, of shape (Q, C)."""
    (queries,) = ours.panoptic_head.queries([list(TASKS)])
    return dict(zip(TASKS, queries))


@torch.inference_mode()
def peer_outputs(
    peer: nn.Module, images: Tensor, queries: dict[str, Tensor], tasks: Sequence[str]
) -> peers.Outputs:
    """A pass for each task."""
    outputs = []
    for task in tasks:
        peer.query.weight.copy_(queries[task])
        outputs.append(peer(pixel_values=images))
    return peers.Outputs(
        torch.stack([output.class_queries_logits for output in outputs]),
        torch.stack([output.masks_queries_logits for output in outputs]),
    )


def make_passes(args: argparse.Namespace) -> dict[tuple[str, str], Callable[[], peers.Outputs]]:
    """The work of both sides, for one and for three tasks."""
    peer = build_peer(args)
    ours, shared = (build_ours(args, peer, shared) for shared in (False, True))
    images = peers.draw_batch(args.size, [0], args.device).images
    queries = queries_of(ours)
    passes: dict = {}
    for name, number in peers.NUM_TASKS.items():
        tasks = TASKS[:number]
        passes['ours', name] = lambda tasks=tasks: peers.our_outputs(ours, images, tasks)
        passes['shared', name] = lambda tasks=tasks: peers.our_outputs(shared, images, tasks)
        passes['hf', name] = lambda tasks=tasks: peer_outputs(peer, images, queries, tasks)
    return passes


def peak_bytes(args: argparse.Namespace, side: str, name: str) -> int:
    """Peak bytes of one pass; the work of a process of its own."""
    fix_threads(args.threads)
    passes = make_passes(args)
    return memory.peak_of(passes[side, name], args.device)


def seconds(args: argparse.Namespace) -> list[Row | Figure]:
    """Compare, and time; the work of a process of its own."""
    fix_threads(args.threads)
    passes = make_passes(args)

    def check(results: dict) -> None:
        pairs = {name: (results['ours', name], results['hf', name]) for name in peers.NUM_TASKS}
        one, three = (results['shared', name] for name in peers.NUM_TASKS)
        pairs['shared patches'] = one, peers.Outputs(*(logits[:1] for logits in three))
        for name, (ours, peer) in pairs.items():
            for what, x, y in (
                ('classes', ours.scores, peer.scores),
                ('masks', ours.masks, peer.masks),
            ):
                peers.check_close(f'{what} of {name}', x, y, 1e-4 * y.abs().max().item())

    variants = {
        key: Variant(run=lambda work: work(), prepare=lambda work=work: work)
        for key, work in passes.items()
    }
    taken = alternate(variants, args.repeats, check, args.device)
    rows: list[Row | Figure] = []
    for side, path in (('ours', 'vit'), ('shared', 'vit/shared')):
        rows += [
            Row(f'{path}/{name}/hf', taken[side, name], taken['hf', name])
            for name in peers.NUM_TASKS
        ]
        one, three = (median(taken[side, name]) for name in peers.NUM_TASKS)
        rows.append(
            Figure(f'{path}/three_tasks/one_task', three / one, 'times the time of its one')
        )
    return rows


def run(args: argparse.Namespace) -> list[Row | Figure]:
    """Compare and measure."""
    peers.require_transformers()
    rows = memory.in_own_process(seconds, args)
    for name in peers.NUM_TASKS:
        peaks = {
            side: memory.in_own_process(peak_bytes, args, side, name)
            for side in ('ours', 'shared', 'hf')
        }
        for side, path in (('ours', 'vit'), ('shared', 'vit/shared')):
            rows.append(Row(f'{path}/memory/{name}/hf', [peaks[side]], [peaks['hf']], 'bytes'))
    return rows
