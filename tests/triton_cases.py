"""What runs in Triton's interpreter, in a process of its own, and what it is compared with."""

from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from oneformer.kernels import triton_attention
from oneformer.kernels.attention_levels import Levels
from oneformer.kernels.triton_attention import deformable_attention


class Case(NamedTuple):
    """Sizes of a call; offsets are normal, times ``spread`` pixels."""

    shapes: list
    batch: int = 1
    heads: int = 2
    points: int = 4
    channels: int = 8
    spread: float = 2.0


class Call(NamedTuple):
    """What the operator is given, and the gradient of what it returns."""

    value: Tensor
    numbers: Tensor
    upstream: Tensor
    shapes: list
    points: int


def draw(case: Case, kind: torch.dtype = torch.float32) -> Call:
    torch.manual_seed(0)
    N, S = sum(h * w for h, w in case.shapes), len(case.shapes) * case.points
    value, upstream = (
        torch.randn(case.batch, N, case.heads, case.channels).to(kind) for _ in range(2)
    )
    numbers = torch.randn(case.batch, N, 3 * case.heads * S)
    numbers[..., : 2 * case.heads * S] *= case.spread
    return Call(value, numbers.to(kind), upstream, case.shapes, case.points)


def plain(value: Tensor, numbers: Tensor, shapes: list, points: int) -> Tensor:
    """mmcv's function, which knows no level without pixels: their samples are nothing."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    B, N, M, _ = value.shape
    L = len(shapes)
    offsets = numbers[..., : 2 * M * L * points].reshape(B, N, M, L, points, 2)
    scores = numbers[..., 2 * M * L * points :].reshape(B, N, M, L * points)
    weights = scores.softmax(-1).reshape(B, N, M, L, points)
    centres = [
        [(x + 0.5) / w, (y + 0.5) / h] for h, w in shapes for y in range(h) for x in range(w)
    ]
    full = [level for level, (h, w) in enumerate(shapes) if h * w]
    sides = value.new_tensor([shapes[level][::-1] for level in full])[:, None]
    places = value.new_tensor(centres)[:, None, None, None] + offsets[:, :, :, full] / sides
    output = multi_scale_deformable_attn_pytorch(
        value, [shapes[level] for level in full], places, weights[:, :, :, full]
    )
    return output.view(value.shape)


def results(function, call: Call, kind: torch.dtype | None = None) -> list[Tensor]:
    """Value, and gradients to both inputs."""
    value, numbers = (
        t.detach().to(kind or t.dtype).requires_grad_() for t in (call.value, call.numbers)
    )
    output = function(value, numbers, call.shapes, call.points)
    output.backward(call.upstream.to(output.dtype))
    return [output.detach(), value.grad, numbers.grad]


def ours(value: Tensor, numbers: Tensor, shapes: list, points: int) -> Tensor:
    levels = Levels.of(shapes, value.device)
    return deformable_attention(value, numbers, levels.sizes, levels.starts, points)


def compare(
    case: Case, kind: torch.dtype = torch.float32, of_numbers: torch.dtype | None = None
) -> list[float]:
    """Greatest errors of value and gradients, the reference being of float64."""
    call, of_numbers = draw(case, kind), of_numbers or kind
    call = call._replace(numbers=call.numbers.to(of_numbers))
    found, expected = results(ours, call), results(plain, call, torch.float64)
    assert [t.dtype for t in found] == [kind, kind, of_numbers]
    assert all(t.isfinite().all() and t.abs().max() > 0 for t in found)
    return [(a - b).abs().max().item() for a, b in zip(found, expected)]


def without_order(case: Case) -> tuple[list, list]:
    """Results of inputs that are not contiguous, under autocast, and the usual ones."""
    call = draw(case)
    usual = results(ours, call)
    strided = [
        t.mT.contiguous().mT if t.dim() == 3 else t.transpose(1, 2).contiguous().transpose(1, 2)
        for t in (call.value, call.numbers, call.upstream)
    ]
    assert not any(t.is_contiguous() for t in strided)
    with torch.autocast('cpu', torch.bfloat16):
        found = results(ours, call._replace(**dict(zip(call._fields, strided))))
    return found, usual


def not_numbers() -> tuple[Tensor, Tensor, list]:
    """Outputs where an offset, then where a score is not a number; and finite gradients."""
    call = draw(Case([(2, 2)], heads=1, points=1, channels=2, spread=0.2))
    offset, score = call.numbers.clone(), call.numbers.clone()
    offset[0, 1, 0], offset[0, 2, 1], offset[0, 3, 0] = torch.nan, torch.inf, 3e38
    score[0, 1, 2] = torch.nan
    found = results(ours, call._replace(numbers=offset))
    return found[0], ours(call.value, score, [(2, 2)], 1), found[1:]


def wide_places(case: Case) -> bool:
    """Whether places counted by 64 bits are those counted by 32."""
    constants, call = triton_attention._constants, draw(case)
    narrow = results(ours, call)
    import triton.language as tl

    triton_attention._constants = lambda *given: dict(constants(*given), index=tl.int64)
    try:
        return all(map(torch.equal, results(ours, call), narrow))
    finally:
        triton_attention._constants = constants


def raised(work) -> str:
    try:
        work()
    except RuntimeError as error:
        return str(error)
    return ''


def second_derivative() -> str:
    call = draw(Case([(1, 2)], heads=1, points=1, channels=2))
    value = call.value.requires_grad_()
    output = ours(value, call.numbers, call.shapes, 1)
    (gradient,) = torch.autograd.grad(output.square().sum(), value, create_graph=True)
    return raised(lambda: gradient.sum().backward())


def kept_bytes(case: Case) -> tuple[int, int]:
    """Bytes of storages kept for the backward pass, and those of value and numbers."""
    call = draw(case)
    value, numbers = call.value.requires_grad_(), call.numbers.requires_grad_()
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ours(value, numbers, call.shapes, call.points)
    return sum(kept.values()), 4 * (value.numel() + numbers.numel())


def deterministic(warn_only: bool) -> str:
    """What is raised, or the first warning."""
    import warnings

    call = draw(Case([(1, 2)], heads=1, points=1, channels=2))
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            told = raised(lambda: results(ours, call))
    finally:
        torch.use_deterministic_algorithms(False)
    return told or str(caught[0].message)


def self_check() -> str | None:
    """What the comparison at the first use says, which draws no random number."""
    state = torch.get_rng_state()
    told = triton_attention.compare_with_plain_torch(torch.device('cpu'))
    assert torch.equal(torch.get_rng_state(), state)
    return told


def build_tiny(config: str) -> torch.nn.Module:
    """The quick start's model with two heads and layers of deformable attention, no dropout."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(config).model
    cfg.backbone.pretrained = False
    decoder = cfg.panoptic_head.pixel_decoder
    decoder.encoder.num_layers = 1
    decoder.encoder.layer_cfg.self_attn_cfg.update(num_heads=2, dropout=0.0)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    torch.manual_seed(1)
    for layer in model.panoptic_head.pixel_decoder.encoder.layers:
        # untrained offsets lie on pixels, where the gradient has two values
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight, std=0.1)
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.bias, std=2)
        torch.nn.init.normal_(layer.self_attn.attention_weights.weight, std=0.1)
    return model.eval()  # no dropout, the same norms each time; it has its losses all the same


def tiny_batch(side: int = 32) -> tuple[Tensor, list[DetDataSample]]:
    generator = torch.Generator().manual_seed(2)
    target_map = torch.zeros(1, side, side, dtype=torch.int16)
    target_map[0, : side // 2, : side // 3], target_map[0, side // 2 :, side // 4 :] = 1, 2
    samples = []
    for i in range(2):
        metainfo = dict(
            task='panoptic',
            texts=['a photo with a ball', 'a photo with a sky'],
            filler='a panoptic photo',
            img_id=i,
            batch_input_shape=(side, side),
        )
        sample = DetDataSample(metainfo=metainfo)
        sample.gt_instances = InstanceData(labels=torch.tensor([0, 4]))
        sample.gt_target_map = PixelData(sem_seg=target_map.clone())
        samples.append(sample)
    return torch.randn(2, 3, side, side, generator=generator), samples


def step(model: torch.nn.Module, path: str) -> tuple[dict, dict]:
    """Losses and gradients of a batch by a path."""
    model.panoptic_head.pixel_decoder.attention = path
    model.zero_grad()
    torch.manual_seed(3)  # points of the criterion
    losses = model(*tiny_batch(), mode='loss')
    sum(losses.values()).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@torch.no_grad()
def logits(model: torch.nn.Module, path: str) -> list[Tensor]:
    model.panoptic_head.pixel_decoder.attention = path
    images, _ = tiny_batch()
    encoded = model.panoptic_head.encode(model.extract_feat(images))
    decoded = model.panoptic_head.decode(encoded, [['panoptic', 'semantic']] * len(images))
    return [decoded.cls_scores[-1], decoded.mask_embeds[-1], encoded.mask_features]


def train_and_predict(config: str, paths: tuple[str, ...]) -> tuple[dict, dict]:
    """Losses and gradients by each path, and by the first with activations computed again.

    Then the first path trains the model, and all of them predict with it.
    """
    model = build_tiny(config)
    before = logits(model, 'cpu')
    steps = {path: step(model, path) for path in paths}
    model.panoptic_head.pixel_decoder.with_cp = True
    steps['with_cp'] = step(model, paths[0])
    torch.optim.SGD(model.parameters(), lr=3e-3).step()
    predictions = {path: logits(model, path) for path in paths}
    moved = [(a - b).abs().max().item() for a, b in zip(before, predictions[paths[0]])]
    assert min(moved) > 1e-3, moved
    return steps, predictions
