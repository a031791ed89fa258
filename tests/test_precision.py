"""Training in bfloat16 and float16: what has to stay in float32 does, and the losses follow."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import toy_model
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from runs import forget_runs
from toy_model import QUERIES, C, build, train

from oneformer.commands import replay
from oneformer.commands.train import make_parser
from oneformer.host import bad_steps, processor, train_loop
from oneformer.host.precision import allow_tf32, use_mixed_precision
from oneformer.models.targets import Targets
from oneformer.tasks import TASK_TOKEN_IDS, TASKS

HALF = pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=['bf16', 'fp16'])
LARGE = 3e5  # float16 ends at 65504


@pytest.fixture(scope='module')
def toy_config(config_dir, tiny_set):
    """See ``toy_model``."""
    return toy_model.toy_config(config_dir, tiny_set)


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


def test_float32_can_be_asked_of_a_config_of_mixed_precision(config_dir, run_tool, monkeypatch):
    seen = []
    monkeypatch.setattr('oneformer.commands.train.dry_run', seen.append)
    config = config_dir / 'sharded/oneformer_swin-l_coco.py'
    in_float32 = ('--cfg-options', 'optim_wrapper.type=OptimWrapper')
    printed = run_tool('train', config, '--dry-run', *in_float32)
    assert 'trains in float32: dtype, loss_scale of optim_wrapper' in printed
    (cfg,) = seen
    options = {
        k: v for k, v in cfg.optim_wrapper.items() if k not in ('constructor', 'paramwise_cfg')
    }
    options['optimizer'] = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    assert type(OPTIM_WRAPPERS.build(options)) is OptimWrapper


@pytest.fixture
def steps(toy_config, tmp_path):
    """Runs two iterations of a config with a validation between; what products were set to."""

    def run(cfg, each=lambda: None):
        seen = []

        class Note(Hook):
            def note(self, *args, **kwargs):
                seen.append(torch.get_float32_matmul_precision())
                each()

            before_val_iter = before_train_iter = note

        cfg.work_dir, cfg.experiment_name = str(tmp_path), 'steps'
        forget_runs()
        runner = Runner.from_cfg(cfg)
        runner.register_hook(Note())
        runner.train()
        return seen

    cfg = deepcopy(toy_config)
    cfg.train_cfg.update(max_iters=2, val_interval=1)
    cfg.param_scheduler = []
    cfg.val_dataloader.dataset.update(data_root=cfg.train_dataloader.dataset.data_root, indices=1)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.val_evaluator = [dict(type='SemanticIoU')]
    cfg.model.test_cfg.tasks = ('semantic',)
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False, save_best=None)
    return cfg, run


def test_tf32_is_allowed_in_steps_of_training_and_nowhere_else(steps, monkeypatch):
    cfg, run = steps
    monkeypatch.setattr(train_loop, 'lack_of_tf32', lambda device: None)
    allow_tf32(cfg)
    assert run(cfg) == ['high', 'highest', 'high', 'highest']
    assert torch.get_float32_matmul_precision() == 'highest'
    (log,) = Path(cfg.work_dir).glob('*/*.log')
    assert re.search(r'precision: +float32, products of float32 in TF32', log.read_text())

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(cfg, fail)
    assert torch.get_float32_matmul_precision() == 'highest'


def test_tf32_without_a_gpu_is_told(steps, monkeypatch):
    monkeypatch.setattr(processor, 'multiplies', lambda precision: True)
    cfg, run = steps
    allow_tf32(cfg)
    cfg.model.test_cfg.precision = 'bf16'
    assert run(cfg) == ['highest'] * 4
    (log,) = Path(cfg.work_dir).glob('*/*.log')
    assert re.search(r'precision: +float32; validation: bfloat16 autocast', log.read_text())
    told = 'train_cfg.tf32: TF32 is of NVIDIA GPUs, and the model is on cpu, so products of float32'
    assert told in log.read_text() and 'in TF32' not in log.read_text()


def test_validation_in_a_precision_that_the_device_lacks_is_refused_before_the_first_step(steps):
    cfg, run = steps
    cfg.model.test_cfg.precision = 'tf32'
    with pytest.raises(ValueError, match='model.test_cfg.precision is tf32, but TF32 is of'):
        run(cfg, pytest.fail)


def test_the_option_for_tf32_is_refused_where_the_loop_has_none(run_tool, root_dir, tiny_set):
    config = root_dir / 'configs/oneformer_efficientnet-lite0_quickstart.py'
    with pytest.raises(SystemExit, match='--tf32 is a setting of OneFormerTrainLoop, and .* Epoch'):
        run_tool(
            'train', config, '--tf32', '--dry-run', '--cfg-options',
            'train_cfg.type=EpochBasedTrainLoop', 'train_cfg.max_epochs=1',
        )  # fmt: skip


def test_a_replayed_step_uses_tf32_as_its_training_did(monkeypatch):
    seen = []
    monkeypatch.setattr(
        bad_steps, '_replay', lambda *_: seen.append(torch.get_float32_matmul_precision())
    )
    monkeypatch.setattr(replay, 'lack_of_tf32', lambda device: None)
    for train_cfg in (dict(tf32=True), dict(tf32=False), dict()):
        bad_steps.replay_batch(None, {}, None, replay.uses_tf32(Config(dict(train_cfg=train_cfg))))
    assert seen == ['high', 'highest', 'highest']
    monkeypatch.undo()
    assert not replay.uses_tf32(Config(dict(train_cfg=dict(tf32=True))))  # of this CPU
