"""Deployed forms of one model against torch: onnxruntime, OpenVINO, int8, and Hugging Face's.

Swin-T at full width with random weights, except that the queries' masks are spread over the image
and sure of their sides, and the queries are sure of different classes, as those of a trained model
are: otherwise rounding decides the labels. One image of a square. All go from pixels of 0 to 255 to
class and mask logits (Hugging Face's from normalised ones), nothing is post-processed, and all are
on the CPU.

* one_task, three_tasks: seconds, in turn in one process. Hugging Face's predicts three tasks by
  three passes. Behind a name is the share of pixels with the labels of ours in torch. Forms in
  float32 have to have 99.5 % of them, or nothing is timed.
* labels: that share. Through random weights rounding of bf16 and int8 changes many labels: what
  they cost a trained model is told by oneformer export --int8.
* signs: share of pixels of masks on the same side of 0.
* memory: peak of a process that imports what it needs, loads the model, and does one pass; those in
  torch import what this benchmark does, deployed forms only oneformer_runtime and their engine.

The export takes minutes. It is kept in --cache under a name that depends on weights, code and
versions.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from torch import Tensor, nn

from oneformer.deploy.checking import textured_image
from oneformer.deploy.exporting import export_model
from oneformer.deploy.int8 import quantise
from oneformer.deploy.network import ExportedNetwork
from oneformer.tasks import TASKS
from oneformer_runtime.description import GRAPH_NAME, VARIANTS
from oneformer_runtime.description import Variant as Graph
from oneformer_runtime.model_json import read_description, write_description
from oneformer_runtime.network import Network
from oneformer_runtime.scores import semantic_labels

from . import memory, peers
from .checkouts import ROOT
from .peers.shapes import CONFIGS
from .timing import (
    CPU,
    Figure,
    Note,
    ResultsDiffer,
    Row,
    Variant,
    alternate,
    fix_threads,
    positive_int,
)

# engine and precision of deployed forms
FORMS = {
    'onnxruntime': ('onnxruntime', 'fp32'),
    'onnxruntime-int8': ('onnxruntime', 'int8'),
    'openvino': ('openvino', 'fp32'),
    'openvino-bf16': ('openvino', 'bf16'),
    'openvino-int8': ('openvino', 'int8'),
}
LEAST = 0.995  # share of equal labels of what is in float32
Outputs = tuple[np.ndarray, np.ndarray]
Pass = Callable[[], Outputs]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=positive_int, default=512, help='height and width')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    parser.add_argument(
        '--forms', nargs='+', choices=FORMS, default=list(FORMS), help='deployed forms (all)'
    )
    parser.add_argument(
        '--cache',
        type=Path,
        default=Path(tempfile.gettempdir()) / 'oneformer-benchmark',
        help='folder of exports (%(default)s)',
    )
    parser.add_argument(
        '--quick', action='store_true', help='a small model, 64 pixels and one round, to try it'
    )


def shape_of(args: argparse.Namespace) -> peers.Shape:
    return peers.SMALL if args.quick else peers.SHAPE


def make_image(size: int) -> Tensor:
    """RGB of 0 to 255, of shape (1, 3, size, size)."""
    return textured_image(size, size, seed=1)[None]


@torch.no_grad()
def build(shape: peers.Shape, size: int) -> dict[str, nn.Module]:
    """Ours and Hugging Face's, with the same weights; ours takes pixels and task numbers."""
    hf = peers.build_hugging_face(shape, training=False, device=CPU)
    ours = peers.build_ours(shape, training=False, device=CPU)
    peers.share_weights(ours, hf)
    network = ExportedNetwork(ours).eval()
    head, theirs = ours.panoptic_head, hf.model.transformer_module.decoder
    image = make_image(size)
    task = torch.tensor([[0]])

    def run() -> object:
        return network(image, task)

    # the few queries of the small model are too much alike for masks of their own
    if shape == peers.SHAPE:
        layers = head.mask_embed[-1], theirs.mask_embed.get_submodule('layers.2.0')
        peers.make_masks_sure(run, layers, head.pixel_decoder)
    peers.make_classes_sure(run, (head.cls_embed, theirs.class_embed))
    return dict(torch=network, hf=hf)


def key_of(network: nn.Module) -> str:
    """A name for an export of a network: of its weights, our code, and versions."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for package in ('oneformer', 'oneformer_runtime'):
        for path in sorted((ROOT / 'projects' / package).rglob('*.py')):
            digest.update(path.read_bytes())
    for name in ('torch', 'onnx', 'onnxscript', 'onnxruntime'):
        digest.update(f'{name} {version(name)}'.encode())
    return digest.hexdigest()[:20]


def exported(network: ExportedNetwork, args: argparse.Namespace) -> Path:
    """The folder of the exported model, with a quantised graph, which has no scores here."""
    folder = args.cache / key_of(network)
    if not (folder / 'model.json').is_file():
        args.cache.mkdir(parents=True, exist_ok=True)
        cfg = Config.fromfile(CONFIGS / 'oneformer_swin-t_ade20k.py')
        export(network.model, get_test_pipeline_cfg(cfg), folder)
    description = read_description(folder)
    if 'int8' not in description.variants:
        quantise(folder / GRAPH_NAME, folder / VARIANTS['int8'])
        variants = dict(int8=Graph(VARIANTS['int8']))
        write_description(replace(description, variants=variants), folder)
    return folder


def export(model: nn.Module, pipeline: list, folder: Path) -> None:
    """Write an export of ours."""
    export_model(model, pipeline, peers.ADE20K, folder, overwrite=True)


def torch_pass(name: str, models: Mapping[str, nn.Module], image: Tensor, number: int) -> Pass:
    """The work of ours in torch, or of Hugging Face's."""
    network, hf = models['torch'], models['hf']
    numbers = torch.arange(number)[None]
    batch = peers.Batch((image - network.mean) / network.std, image[:, 0], [])

    @torch.inference_mode()
    def ours() -> Outputs:
        scores, masks = network(image, numbers)
        return scores.numpy(), masks.numpy()

    @torch.inference_mode()
    def theirs() -> Outputs:
        outputs = peers.hugging_face_outputs(hf, batch, TASKS[:number])
        return outputs.scores.transpose(0, 1).numpy(), outputs.masks.transpose(0, 1).numpy()

    return ours if name == 'torch' else theirs


def load_form(name: str, folder: Path, threads: int) -> Network:
    """A deployed form."""
    engine, precision = FORMS[name]
    return Network(folder, read_description(folder), None, threads, engine, precision)


def load_forms(
    args: argparse.Namespace, folder: Path, image: Tensor
) -> tuple[dict[str, Network], list[Note]]:
    """Deployed forms that can predict the image on this machine, and notes on the others."""
    found, notes = {}, []
    for name in args.forms:
        try:
            form = load_form(name, folder, args.threads)
            form(image.numpy(), TASKS[:1])  # a lower precision may give no numbers
            found[name] = form
        except (ImportError, ValueError) as error:
            notes.append(Note(f'not measured, {name}: {error}'))
    return found, notes


def shares_of(results: Mapping[tuple[str, str], Outputs]) -> dict[tuple[str, str], float]:
    """Share of pixels of each form with the labels of ours in torch.

    Raises:
        ResultsDiffer: If a form in float32, or the peer, has less than 99.5 %.
    """
    shares = {}
    for (name, tasks), outputs in results.items():
        if name == 'torch':
            continue
        share = float(
            (semantic_labels(*outputs) == semantic_labels(*results['torch', tasks])).mean()
        )
        if FORMS.get(name, ('', 'fp32'))[1] == 'fp32' and not share >= LEAST:
            raise ResultsDiffer(f'{tasks} of {name} has {share:.2%} of the labels of torch')
        shares[name, tasks] = share
    return shares


def equal_signs(results: Mapping[tuple[str, str], Outputs]) -> dict[tuple[str, str], float]:
    """Share of mask logits of each form with the signs of ours in torch."""
    return {
        (name, tasks): float(((masks >= 0) == (results['torch', tasks][1] >= 0)).mean())
        for (name, tasks), (_, masks) in results.items()
        if name != 'torch'
    }


def seconds(args: argparse.Namespace, folder: Path) -> list[Row | Figure | Note]:
    """Compare, and time; the work of a process of its own."""
    fix_threads(args.threads)
    models, image = build(shape_of(args), args.size), make_image(args.size)
    forms, notes = load_forms(args, folder, image)
    passes: dict[tuple[str, str], Pass] = {}
    for tasks, number in peers.NUM_TASKS.items():
        for name in models:
            passes[name, tasks] = torch_pass(name, models, image, number)
        for name, network in forms.items():
            passes[name, tasks] = lambda network=network, number=number: network(
                image.numpy(), TASKS[:number]
            )
    shares: dict[tuple[str, str], float] = {}
    signs: dict[tuple[str, str], float] = {}

    def check(found: dict) -> None:
        shares.update(shares_of(found))
        signs.update(equal_signs(found))

    variants = {
        key: Variant(run=lambda work: work(), prepare=lambda work=work: work)
        for key, work in passes.items()
    }
    taken = alternate(variants, args.repeats, check)
    rows: list[Row | Figure | Note] = []
    for tasks in peers.NUM_TASKS:
        for name in ('torch', *forms):
            share = shares.get((name, tasks))
            note = '' if share is None else f'{100 * share:.4g} % of labels'
            for peer in ('torch', 'hf') if name != 'torch' else ('hf',):
                ours, theirs = taken[name, tasks], taken[peer, tasks]
                rows.append(Row(f'deploy/{tasks}/{name}/{peer}', ours, theirs, note=note))
    rows += [
        Figure(f'deploy/labels/{tasks}/{name}', share, 'of the pixels have the labels of torch')
        for (name, tasks), share in shares.items()
    ]
    rows += [
        Figure(f'deploy/signs/{tasks}/{name}', share, 'of mask logits have the signs of torch')
        for (name, tasks), share in signs.items()
    ]
    return rows + notes


def torch_peak(name: str, args: argparse.Namespace, number: int) -> int:
    """Peak bytes of a process that builds a model of torch and does a pass."""
    fix_threads(args.threads)
    shape, image = shape_of(args), make_image(args.size)
    make = peers.build_hugging_face if name == 'hf' else peers.build_ours
    model = make(shape, training=False, device=CPU)
    if name == 'hf':
        batch = peers.Batch(image, image[:, 0], [])
        peers.hugging_face_outputs(model, batch, TASKS[:number])
    else:
        with torch.inference_mode():
            ExportedNetwork(model)(image, torch.arange(number)[None])
    return memory.lifetime_peak()


_DEPLOYED = """
import sys
sys.path.insert(0, {projects!r})
import numpy as np
from oneformer_runtime.model_json import read_description
from oneformer_runtime.network import Network
folder = {folder!r}
engine, precision = {form!r}
network = Network(folder, read_description(folder), None, {threads}, engine, precision)
image = np.random.default_rng(0).integers(0, 256, (1, 3, {size}, {size}))
network(image.astype(np.float32), {tasks!r})
assert 'torch' not in sys.modules
{peak}
print(peak)
"""
# see memory.lifetime_peak, which needs torch
_PEAK = """
import pathlib, re, resource
status = pathlib.Path('/proc/self/status')
if status.exists():
    peak = 1024 * int(re.search(r'VmHWM:\\s*(\\d+) kB', status.read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""


def deployed_peak(
    name: str, folder: Path, args: argparse.Namespace, number: int
) -> tuple[int | None, str]:
    """Peak bytes of a process that runs a deployed form without torch; or None, and why."""
    code = _DEPLOYED.format(
        projects=str(ROOT / 'projects'),
        folder=str(folder),
        form=FORMS[name],
        threads=args.threads,
        size=args.size,
        tasks=TASKS[:number],
        peak=_PEAK,
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip().rpartition('\n')[2]
    return json.loads(done.stdout), ''


def prepare_export(args: argparse.Namespace) -> Path:
    """Export the model unless that was done; the work of a process of its own."""
    fix_threads(args.threads)
    return exported(build(shape_of(args), args.size)['torch'], args)


def run(args: argparse.Namespace) -> list[Row | Figure | Note]:
    """Compare and measure."""
    peers.require_transformers()
    if args.quick:
        args.size, args.repeats = 64, 1
    folder = memory.in_own_process(prepare_export, args)
    rows = memory.in_own_process(seconds, args, folder)
    measured = {name for name in FORMS if any(f'/{name}/torch' in row[0] for row in rows)}
    for tasks, number in peers.NUM_TASKS.items():
        peaks = {
            name: memory.in_own_process(torch_peak, name, args, number) for name in ('torch', 'hf')
        }
        for name in [name for name in FORMS if name in measured]:
            peak, why = deployed_peak(name, folder, args, number)
            if peak is None:
                rows.append(Note(f'memory not measured, {name}: {why}'))
            else:
                peaks[name] = peak
        for name in [name for name in peaks if name != 'torch']:
            path = f'deploy/memory/{tasks}/{name}/torch'
            rows.append(Row(path, [peaks[name]], [peaks['torch']], 'bytes'))
    return [*rows, Note(f'the export is in {folder}')]
