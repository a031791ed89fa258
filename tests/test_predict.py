"""Predictions in their standard fields: drawn logits of a padded batch come out as drawn."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import METRICS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import PixelData

from oneformer.models.oneformer_head import Decoded
from oneformer.tasks import TASKS

SKY, BALL = 4, 0  # labels of the quick start
# (height, width) of the images and of the inputs made of them; the batch is padded to 64 x 96
SIZES = [((37, 61), (48, 80)), ((64, 96), (64, 96))]


@pytest.fixture
def model(config_dir, monkeypatch):
    """A model that sees the sky on the left, and two balls on the right, whatever the image."""
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.backbone.pretrained = False
    cfg.model.update(text_mapper=None, contrastive_loss=None)
    model = MODELS.build(cfg.model).eval()
    masks = torch.full((2, 4, 16, 24), -20.0)  # B Q h w
    for b, (_, (height, width)) in enumerate(SIZES):
        top, middle, left = height // 8, height // 4, width // 8
        masks[b, 0, :, :left] = 20
        masks[b, 1, :top, left:] = 20
        masks[b, 2, top:middle, left:] = 20  # the fourth query finds nothing
    scores = 20.0 * F.one_hot(torch.tensor([SKY, BALL, BALL, 8]), 9)
    asked = []

    def decode(encoded, tasks):
        asked.append(tasks)
        T = len(tasks[0])
        # with these embeddings the features are the mask logits
        return Decoded(
            cls_scores=scores.expand(1, 2, T, -1, -1),
            mask_embeds=torch.eye(4).expand(1, 2, T, -1, -1),
            mask_features=masks,
            initial_queries=None,
            object_queries=None,
        )

    monkeypatch.setattr(model.panoptic_head, 'decode', decode)
    model.asked = asked
    return model


def samples():
    return [
        DetDataSample(
            metainfo=dict(img_id=i, img_path=f'{i}.jpg', ori_shape=ori_shape, img_shape=img_shape)
        )
        for i, (ori_shape, img_shape) in enumerate(SIZES)
    ]


def drawn(size):
    """The regions at full size: 1 sky, 2 and 3 balls, 0 nothing."""
    height, width = size
    regions = torch.zeros(height, width, dtype=torch.long)
    regions[:, : width // 2] = 1
    regions[: height // 2, width // 2 :] = 2
    regions[height // 2 :, width // 2 :] = 3
    return regions


def agreement(a, b):
    return float((a == b).double().mean())


@pytest.mark.parametrize('rescale', [True, False])
def test_each_task_lands_in_its_field_at_the_right_size(model, rescale):
    predictions = model.predict(torch.zeros(2, 3, 64, 96), samples(), rescale=rescale)
    for prediction, sizes in zip(predictions, SIZES):
        regions = drawn(sizes[0] if rescale else sizes[1])
        panoptic = prediction.pred_panoptic_seg.sem_seg
        assert panoptic.shape == (1, *regions.shape)
        codes = torch.tensor([8, SKY, BALL + 2 * INSTANCE_OFFSET, BALL + 3 * INSTANCE_OFFSET])
        assert agreement(panoptic[0], codes[regions]) > 0.95
        assert [s['label'] for s in prediction.pred_panoptic_seg.segments_info] == [SKY, BALL, BALL]

        semantic = prediction.pred_sem_seg.sem_seg
        assert semantic.shape == (1, *regions.shape)
        assert agreement(semantic[0], torch.tensor([8, SKY, BALL, BALL])[regions]) > 0.95

        instances = prediction.pred_instances
        best = instances[instances.scores > 0.5]
        assert best.labels.tolist() == [BALL, BALL] and best.scores.min() > 0.95
        order = best.masks.flatten(1).float().argmax(1).argsort()  # the upper one first
        for mask, box, region in zip(best.masks[order], best.bboxes[order], (2, 3)):
            assert agreement(mask, regions == region) > 0.95
            rows, columns = mask.nonzero(as_tuple=True)
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == [int(side) for side in expected]


def test_every_prediction_has_its_own_token_unless_one_is_set_for_all(model):
    model.predict(torch.zeros(2, 3, 64, 96), samples())
    model.test_cfg['token'] = 'semantic'
    predictions = model.predict(torch.zeros(2, 3, 64, 96), samples())
    assert model.asked == [[list(TASKS)] * 2, [['semantic']] * 2]
    assert 'pred_panoptic_seg' in predictions[0] and 'pred_instances' in predictions[0]
    model.test_cfg.update(tasks=('instance',), token=None)
    (first, _) = model.predict(torch.zeros(2, 3, 64, 96), samples())
    assert 'pred_instances' in first and 'pred_sem_seg' not in first


def test_perfect_predictions_score_100(model):
    predictions = model.predict(torch.zeros(2, 3, 64, 96), samples())
    classes = tuple(f'class {i}' for i in range(8))
    metrics = {}
    for name in ('PanopticQuality', 'InstanceAP', 'SemanticIoU'):
        metric = METRICS.build(dict(type=name))
        metric.dataset_meta = dict(classes=classes, thing_classes=classes[:4])
        for prediction in predictions:
            truth = torch.zeros_like(prediction.pred_panoptic_seg.sem_seg)
            codes = [SKY, BALL + 2 * INSTANCE_OFFSET, BALL + 3 * INSTANCE_OFFSET]
            for number, code in enumerate(codes, start=1):
                truth[prediction.pred_panoptic_seg.sem_seg == code] = number
            prediction.gt_panoptic_seg = PixelData(sem_seg=truth)
            prediction.set_metainfo(
                dict(
                    segments_info=[
                        dict(id=k, label=label, category='', isthing=label < 4, iscrowd=False)
                        for k, label in enumerate((SKY, BALL, BALL), start=1)
                    ]
                )
            )
        metric.process(None, [prediction.to_dict() for prediction in predictions])
        metrics.update(metric.evaluate(len(predictions)))
    for name in ('panoptic/PQ', 'instance/AP', 'semantic/mIoU'):
        assert metrics[name] > 99, (name, metrics[name])


def test_predictions_are_made_in_float32_also_under_autocast(model, monkeypatch):
    found = model.run_network(torch.zeros(2, 3, 64, 96), TASKS)
    monkeypatch.setattr(model, 'run_network', lambda *_: found)
    plain = model.predict(torch.zeros(2, 3, 64, 96), samples())
    with torch.autocast('cpu', torch.bfloat16):
        predictions = model.predict(torch.zeros(2, 3, 64, 96), samples())
    for prediction, expected in zip(predictions, plain):
        assert torch.equal(prediction.pred_instances.scores, expected.pred_instances.scores)
        assert torch.equal(prediction.pred_instances.masks, expected.pred_instances.masks)


def test_keys_of_test_cfg_are_checked(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.test_cfg.overlap_thr = 0.5
    with pytest.raises(ValueError, match="'overlap_thr'.*but takes.*'iou_thr'"):
        MODELS.build(cfg.model)
