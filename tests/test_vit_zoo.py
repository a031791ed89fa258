"""Configs on plain vision transformers: sizes, classes, what they train on, and EoMT's numbers."""

import pytest
from mmengine.config import Config

from oneformer.metainfo import resolve_metainfo
from oneformer.weights.architecture import in_text_branch
from oneformer.weights.hub import HubSource, hub_source
from oneformer.weights.meta_models import meta_model
from oneformer.zoo import find_config, read_zoo, zoo_models

# millions of parameters that predict 133 classes, by the beginning of a name. EoMT's are published:
# 316 (ViT-L, https://arxiv.org/abs/2503.19108, table 1), and with DINOv3 23.4, 92.5, 315.1 by
# https://docs.lightly.ai/train/stable/panoptic_segmentation.html (its S and B train longer).
MILLIONS = {
    'eomt_dinov2-s': 23.98, 'eomt_dinov2-b': 93.66, 'eomt_dinov2-l': 316.70,
    'eomt_dinov2-g': 1163.62,
    'eomt_dinov3-s': 23.36, 'eomt_dinov3-b': 92.43, 'eomt_dinov3-l': 315.03,
    'oneformer-vit_dinov2-s': 24.15, 'oneformer-vit_dinov2-b': 94.32,
    'oneformer-vit_dinov2-l': 317.83,
    'oneformer-vit_dinov3-s': 23.54, 'oneformer-vit_dinov3-b': 93.08,
    'oneformer-vit_dinov3-l': 316.16,
    'oneformer_dinov2-s': 48.62, 'oneformer_dinov2-b': 115.56, 'oneformer_dinov2-l': 335.70,
    'oneformer_dinov3-s': 48.00, 'oneformer_dinov3-b': 114.32, 'oneformer_dinov3-l': 334.04,
}  # fmt: skip
WIDTHS = dict(s=384, b=768, l=1024, g=1536)
ITERATIONS = dict(coco=12 * 7391, ade20k=31 * (20210 // 16), cityscapes=107 * (2975 // 16))
# https://github.com/tue-mps/eomt, model_zoo/dinov2.md and dinov3.md
PUBLISHED = {
    'dinov2-s_coco': ('PQ', 46.7), 'dinov2-b_coco': ('PQ', 51.6), 'dinov2-l_coco': ('PQ', 56.0),
    'dinov2-g_coco': ('PQ', 57.0), 'dinov2-l_coco-1280': ('PQ', 58.3),
    'dinov2-g_coco-1280': ('PQ', 59.2), 'dinov2-l_ade20k': ('PQ', 50.6),
    'dinov2-g_ade20k': ('PQ', 51.3), 'dinov2-l_ade20k-1280': ('PQ', 51.7),
    'dinov2-g_ade20k-1280': ('PQ', 52.8), 'dinov2-l_cityscapes-semantic': ('mIoU', 84.2),
    'dinov2-l_ade20k-semantic-512': ('mIoU', 58.4), 'dinov2-l_coco-instance': ('mask AP', 45.2),
    'dinov2-l_coco-instance-1280': ('mask AP', 48.8), 'dinov3-s_coco': ('PQ', 47.2),
    'dinov3-b_coco': ('PQ', 53.1), 'dinov3-l_coco': ('PQ', 56.8),
    'dinov3-l_coco-1280': ('PQ', 58.9), 'dinov3-l_ade20k-semantic-512': ('mIoU', 59.5),
    'dinov3-l_coco-instance': ('mask AP', 45.9), 'dinov3-l_coco-instance-1280': ('mask AP', 49.9),
}  # fmt: skip


@pytest.fixture(scope='module')
def zoo(config_dir):
    return read_zoo(config_dir / 'vit/metafile.yml')


def test_the_zoo_has_every_config_and_every_published_number(zoo, root_dir, config_dir):
    configs = {path.stem for path in (config_dir / 'vit').glob('*.py')}
    assert {model.name for model in zoo} == configs
    heads, sizes = ('oneformer', 'oneformer-vit'), 'sbl'
    sets = ('coco', 'coco-1280', 'ade20k', 'ade20k-1280', 'cityscapes')
    names = {f'{head}_dinov2-{s}_{data}' for head in heads for s in sizes for data in sets}
    assert names <= {model.name for model in zoo if model.is_ours}
    for model in zoo:
        assert model.config == f'configs/vit/{model.name}.py'
        head, _, name = model.name.partition('_')
        assert model.metrics == (dict([PUBLISHED[name]]) if head == 'eomt' else {}), model.name
        assert find_config(model.name) == root_dir / model.config
    assert {model.name for model in zoo if not model.is_ours} == {f'eomt_{x}' for x in PUBLISHED}
    assert zoo_models()[-len(zoo) :] == zoo


def test_repositories_on_the_hub_carry_the_authors_names(zoo):
    letters = {'dinov2-s': 'small', 'dinov2-b': 'base', 'dinov2-l': 'large', 'dinov2-g': 'giant'}
    for model in zoo:
        if model.is_ours or 'dinov3' in model.name:  # differences from weights that are not ours
            assert not model.weights
            continue
        _, size, data = model.name.split('_')
        dataset, *rest = data.split('-')
        task = next((word for word in rest if not word.isdigit()), 'panoptic')
        longer = '_2x' if size in ('dinov2-s', 'dinov2-b') else ''
        side = model.crop.partition('x')[0]
        name = f'tue-mps/{dataset}_{task}_eomt_{letters[size]}_{side}{longer}'
        (url,) = model.weights
        assert hub_source(url) == HubSource(name)


def test_configs_build_what_their_names_say(zoo, config_dir):
    for model in zoo:
        cfg = Config.fromfile(config_dir / f'vit/{model.name}.py')
        kind, name, data = model.name.split('_')
        dataset = data.split('-')[0]
        side = int(model.crop.partition('x')[0])
        built = meta_model(cfg.model)
        own = [p for n, p in built.named_parameters() if not in_text_branch(n)]
        per_class = built.panoptic_head.cls_embed.in_features + 1
        positions = 0
        if 'dinov2' in name:
            assert built.backbone.table_grid == (side // 16, side // 16)
            positions = (side // 16) ** 2 - 40**2
        found = sum(p.numel() for p in own)
        found -= (built.num_classes - 133) * per_class + positions * WIDTHS[name[-1]]
        assert round(found / 1e6, 2) == MILLIONS[f'{kind}_{name}'], model.name
        metainfo = resolve_metainfo(cfg.metainfo)
        things_only = 'instance' in data
        assert built.num_classes == len(metainfo['classes'])
        assert (len(metainfo['classes']) == 80) == things_only == (dataset != cfg.metainfo)
        assert cfg.train_cfg.max_iters == ITERATIONS[dataset]
        assert cfg.optim_wrapper.optimizer.lr == (2e-4 if 'dinov3' in name else 1e-4)
        tasks = built.test_cfg['tasks']
        if kind == 'eomt':
            assert built.text_mapper is None and built.panoptic_head.task_queries is None
            assert len(tasks) == 1 and (tasks[0] in data or tasks == ('panoptic',))
        else:
            assert len(tasks) == 3 and built.text_mapper is not None


def test_schedules_of_masks_are_eomts(config_dir):
    spans = {}
    for name in ('eomt_dinov2-b_coco', 'eomt_dinov2-l_coco', 'eomt_dinov3-l_coco'):
        cfg = Config.fromfile(config_dir / f'vit/{name}.py')
        steps = [x * 88692 for span in cfg.model.panoptic_head.mask_annealing.spans for x in span]
        spans[name] = [steps[::2], steps[1::2]]
    base, large, large3 = spans.values()
    # attn_mask_annealing_start_steps and end_steps of the authors' configs
    assert base == [pytest.approx([14782, 36955, 59128]), pytest.approx([29564, 51737, 73910])]
    assert large3 == [
        pytest.approx([0, 29564, 44346, 59128]),
        pytest.approx([3000, 44346, 59128, 73910]),
    ]
    assert large == [
        pytest.approx([14782, 29564, 44346, 59128]),
        pytest.approx([29564, 44346, 59128, 73910]),
    ]
