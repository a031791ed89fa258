"""Multi-scale and flip evaluation against a plain loop, and what it costs."""

from itertools import accumulate

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from PIL import Image
from torch.profiler import ProfilerActivity, profile

SCALES = dict(short_edges=[40, 72], max_size=90, flip=True)
IMAGE, RESIZED = (50, 77), (48, 74)  # (height, width) of the image and after the test pipeline


@pytest.fixture(scope='module')
def build(config_dir):
    """Build a model with fixed weights: the plain one, or one with views."""

    def build(tta=None):
        cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
        cfg.backbone.pretrained = False
        cfg.update(criterion=None, text_mapper=None, contrastive_loss=None)
        cfg.test_cfg.tasks = ('semantic',)
        if tta is not None:
            cfg.update(type='OneFormerTTA', tta=tta)
        torch.manual_seed(2)
        model = MODELS.build(cfg).eval()
        # untrained queries all predict the same; these tell pixels and queries apart
        torch.manual_seed(2)
        for parameter in model.panoptic_head.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter)
        with torch.no_grad():
            model.panoptic_head.mask_embed[-1].weight.mul_(0.01)
        return model

    return build


def batch(number=1):
    """Smooth photographs as the test pipeline hands them over."""
    generator = torch.Generator().manual_seed(1)
    coarse = 255 * torch.rand(number, 3, 6, 9, generator=generator)
    images = F.interpolate(coarse, size=RESIZED, mode='bicubic').clamp(0, 255).byte()
    samples = [
        DetDataSample(metainfo=dict(img_id=i, ori_shape=IMAGE, img_shape=RESIZED))
        for i in range(number)
    ]
    return dict(inputs=list(images), data_samples=samples)


def predict(model, data):
    with torch.no_grad():
        return [sample.pred_sem_seg.sem_seg for sample in model.test_step(data)]


def slow_class_scores(model, image, short_edge, flipped):
    """Class scores of one view at the size of the image, from the raw outputs of the model."""
    height, width = image.shape[1:]
    scale = min(short_edge / min(height, width), SCALES['max_size'] / max(height, width))
    height, width = int(height * scale + 0.5), int(width * scale + 0.5)
    view = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((width, height), Image.BILINEAR)
    view = torch.from_numpy(np.array(view)).permute(2, 0, 1)
    view = view.flip(-1) if flipped else view
    inputs = (view.flip(0).float() - 127) / 128
    inputs = F.pad(inputs, (0, -width % 32, 0, -height % 32))[None]
    raw = model(inputs, mode='tensor')
    masks = F.interpolate(raw['mask_preds'], size=inputs.shape[-2:], mode='bilinear')
    masks = F.interpolate(masks[..., :height, :width], size=IMAGE, mode='bilinear')[0].sigmoid()
    classes = raw['cls_scores'][0].softmax(-1)[:, :-1]
    scores = sum(c[:, None, None] * mask for c, mask in zip(classes, masks))
    return scores.flip(-1) if flipped else scores


def test_views_are_averaged_as_by_a_plain_loop(build):
    model, data = build(SCALES), batch(2)
    labels = predict(model, data)
    plain = build()
    for image, prediction in zip(data['inputs'], labels):
        with torch.no_grad():
            scores = [
                slow_class_scores(plain, image, edge, flipped)
                for edge in SCALES['short_edges']
                for flipped in (False, True)
            ]
        total = sum(scores) / len(scores)
        best, second = total.topk(2, dim=0).values
        sure = best - second > 1e-4 * best  # where rounding cannot change the label
        assert sure.float().mean() > 0.95 and len(prediction.unique()) > 2
        assert torch.equal(prediction[0][sure], total.argmax(0)[sure])
        # each view has its say
        assert all((view.argmax(0) != prediction[0]).any() for view in scores)


def test_one_scale_without_flip_is_the_plain_prediction(build):
    tta = dict(short_edges=[RESIZED[0]], max_size=1000, flip=False)
    (prediction,), (plain,) = predict(build(tta), batch()), predict(build(), batch())
    assert torch.equal(prediction, plain) and len(prediction.unique()) > 1


def peak_memory(model):
    """Most bytes that one prediction holds at a time."""
    data = batch()
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        predict(model, data)
    events = profiler.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == '[memory]']
    return max(accumulate(nbytes for _, nbytes in sorted(changes, key=lambda change: change[0])))


def test_memory_does_not_grow_with_the_number_of_views(build):
    few, many = (
        peak_memory(build(dict(short_edges=[48] * number, max_size=90, flip=True)))
        for number in (1, 6)
    )
    class_scores = 4 * 8 * IMAGE[0] * IMAGE[1]
    assert few > class_scores
    assert many < few + 0.5 * class_scores


def test_views_are_for_the_semantic_task(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    cfg.update(type='OneFormerTTA', tta=SCALES)
    cfg.backbone.pretrained = False
    with pytest.raises(ValueError, match='for the semantic task, not'):
        MODELS.build(cfg)


def test_the_configs_have_the_scales_of_the_original(config_dir):
    six = [512, 768, 1024, 1280, 1536, 1792]
    expected = dict(
        ade20k=([320, 480, 640, 800, 960, 1120], 4480),
        cityscapes=(six, 4096),
        coco=([400, 500, 600, 700, 800, 900, 1000, 1100, 1200], 4000),
        mapillary=(six, 4096),
    )
    for name, (short_edges, max_size) in expected.items():
        cfg = Config.fromfile(config_dir / f'_base_/datasets/{name}_panoptic.py')
        assert cfg.tta == dict(short_edges=short_edges, max_size=max_size, flip=True)
