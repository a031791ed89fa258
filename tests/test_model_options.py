"""Settings of a model that do not fit together are refused by name before anything is built."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from oneformer.host.errors import CheckpointError
from oneformer.weights.backbone_names import find_backbone


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.contrastive_loss': None}, 'model.text_mapper needs model.contrastive_loss'),
        (
            {'model.panoptic_head.num_queries': 8, 'model.text_mapper.num_context': 8},
            'panoptic_head.num_queries is 8: it has to be more than text_mapper.num_context, 8',
        ),
    ],
)
def test_a_text_branch_that_cannot_be_trained_is_refused(config_dir, options, message):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.merge_from_dict({'model.backbone.pretrained': False, **options})
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg.model)


def test_a_file_with_two_backbones_asks_for_one_of_them():
    keys = [f'{part}layer1.0.conv1.weight' for part in ('student.', 'teacher.')]
    with pytest.raises(CheckpointError, match="more than one ResNet.*'student.', 'teacher.' go"):
        find_backbone(dict.fromkeys(keys, torch.zeros(1)), 'both.pth')
