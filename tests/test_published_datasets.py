"""Each dataset from its official download to scores: prepare, check, train, evaluate."""

import json

import miniatures
import pytest
from mmengine.config import Config

from oneformer.training.evaluate import HEADLINE

CONFIGS = dict(
    ade20k='oneformer_swin-l_ade20k.py',
    cityscapes='oneformer_swin-l_cityscapes.py',
    coco='oneformer_r50_coco.py',
    mapillary='oneformer_swin-l_mapillary.py',
)
SMALLER = dict(
    ResizeShortEdge=dict(short_edges=[64], max_size=256),
    RandomCrop=dict(crop_size=(64, 64)),
    Pad=dict(size=(64, 64)),
    LargeScaleJitter=dict(size=64),
)


def small_config(config_dir, dataset, data_root, folder):
    """The dataset's config with a small model, small pictures, and another data root."""
    cfg = Config.fromfile(config_dir / CONFIGS[dataset])
    small = Config.fromfile(config_dir / '_base_/models/oneformer_efficientnet-lite0_small.py')
    thresholds = {key: cfg.model.test_cfg[key] for key in ('object_mask_thr', 'iou_thr')}
    cfg.model = dict(small.model, metainfo=cfg.metainfo)
    cfg.model.backbone.pretrained = False
    cfg.model.test_cfg.update(thresholds)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(data_root)
        for step in loader.dataset.pipeline:
            step.update(SMALLER.get(step.type, {}))
    for evaluator in (cfg.official_evaluator, cfg.test_evaluator):
        for metric in evaluator:
            for key in ('ann_file', 'seg_prefix', 'gt_dir'):
                if key in metric:
                    metric[key] = metric[key].replace(cfg.data_root, f'{data_root}/')
    cfg.train_cfg.max_iters = 2
    cfg.work_dir = str(folder / 'work')
    path = folder / f'{dataset}.py'
    cfg.dump(path)
    return path


@pytest.mark.parametrize('dataset', CONFIGS)
def test_a_dataset_goes_from_its_download_to_scores(dataset, tmp_path, config_dir, run_tool):
    root = tmp_path / 'download'
    getattr(miniatures, f'write_{dataset}')(root)
    run_tool('prepare_dataset', dataset, '--data-root', root, '--workers', 1)
    config = small_config(config_dir, dataset, root, tmp_path)
    run_tool('check_dataset', config, '--workers', 1)  # leaves with an error if it finds one

    run_tool('train', config)
    checkpoint = tmp_path / 'work/iter_2.pth'
    for name, arguments in (('derived', ['--per-class']), ('official', ['--official'])):
        file = tmp_path / f'{name}.json'
        run_tool('test', config, checkpoint, '--out-json', file, *arguments)
        scores = json.loads(file.read_text())
        if name == 'derived':
            assert all(scores[key] is not None for key in HEADLINE.values())
            assert set(scores['per_class']) == {'panoptic', 'instance', 'semantic'}
        assert any('panoptic/PQ' in key for key in scores)
