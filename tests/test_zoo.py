"""Every config is the original's, number by number, and the zoo says what was published."""

import logging
from collections import namedtuple
from functools import cache
from types import SimpleNamespace

import modelindex
import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import nn

from oneformer.weights.architecture import in_text_branch
from oneformer.weights.hub import HubSource, hub_source
from oneformer.weights.meta_models import meta_model
from oneformer.zoo import METRICS, markdown_tables, read_zoo, zoo_models

# The original's yaml files, as its code reads them: first what all configs of a dataset share.
Data = namedtuple('Data', 'classes things threshold iterations milestones val_interval')
DATA = dict(
    ade20k=Data(150, 100, 0.5, 160000, None, 5000),
    cityscapes=Data(19, 8, 0.8, 90000, None, 5000),
    coco=Data(133, 80, 0.8, 368750, [327778, 355092], 5000),
    mapillary=Data(65, 37, 0.8, 300000, None, 30000),
)
# short edges, their limit, crop and padding as (height, width); short edge and limit of testing;
# scales of multi-scale testing and their limit
Sizes = namedtuple('Sizes', 'short_edges limit crop pad test tta')
L512 = [256, 307, 358, 409, 460, 512, 563, 614, 665, 716, 768, 819, 870, 921, 972, 1024]
L640 = [320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1088, 1152, 1216, 1280]
L896 = [448, 537, 627, 716, 806, 896, 985, 1075, 1164, 1254, 1344, 1433, 1523, 1612, 1702, 1792]
L1280 = [640, 768, 896, 1024, 1152, 1280, 1408, 1536]
L1280 += [1664, 1792, 1920, 2048, 2176, 2304, 2432, 2560]
L1024 = [512, 614, 716, 819, 921, 1024, 1126, 1228, 1331, 1433, 1536, 1638, 1740, 1843, 1945, 2048]
L2048 = [1024, 1228, 1433, 1638, 1843, 2048, 2252, 2457]
L2048 += [2662, 2867, 3072, 3276, 3481, 3686, 3891, 4096]
STREETS = ([512, 768, 1024, 1280, 1536, 1792], 4096)
TTA512 = ([256, 384, 512, 640, 768, 896], 3584)
TTA640 = ([320, 480, 640, 800, 960, 1120], 4480)
TTA896 = ([448, 678, 896, 1120, 1344, 1568], 6272)
TTA1280 = ([640, 960, 1280, 1600, 1920, 2240], 8960)
TTA_COCO = ([400, 500, 600, 700, 800, 900, 1000, 1100, 1200], 4000)
SIZES = {
    512: Sizes(L512, 2048, (512, 512), (512, 512), (512, 2048), TTA512),
    640: Sizes(L640, 2560, (640, 640), (640, 640), (640, 2560), TTA640),
    896: Sizes(L896, 3584, (896, 896), (896, 896), (896, 3584), TTA896),
    1280: Sizes(L1280, 5120, (1280, 1280), (1280, 1280), (1280, 5120), TTA1280),
    'cityscapes': Sizes(L1024, 4096, (512, 1024), None, (1024, 2048), STREETS),
    'coco': Sizes(None, None, None, None, (800, 1333), TTA_COCO),
    'mapillary': Sizes(L2048, 8192, (1024, 1024), (1024, 1024), (2048, 2048), STREETS),
}
SWIN_T = 'swin_tiny_patch4_window7_224.pth'
SWIN_L = 'swin_large_patch4_window12_384_22kto1k.pth'
CONVNEXT_L, CONVNEXT_XL = 'convnext_large_22k_1k_384.pth', 'convnext_xlarge_22k_1k_384_ema.pth'
DINAT, DINAT_K7 = 'dinat_large_in22k_in1k_384_11x11.pth', 'dinat_large_in22k_224.pth'
R50 = 'resnet50-0676ba61.pth'
PRETRAINED_L = 'checkpoints/oneformer_convnext-l_cityscapes-pre_mapillary.pth'
PRETRAINED_XL = 'checkpoints/oneformer_convnext-xl_cityscapes-pre_mapillary.pth'
THREE = dict(semantic=0.33, instance=0.33, panoptic=0.34)
TWO = dict(semantic=0.5, panoptic=0.5)
Recipe = namedtuple('Recipe', 'sizes queries amp start tasks overrides', defaults=(THREE, {}))
LONG = dict(iterations=737500, milestones=[655556, 735184])
LONG_DINAT = dict(iterations=737500, milestones=[655556, 710184])
RECIPES = {
    'r50_ade20k': Recipe(512, 150, True, R50),
    'swin-t_ade20k': Recipe(512, 150, True, SWIN_T),
    'swin-l_ade20k': Recipe(640, 250, True, SWIN_L),
    'swin-l_ade20k-896': Recipe(896, 250, True, SWIN_L),
    'swin-l_ade20k-1280': Recipe(1280, 250, True, SWIN_L),
    'convnext-l_ade20k': Recipe(640, 250, True, CONVNEXT_L),
    'convnext-xl_ade20k': Recipe(640, 250, True, CONVNEXT_XL),
    'dinat-l_ade20k': Recipe(640, 250, False, DINAT),
    'dinat-l_ade20k-896': Recipe(896, 250, False, DINAT),
    'dinat-l_ade20k-1280': Recipe(1280, 250, False, DINAT),
    'dinat-l_coco-pre_ade20k-1280': Recipe(
        1280, 150, False, 'checkpoints/oneformer_dinat-l_coco.pth'
    ),
    'r50_cityscapes': Recipe('cityscapes', 150, True, R50),
    'swin-l_cityscapes': Recipe('cityscapes', 250, True, SWIN_L),
    'convnext-l_cityscapes': Recipe('cityscapes', 250, True, CONVNEXT_L),
    'convnext-xl_cityscapes': Recipe('cityscapes', 250, True, CONVNEXT_XL),
    'convnext-l_mapillary-pre_cityscapes': Recipe('cityscapes', 250, True, PRETRAINED_L),
    'convnext-xl_mapillary-pre_cityscapes': Recipe('cityscapes', 250, True, PRETRAINED_XL),
    'dinat-l_cityscapes': Recipe('cityscapes', 250, False, DINAT_K7),
    'r50_coco': Recipe('coco', 150, True, R50),
    'swin-t_coco': Recipe('coco', 150, True, SWIN_T),
    'swin-l_coco': Recipe('coco', 150, False, SWIN_L, overrides=LONG),
    'dinat-l_coco': Recipe('coco', 150, False, DINAT, overrides=LONG_DINAT),
    'r50_mapillary': Recipe('mapillary', 150, True, R50, TWO),
    'swin-l_mapillary': Recipe('mapillary', 250, True, SWIN_L, TWO),
    'convnext-l_mapillary': Recipe('mapillary', 250, True, CONVNEXT_L, TWO),
    'convnext-l_cityscapes-pre_mapillary': Recipe('mapillary', 250, True, CONVNEXT_L),
    'convnext-xl_cityscapes-pre_mapillary': Recipe('mapillary', 250, True, CONVNEXT_XL),
    'dinat-l_mapillary': Recipe('mapillary', 250, False, DINAT, TWO),
    # ours
    'r101_coco': Recipe('coco', 150, True, 'resnet101-63fe2227.pth'),
    'swin-s_coco': Recipe('coco', 150, True, 'swin_small_patch4_window7_224.pth'),
    'swin-b_coco': Recipe('coco', 150, True, 'swin_base_patch4_window12_384_22kto1k.pth'),
}
# dilations of DiNAT's four levels
WIDE = '1-28-1 1-7-1-14 1-3-1-5-1-5-1-7-1-3-1-5-1-5-1-7-1-7 1-3-1-3-1'
USUAL = '1-20-1 1-5-1-10 1-2-1-3-1-4-1-5-1-2-1-3-1-4-1-5-1-5 1-2-1-2-1'
NARROW = '1-18-1 1-5-1-9 1-2-1-3-1-4-1-2-1-3-1-4-1-2-1-3-1-4 1-2-1-2-1'
# millions of parameters on ADE20K, without the text branch
PARAMETERS = {
    'r50': '47.3',
    'swin-t': '50.74',
    'swin-l': '218.81',
    'convnext-l': '219.84',
    'convnext-xl': '372.01',
    'dinat-l': '223.22',
}
DROP_PATH = {'swin': 0.3, 'convnext': 0.4, 'dinat': 0.3}


@pytest.fixture(scope='module')
def load(config_dir):
    """The config of a name, and its model without memory for values."""

    @cache
    def load(name):
        cfg = Config.fromfile(config_dir / f'oneformer_{name}.py')
        return cfg, meta_model(cfg.model)

    return load


def built(pipeline):
    """The transforms of a pipeline by name, built as a dataset builds them."""
    steps = {step['type'].split('.')[-1]: TRANSFORMS.build(step) for step in pipeline}
    assert len(steps) == len(pipeline)
    return steps


def rules(cfg, model):
    """Learning rate and weight decay of each parameter that an optimizer gets, by name."""
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(cfg.optim_wrapper.constructor)(
        dict(type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer),
        cfg.optim_wrapper.paramwise_cfg,
    )
    optimizer = constructor(model).optimizer
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults['betas'] == (0.9, 0.999) and optimizer.defaults['eps'] == 1e-8
    by_id = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    return {
        name: by_id[id(parameter)]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


class Stub(BaseLoop):
    """A training loop of so many iterations, for mmengine's building of schedulers."""

    max_epochs = 1

    def __init__(self, max_iters):
        self.max_iters = max_iters

    def run(self):
        raise NotImplementedError


PLAYED = {}


def played(cfg, max_iters=None):
    """The learning rate at some iterations k = 0, 1, ..., of the runner's schedulers."""
    length = max_iters or cfg.train_cfg.max_iters
    key = repr(cfg.param_scheduler), length, cfg.optim_wrapper.optimizer.lr
    if key not in PLAYED:
        rate = cfg.optim_wrapper.optimizer.lr
        optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=rate)
        runner = SimpleNamespace(
            _train_loop=Stub(length),
            max_iters=length,
            max_epochs=1,
            logger=logging.getLogger('stub'),
            train_dataloader=[None] * 100,
        )
        schedulers = Runner._build_param_scheduler(runner, cfg.param_scheduler, optimizer)
        moments = {0, 1, 25, 49, 50, 51, length // 10, length // 2, length - 2, length - 1}
        for step in cfg.param_scheduler.get('steps', ()):
            moments |= {step - 1, step}
        optimizer.step()
        rates = {}
        for k in range(length):
            if k in moments:
                rates[k] = optimizer.param_groups[0]['lr']
            for scheduler in schedulers:
                scheduler.step()
        PLAYED[key] = rates
    return PLAYED[key]


def warmed_up(k, length, base):
    """The formula of the small configs, see docs/your_data.md."""
    warmup = min(50, length // 10)
    if k < warmup:
        return base * (0.01 + 0.99 * k / warmup)
    return base * (1 - (k - warmup) / (length - warmup)) ** 0.9


SMALL = {
    'oneformer_efficientnet-lite0_quickstart': (700, 8e-4),
    'oneformer_efficientnet-lite0_nuclei': (900, 8e-4),
    'studies/partial-labels_alone': (500, 8e-4),
    'studies/partial-labels_joint': (500, 8e-4),
    'studies/contrastive-memory_with': (1000, 3e-4),
    'studies/contrastive-memory_without': (1000, 3e-4),
    'studies/ablations_lookalikes': (500, 8e-4),
    'studies/ablations_nuclei': (500, 8e-4),
    'studies/vit_decoder': (700, 8e-4),
    'studies/vit_efficientnet-lite0': (700, 8e-4),
    'studies/vit_encoder-only': (700, 8e-4),
    'studies/vit_encoder-only-shared': (700, 8e-4),
}
# tests/test_your_data.py is about them
YOURS = ['oneformer_efficientnet-lite0_street'] + [
    f'your_data/{kind}{machine}'
    for kind in ('instance', 'mmseg', 'panoptic', 'semantic')
    for machine in ('', '_gpu')
]


def test_small_configs_warm_up_and_decay_by_the_stated_formula(config_dir):
    names = {str(path.relative_to(config_dir)) for path in config_dir.rglob('*.py')}
    # tests/test_vit_zoo.py is about vit/
    names = {n.removesuffix('.py') for n in names if not n.startswith(('_base_', 'vit/'))}
    assert names - {f'oneformer_{name}' for name in RECIPES} - set(SMALL) - set(YOURS) == {
        'sharded/oneformer_swin-l_coco'
    }
    assert names >= set(YOURS)
    for name, (length, base) in SMALL.items():
        cfg = Config.fromfile(config_dir / f'{name}.py')
        assert cfg.train_cfg.max_iters == length and 'max_iters' not in cfg
        assert cfg.train_cfg.val_interval is None  # at the end alone
        for shorter in (length, 30, 2):
            for k, rate in played(cfg, shorter).items():
                expected = warmed_up(k, shorter, base)
                assert rate == pytest.approx(expected, rel=1e-12, abs=0), (name, k)


def test_a_schedule_follows_another_length(load, config_dir):
    for k, rate in played(load('r50_ade20k')[0], 2000).items():
        assert rate == pytest.approx(1e-4 * (1 - k / 2000) ** 0.9, rel=1e-12, abs=0)
    cfg = Config.fromfile(config_dir / 'sharded/oneformer_swin-l_coco.py')
    assert cfg.train_cfg.max_iters == 737500
    steps = [round(655556 * 1000 / 737500), round(735184 * 1000 / 737500)]
    assert steps == [889, 997]
    rates = played(cfg, 1000)
    assert rates[500] == pytest.approx(1e-4) and rates[998] == pytest.approx(1e-6)


def test_the_table_has_all_configs(config_dir):
    names = {path.stem for path in config_dir.glob('oneformer_*.py')}
    small = {name for name in names if name.startswith('oneformer_efficientnet')}
    assert names - small == {f'oneformer_{name}' for name in RECIPES}


@pytest.mark.parametrize('name', RECIPES)
def test_what_reaches_training_is_the_originals(load, name):
    cfg, model = load(name)
    recipe = RECIPES[name]
    sizes = SIZES[recipe.sizes]
    dataset = name.split('_')[-1].split('-')[0]
    data = DATA[dataset]._replace(**recipe.overrides)

    # the model
    assert cfg.metainfo == dataset
    assert model.num_classes == data.classes and int(model.is_thing.sum()) == data.things
    head = model.panoptic_head
    assert head.num_queries == len(head.query_embed.weight) == recipe.queries
    assert model.text_mapper.num_texts == recipe.queries - 16
    assert len(model.text_mapper.context.weight) == 16
    assert model.test_cfg['max_per_image'] == recipe.queries
    assert model.test_cfg['object_mask_thr'] == data.threshold
    assert model.test_cfg['iou_thr'] == 0.8
    assert set(model.test_cfg['tasks']) == {'panoptic', 'instance', 'semantic'}
    drop_paths = [m.drop_prob for m in model.backbone.modules() if isinstance(m, DropPath)]
    expected = DROP_PATH.get(name.split('_')[0].split('-')[0], 0.0)
    assert max(drop_paths, default=0.0) == pytest.approx(expected)
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.mean == [123.675, 116.28, 103.53] and preprocessor.pad_size_divisor == 32
    assert preprocessor.std == [58.395, 57.12, 57.375] and preprocessor.bgr_to_rgb

    # where it starts
    if '/' in recipe.start:
        assert cfg.load_from == recipe.start and cfg.model.backbone.init_cfg is None
    else:
        assert cfg.load_from is None and cfg.model.backbone.init_cfg.type == 'PretrainedBackbone'
        url = cfg.model.backbone.init_cfg.checkpoint
        assert url.startswith('https://') and url.split('/')[-1] == recipe.start

    # images
    train = built(cfg.train_dataloader.dataset.pipeline)
    order = ['LoadPhoto', 'LoadSegmentMap']
    if dataset == 'coco':
        order += ['RandomFlip', 'LargeScaleJitter']
        assert train['LargeScaleJitter'].size == 1024
        assert tuple(train['LargeScaleJitter'].scale_range) == (0.1, 2.0)
    else:
        order += ['ResizeShortEdge', 'RandomCrop', 'PhotoMetricDistortion', 'RandomFlip']
        assert train['ResizeShortEdge'].short_edges == sizes.short_edges
        assert train['ResizeShortEdge'].max_size == sizes.limit
        assert train['RandomCrop'].crop_size == sizes.crop[::-1]
        assert train['RandomCrop'].crop_type == 'absolute'
    if sizes.pad:
        order.append('Pad')
        assert train['Pad'].size == sizes.pad[::-1]
        assert train['Pad'].pad_val == dict(img=(128, 128, 128), seg=0)
    assert list(train) == [*order, 'SampleTask', 'PackSegmentInputs']
    assert train['RandomFlip'].prob == 0.5
    assert cfg.train_dataloader.dataset.pipeline[-2].probs == recipe.tasks
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        test = built(loader.dataset.pipeline)['ResizeShortEdge']
        assert (test.short_edges, test.max_size) == ([sizes.test[0]], sizes.test[1])
    assert (cfg.tta.short_edges, cfg.tta.max_size) == sizes.tta and cfg.tta.flip
    filtered = cfg.train_dataloader.dataset.get('filter_cfg', {}).get('without_things', False)
    assert filtered == (dataset == 'coco')
    ignored = [m.ignore_index for m in cfg.official_evaluator if 'ignore_index' in m]
    assert ignored == ([65] if dataset == 'mapillary' else [])

    # the optimizer and the schedule
    assert cfg.optim_wrapper.type == ('AmpOptimWrapper' if recipe.amp else 'OptimWrapper')
    assert 'clip_grad' not in cfg.optim_wrapper
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_cfg.max_iters == data.iterations and 'max_iters' not in cfg
    assert cfg.train_cfg.val_interval == data.val_interval
    for k, rate in played(cfg).items():
        if data.milestones:
            expected = 1e-4 * 0.1 ** sum(milestone <= k for milestone in data.milestones)
        else:
            expected = 1e-4 * (1 - k / data.iterations) ** 0.9
        assert rate == pytest.approx(expected, rel=1e-12, abs=0), k
    assert HOOKS.build(cfg.default_hooks.checkpoint).interval == 5000


@pytest.mark.parametrize('backbone', PARAMETERS)
def test_parameter_totals_are_the_published_ones(load, backbone):
    _, model = load(f'{backbone}_ade20k')
    total = sum(p.numel() for name, p in model.named_parameters() if not in_text_branch(name))
    expected = PARAMETERS[backbone]
    assert f'{total / 1e6:.{len(expected.split(".")[1])}f}' == expected


@pytest.mark.parametrize(
    ('name', 'kernel', 'dilations'),
    [
        ('dinat-l_ade20k', 11, USUAL),
        ('dinat-l_ade20k-896', 11, USUAL),
        ('dinat-l_ade20k-1280', 11, WIDE),
        ('dinat-l_coco-pre_ade20k-1280', 11, WIDE),
        ('dinat-l_cityscapes', 7, NARROW),
        ('dinat-l_coco', 11, USUAL),
        ('dinat-l_mapillary', 11, USUAL),
    ],
)
def test_dinat_looks_as_far_as_the_original(load, name, kernel, dilations):
    levels = load(name)[1].backbone.levels
    seen = ['-'.join(str(block.attn.dilation) for block in level.blocks) for level in levels]
    assert ' '.join(seen) == dilations
    biases = {block.attn.rpb.shape[-1] for level in levels for block in level.blocks}
    assert biases == {2 * kernel - 1}


UNDECAYED = {  # of backbones: parts of parameter names
    'r50_ade20k': (),  # frozen norms are not optimized
    'r50_cityscapes': ('bn', 'downsample.1'),
    'swin-l_ade20k': ('norm', 'relative_position_bias_table'),
    'convnext-l_ade20k': (),  # its norms are classes of its own, which the original decays
    'dinat-l_ade20k': ('norm',),  # but not its relative biases, rpb
}


@pytest.mark.parametrize('name', UNDECAYED)
def test_backbones_are_decayed_as_in_the_original(load, name):
    cfg, model = load(name)
    of_backbone = {k: v for k, v in rules(cfg, model).items() if k.startswith('backbone.')}
    assert of_backbone
    for parameter, (lr, decay) in of_backbone.items():
        undecayed = any(part in parameter for part in UNDECAYED[name])
        assert lr == pytest.approx(1e-5)
        assert decay == (0.0 if undecayed else 0.05), parameter


def test_norms_of_resnet_are_frozen_where_the_original_freezes_them(load):
    for name, frozen in dict(ade20k=True, coco=True, cityscapes=False, mapillary=False).items():
        backbone = load(f'r50_{name}')[1].backbone
        backbone.train()
        norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert len(norms) == 53
        for norm in norms:
            assert isinstance(norm, nn.SyncBatchNorm) is not frozen
            assert norm.training is norm.weight.requires_grad is not frozen


def test_convnext_ends_in_norms_over_channels_of_every_pixel(load):
    backbone = load('convnext-l_ade20k')[1].backbone
    assert backbone.gap_before_final_norm is False and tuple(backbone.out_indices) == (0, 1, 2, 3)
    for i, channels in enumerate((192, 384, 768, 1536)):
        norm = getattr(backbone, f'norm{i}')
        assert norm.normalized_shape == (channels,) and norm.eps == 1e-6
    gammas = [m.gamma for m in backbone.modules() if hasattr(m, 'gamma')]
    assert len(gammas) == 36


@pytest.mark.skipif(torch.cuda.is_available(), reason='SyncBatchNorm runs on a GPU')
def test_a_config_with_synced_norms_trains_without_a_gpu(
    run_tool, config_dir, tiny_set, tmp_path, monkeypatch
):
    cfg = Config.fromfile(config_dir / 'oneformer_r50_cityscapes.py')
    quick = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    backbone = dict(cfg.model.backbone, depth=18, base_channels=8, init_cfg=None)
    assert backbone['norm_cfg']['type'] == 'SyncBN'
    quick.model.backbone = backbone
    quick.model.panoptic_head.in_channels = [8, 16, 32, 64]
    quick.model.criterion.num_points = 64
    quick.train_dataloader.update(batch_size=2)
    quick.train_dataloader.dataset.data_root = quick.val_dataloader.dataset.data_root = str(
        tiny_set
    )
    quick.train_cfg.max_iters = 1
    quick.work_dir = str(tmp_path / 'run')
    quick.dump(tmp_path / 'synced.py')
    logged = []
    monkeypatch.setattr(
        'oneformer.commands.run_arguments.print_log', lambda text, logger: logged.append(text)
    )
    run_tool('train', tmp_path / 'synced.py')
    assert [text for text in logged if 'BatchNorm instead of SyncBatchNorm' in text]
    state = torch.load(tmp_path / 'run/iter_1.pth', weights_only=False)['state_dict']
    assert state['backbone.layer4.1.bn2.num_batches_tracked'] == 1


# PQ, AP, mIoU and mIoU of multi-scale testing, from the original's README
PUBLISHED = {
    'swin-l_ade20k': (49.8, 35.9, 57.0, 57.7),
    'swin-l_ade20k-896': (51.1, 37.6, 57.4, 58.3),
    'swin-l_ade20k-1280': (51.4, 37.8, 57.0, 57.7),
    'convnext-l_ade20k': (50.0, 36.2, 56.6, 57.4),
    'dinat-l_ade20k': (50.5, 36.0, 58.3, 58.4),
    'dinat-l_ade20k-896': (51.2, 36.8, 58.1, 58.6),
    'dinat-l_ade20k-1280': (51.5, 37.1, 58.3, 58.7),
    'dinat-l_coco-pre_ade20k-1280': (53.4, 40.2, 58.4, 58.8),
    'convnext-xl_ade20k': (50.1, 36.3, 57.4, 58.8),
    'swin-l_cityscapes': (67.2, 45.6, 83.0, 84.4),
    'convnext-l_cityscapes': (68.5, 46.5, 83.0, 84.0),
    'convnext-l_mapillary-pre_cityscapes': (70.1, 48.7, 84.6, 85.2),
    'dinat-l_cityscapes': (67.6, 45.6, 83.1, 84.0),
    'convnext-xl_cityscapes': (68.4, 46.7, 83.6, 84.6),
    'convnext-xl_mapillary-pre_cityscapes': (69.7, 48.9, 84.5, 85.8),
    'swin-l_coco': (57.9, 49.0, 67.4, None),
    'dinat-l_coco': (58.0, 49.2, 68.1, None),
    'swin-l_mapillary': (46.7, None, 62.9, 64.1),
    'convnext-l_mapillary': (47.9, None, 63.2, 63.8),
    'dinat-l_mapillary': (47.8, None, 64.0, 64.9),
}


@pytest.fixture(scope='module')
def zoo(config_dir):
    return read_zoo(config_dir / 'metafile.yml')


def test_the_zoo_has_every_config_and_every_published_number(zoo, root_dir):
    assert {model.name for model in zoo} == {f'oneformer_{name}' for name in RECIPES}
    metrics = ('PQ', 'mask AP', 'mIoU', 'mIoU(ms+flip)')
    for model in zoo:
        assert model.config == f'configs/{model.name}.py' and (root_dir / model.config).is_file()
        numbers = PUBLISHED.get(model.name.removeprefix('oneformer_'), (None,) * 4)
        assert tuple(map(model.metrics.get, metrics)) == numbers, model.name
    coco = {model.name: model.metrics for model in zoo if model.dataset == 'COCO'}
    parts = METRICS[1:3]
    assert [coco['oneformer_swin-l_coco'][part] for part in parts] == [64.4, 48.0]
    assert [coco['oneformer_dinat-l_coco'][part] for part in parts] == [64.3, 48.4]
    assert [model.backbone_key for model in zoo if model.is_ours] == ['r101', 'swin-s', 'swin-b']


def test_checkpoints_carry_the_originals_names(zoo):
    letters = {'swin-l': 'swin_l', 'convnext-l': 'convnext_l', 'convnext-xl': 'convnext_xl'}
    letters['dinat-l'] = 'dinat_l'
    ends = dict(ade20k='160k', cityscapes='90k', coco='100ep', mapillary='300k')
    with_file = set(PUBLISHED) | {f'convnext-{x}_cityscapes-pre_mapillary' for x in ('l', 'xl')}
    for model in zoo:
        name = model.name.removeprefix('oneformer_')
        files = [url for url in model.weights if url.endswith('.pth')]
        assert len(files) == (name in with_file), name
        for url in files:
            dataset, recipe = model.dataset_key, RECIPES[name]
            end = f'{recipe.queries}_16_{letters[model.backbone_key]}_oneformer_{dataset}'
            assert url.endswith(f'{end}_{ends[dataset]}.pth') and url == model.weights[-1]
            assert url.startswith(f'https://shi-labs.com/projects/oneformer/{dataset}/')
            file = url.rsplit('/')[-1]
            assert (recipe.sizes in (896, 1280)) == (f'{recipe.sizes}x' in file)
            assert ('-pre_' in name) == ('pretrain' in file)


def test_repositories_on_the_hub_carry_the_originals_names(zoo):
    on_hub = {'swin-t_ade20k'} | {
        f'{backbone}_{dataset}'
        for backbone in ('swin-l', 'dinat-l')
        for dataset in ('ade20k', 'cityscapes', 'coco')
    }
    letters = {'swin-t': 'swin_tiny', 'swin-l': 'swin_large', 'dinat-l': 'dinat_large'}
    for model in zoo:
        sources = [hub_source(url) for url in model.weights]
        expected = []
        if model.name.removeprefix('oneformer_') in on_hub:
            name = f'oneformer_{model.dataset_key}_{letters[model.backbone_key]}'
            expected = [HubSource(f'shi-labs/{name}')]
        assert [source for source in sources if source] == expected == sources[: len(expected)]


def test_openmmlabs_inferencers_find_weights_where_ours_do(root_dir):
    models = {model.name: model for model in zoo_models()}
    index = modelindex.load(str(root_dir / 'model-index.yml'))
    index.build_models_with_collections()
    for entry in index.models:
        assert tuple(entry.weights or ()) == models[entry.name].weights


def test_crops_and_data_sets_of_the_zoo_are_those_of_its_configs(zoo, load):
    for model in zoo:
        cfg = load(model.name.removeprefix('oneformer_'))[0]
        steps = built(cfg.train_dataloader.dataset.pipeline)
        crop = steps['RandomCrop'].crop_size if 'RandomCrop' in steps else (1024, 1024)
        assert model.crop == f'{crop[1]}x{crop[0]}'
        assert cfg.metainfo == model.dataset_key == model.dataset.split()[0].lower()


def test_the_index_is_read_by_openmmlabs_reader(root_dir, monkeypatch):
    monkeypatch.chdir(root_dir)
    index = modelindex.load('model-index.yml')
    index.build_models_with_collections()
    assert [model.name for model in index.models] == [model.name for model in zoo_models()]
    assert not index.check(silent=True)


def test_the_tool_lists_what_is_asked_for(run_tool):
    printed = run_tool('list_models', '--dataset', 'mapillary', '--backbone', 'convnext-l')
    lines = [line for line in printed.splitlines() if 'oneformer_' in line]
    assert len(lines) == 2
    assert '47.9' in lines[0] and '63.8' in lines[0] and '/250_16_convnext_l_' in lines[0]
    assert 'oneformer predict IMAGE --model NAME' in printed
    assert 'not measured here' in printed
    everything = run_tool('list_models')
    assert all(f' {model.name} ' in everything for model in zoo_models())
    with pytest.raises(SystemExit, match='no model with backbone r101 for ade20k'):
        run_tool('list_models', '--dataset', 'ade20k', '--backbone', 'r101')


def test_the_page_shows_the_zoo_as_it_is(run_tool, root_dir, tmp_path):
    page = root_dir / 'docs/model_zoo.md'
    assert markdown_tables(zoo_models()) in page.read_text(), (
        'run oneformer list --markdown docs/model_zoo.md'
    )
    other = tmp_path / 'page.md'
    other.write_text(page.read_text().replace('49.8', '0.0'))
    run_tool('list_models', '--markdown', other)
    assert other.read_text() == page.read_text()
    other.write_text('# No tables\n')
    with pytest.raises(SystemExit, match='page.md has no lines'):
        run_tool('list_models', '--markdown', other)
    assert other.read_text() == '# No tables\n'


def test_a_page_of_some_models_is_refused(run_tool, capsys, tmp_path):
    with pytest.raises(SystemExit):
        run_tool('list_models', '--dataset', 'coco', '--markdown', tmp_path / 'page.md')
    assert '--markdown writes all tables' in capsys.readouterr().err
    assert not (tmp_path / 'page.md').exists()


def test_a_metafile_with_a_gap_says_where(tmp_path):
    metafile = tmp_path / 'metafile.yml'
    metafile.write_text('Models:\n  - Name: mine\n    Config: mine.py\n    Metadata: {}\n')
    with pytest.raises(ValueError, match="metafile.yml: mine has no 'Backbone'"):
        read_zoo(metafile)
