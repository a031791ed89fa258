"""Training in bfloat16 and float16: what has to stay in float32 does, and the losses follow."""

from contextlib import contextmanager
from copy import deepcopy
from itertools import cycle, islice

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner

from oneformer.commands.run_arguments import use_batch_norm_without_gpu
from oneformer.commands.train import make_parser
from oneformer.host.precision import use_mixed_precision
from oneformer.models.targets import Targets
from oneformer.tasks import TASK_TOKEN_IDS, TASKS

HALF = pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=['bf16', 'fp16'])
C, QUERIES = 32, 12  # channels, object queries
LARGE = 3e5  # float16 ends at 65504


@pytest.fixture(scope='module')
def toy_config(config_dir, tiny_set):
    """The quick start, made as small as it goes: 64 px, 32 channels."""
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    attention = dict(embed_dims=C)
    feed_forward = dict(embed_dims=C, feedforward_channels=64)
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(pretrained=False),
                panoptic_head=dict(
                    feat_channels=C,
                    num_queries=QUERIES,
                    pixel_decoder=dict(
                        encoder=dict(
                            num_layers=1,
                            layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=feed_forward),
                        ),
                        positional_encoding=dict(num_feats=C // 2),
                    ),
                    task_queries=dict(num_layers=1, feedforward_channels=64),
                    transformer_decoder=dict(num_layers=2, feedforward_channels=64),
                ),
                text_mapper=dict(embed_dims=C, num_layers=1),
                criterion=dict(num_points=256),
            ),
            train_dataloader=dict(
                num_workers=0,
                persistent_workers=False,
                batch_size=2,
                dataset=dict(data_root=f'{tiny_set}/'),
            ),
        )
    )
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadPhoto'),
        dict(type='ResizeShortEdge', short_edges=[64], max_size=64),
        dict(type='LoadSegmentMap'),
        dict(type='Pad', size=(64, 64), pad_val=dict(img=(128, 128, 128), seg=0)),
        dict(type='SampleTask'),
        dict(type='PackSegmentInputs'),
    ]
    use_batch_norm_without_gpu(cfg)
    return cfg


def build(config):
    """The same model every time."""
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def head(toy_config):
    return build(toy_config.model).panoptic_head


def same_as_in_float32(compute, dtype, *inputs):
    """Results and gradients under autocast are finite, and bit for bit those without."""

    def run(enabled):
        leaves = [x.clone().requires_grad_() for x in inputs]
        with torch.autocast('cpu', dtype, enabled=enabled):
            results = compute(*leaves)
        sum(result.sum() for result in results).backward()
        return [*results, *(leaf.grad for leaf in leaves)]

    for half, single in zip(run(True), run(False)):
        assert single.dtype == torch.float32 and single.isfinite().all()
        assert torch.equal(half, single)
    return run(True)


@HALF
def test_task_token_ids_are_not_rounded(head, dtype):
    rows = []
    first = head.task_queries.task_mlp.layers[0]
    hook = first.register_forward_pre_hook(lambda module, inputs: rows.append(inputs[0]))
    with torch.autocast('cpu', dtype):
        head.task_queries.task_tokens([TASKS], head.transformer_decoder.post_norm)
    hook.remove()
    ids = [list(TASK_TOKEN_IDS[task]) for task in TASKS]
    assert rows[0].dtype == torch.float32 and rows[0][0].tolist() == ids
    exact = torch.tensor(ids, dtype=torch.float32)
    assert 10549 in exact and 10549 not in exact.to(dtype).float()


@HALF
def test_the_task_mlp_leaves_the_range_of_float16(head, dtype):
    norm = head.transformer_decoder.post_norm
    mlp = head.task_queries.task_mlp
    hidden = []
    hook = mlp.layers[0].register_forward_hook(lambda module, inputs, out: hidden.append(out))
    weight = mlp.layers[0].weight

    def compute(factor):
        with torch.no_grad():
            weight.mul_(factor)
        tokens = head.task_queries.task_tokens([TASKS], norm)
        with torch.no_grad():
            weight.div_(factor)
        return [tokens + 0 * factor]

    same_as_in_float32(compute, dtype, torch.tensor(64.0))
    hook.remove()
    assert hidden[0].abs().max() > LARGE


@HALF
def test_the_pixel_decoder_stays_in_float32(head, toy_config, dtype):
    channels = toy_config.model.panoptic_head.in_channels
    generator = torch.Generator().manual_seed(0)
    feats = [
        LARGE * torch.randn(1, c, 32 // 2**i, 32 // 2**i, generator=generator)
        for i, c in enumerate(channels)
    ]

    def compute(*feats):
        mask_features, maps = head.pixel_decoder(feats)
        return [mask_features, *maps]

    same_as_in_float32(compute, dtype, *feats)


@HALF
def test_matching_and_losses_stay_in_float32(dtype):
    criterion = MODELS.build(dict(type='SetCriterion', num_classes=3, num_points=64))
    criterion.sample_points = lambda sets, points, device, key: torch.rand(
        sets, points, 2, generator=torch.Generator().manual_seed(0)
    )
    generator = torch.Generator().manual_seed(0)
    target_map = torch.arange(32 * 32).view(32, 32) // 200 % 4
    targets = [Targets(torch.tensor([0, 2, 1]), target_map, 0)]
    cls_scores = LARGE * torch.randn(2, 1, 8, 4, generator=generator)
    mask_embeds = torch.randn(2, 1, 8, C, generator=generator)
    mask_features = LARGE * torch.randn(1, C, 8, 8, generator=generator)

    def compute(*outputs):
        return list(criterion(*outputs, targets).values())

    results = same_as_in_float32(compute, dtype, cls_scores, mask_embeds, mask_features)
    assert max(float(result.max()) for result in results[:6]) > 65504
    with torch.autocast('cpu', dtype):
        assert criterion.match(cls_scores, mask_embeds, mask_features, targets)[0].min() >= 0


@HALF
def test_the_contrastive_loss_stays_in_float32(dtype):
    loss = MODELS.build(dict(type='QueryTextContrastiveLoss'))
    generator = torch.Generator().manual_seed(0)
    queries, texts = LARGE * torch.randn(2, 3, QUERIES, C, generator=generator)
    same_as_in_float32(lambda *pair: [loss(*pair)], dtype, queries, texts)


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """mmengine's refuses a CPU."""

    def __init__(self, dtype, **kwargs):
        super().__init__(**kwargs)
        self.dtype = dtype
        self.scaler = torch.amp.GradScaler('cpu', enabled=dtype == torch.float16)

    @contextmanager
    def optim_context(self, model):
        with torch.autocast('cpu', self.dtype, enabled=self.dtype != torch.float32):
            yield

    def update_params(self, loss):
        self.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def train(config, dtype, iterations, before_step=None):
    """Loss of each iteration of the toy model on eight batches in turn."""
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    torch.manual_seed(0)
    batches = list(islice(loader, 8))
    model = build(config.model)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=5e-4, weight_decay=0.05
    )
    wrapper = CpuAmpOptimWrapper(dtype, optimizer=optimizer)
    curve = []
    for iteration, batch in enumerate(islice(cycle(batches), iterations)):
        if before_step:
            before_step(model, batch, iteration)
        torch.manual_seed(iteration)  # the same points
        curve.append(float(model.train_step(batch, wrapper)['loss'].detach()))
    assert all(p.isfinite().all() for p in model.parameters())
    return torch.tensor(curve)


def largest_difference(single, half):
    """Relative, of means over the eight batches."""
    single, half = (curve.unfold(0, 8, 8).mean(1) for curve in (single, half))
    differences = ((half - single) / single).abs()
    print(f'difference {differences.max():.2%} at most, {differences.mean():.2%} in the mean')
    print(f'losses {single[0]:.2f} to {single[-1]:.2f}, and {half[0]:.2f} to {half[-1]:.2f}')
    return differences.max()


def test_losses_in_bfloat16_follow_those_in_float32(toy_config):
    """At the same weights, all through a training: apart, the two would drift as any two runs."""
    rounded = []

    def also_in_bfloat16(model, batch, iteration):
        kept = deepcopy(model.state_dict())  # the running statistics
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
            data = model.data_preprocessor(batch, True)
            torch.manual_seed(iteration)
            rounded.append(float(model.parse_losses(model(**data, mode='loss'))[0]))
        model.load_state_dict(kept)

    single = train(toy_config, torch.float32, 16, also_in_bfloat16)
    differences = (torch.tensor(rounded) - single).abs() / single
    print(f'{differences.max():.2%} at most, {differences.mean():.2%} in the mean')
    assert 0 < differences.max() < 0.03 and differences.mean() < 0.01
    assert train(toy_config, torch.bfloat16, 16)[-8:].mean() < single[:8].mean()


@pytest.mark.long
def test_losses_follow_for_200_iterations(toy_config):
    single = train(toy_config, torch.float32, 200)
    assert single[-8:].mean() < 0.7 * single[:8].mean()
    for dtype in (torch.bfloat16, torch.float16):
        half = train(toy_config, dtype, 200)
        assert half.isfinite().all()
        # other random points in float32 were seen to make a difference of 15 %
        assert largest_difference(single, half) < 0.3


@pytest.mark.parametrize(
    'arguments, kind',
    [(['--amp'], 'fp16'), (['--amp', 'fp16'], 'fp16'), (['--amp', 'bf16'], 'bf16')],
)
def test_amp_chooses_a_precision(arguments, kind):
    name = 'oneformer_efficientnet-lite0_quickstart'
    assert make_parser().parse_args([name, *arguments]).amp == kind


@HALF
@pytest.mark.parametrize('name', ['oneformer_swin-l_coco', 'oneformer_r50_ade20k'])
def test_mmengine_builds_the_precision_asked_for(config_dir, monkeypatch, name, dtype):
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: 1
    )
    cfg = Config.fromfile(config_dir / f'{name}.py')
    use_mixed_precision(cfg, 'bf16' if dtype == torch.bfloat16 else 'fp16')
    options = {
        k: v for k, v in cfg.optim_wrapper.items() if k not in ('constructor', 'paramwise_cfg')
    }
    options['optimizer'] = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    wrapper = OPTIM_WRAPPERS.build(options)
    assert type(wrapper).__name__ == 'AmpOptimWrapper' and wrapper.cast_dtype == dtype
