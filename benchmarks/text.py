"""The text branch of a training step of two images: ours against Hugging Face's text mapper.

Both turn the same prompts, 134 for each image, 12 and 16 of them of targets, into text queries,
with the same random weights. For the comparison ours encodes all of them with padding and without
its causal mask, which Hugging Face omits; the timed branch has the mask and encodes distinct ones.

* forward: from strings (ours) or token ids to text queries.
* step: the same, and back.
"""

import argparse
from collections.abc import Callable
from unittest import mock

import torch

from . import peers
from .timing import Row, Variant, add_device, alternate, positive_int
from .train import TARGETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    add_device(parser)


def run(args: argparse.Namespace) -> list[Row]:
    """Compare and measure."""
    peers.require_transformers()
    shape = peers.SHAPE
    peer = peers.build_hugging_face(shape, True, args.device)
    ours = peers.build_ours(shape, True, args.device)
    peers.share_weights(ours, peer)
    batch = peers.draw_batch(64, TARGETS, args.device)
    samples = peers.our_samples(batch)
    ids = peers.hugging_face_texts(samples, shape.texts).to(args.device)
    texts, fillers = [s.texts for s in samples], [s.filler for s in samples]
    mapper, peer_mapper = ours.text_mapper, peer.model.text_mapper

    with torch.no_grad(), mock.patch.object(mapper.text_encoder, 'causal', False):
        features = mapper.encode(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
        peers.check_close('texts', features, peer_mapper(ids)[:, : shape.texts], atol=1e-3)

    works = dict(ours=lambda: mapper(texts, fillers), peer=lambda: peer_mapper(ids))

    def forward(work: Callable) -> None:
        with torch.no_grad():
            work()

    def step(work: Callable) -> None:
        work().sum().backward()

    rows = []
    for name, run in (('forward', forward), ('step', step)):
        variants = {
            side: Variant(
                run=run, prepare=lambda work=work: ours.zero_grad() or peer.zero_grad() or work
            )
            for side, work in works.items()
        }
        seconds = alternate(variants, args.repeats, lambda results: None, args.device)
        rows.append(Row(f'text/{name}/hf', seconds['ours'], seconds['peer']))
    return rows
