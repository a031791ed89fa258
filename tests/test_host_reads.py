"""A training step reads nothing back from the device but the costs of the matching, once.

Tensors of a fake GPU have no values, so every read of one raises. What only runs on a CPU, and the
backward pass, are watched for the operators that read.
"""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from oneformer.models import criterion
from oneformer.models.text_mapper import token_ids

SIDE = 64
READS = {'_local_scalar_dense', 'nonzero', '_unique2', 'unique_dim', 'equal', 'masked_select'}


@pytest.fixture
def model(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    cfg.model.backbone.pretrained = False
    torch.manual_seed(0)
    return MODELS.build(cfg.model).train()


def batch():
    """Two images; of one the labels are partial, and its targets overlap."""
    target_map = torch.zeros(1, SIDE, SIDE, dtype=torch.int16)
    target_map[0, :20, :30], target_map[0, 30:, 20:] = 1, 2
    samples = []
    for i, partial in enumerate((False, True)):
        metainfo = dict(
            task='panoptic',
            texts=['a photo with a ball', 'a photo with a sky'],
            filler='a panoptic photo',
            img_id=i,
            batch_input_shape=(SIDE, SIDE),
        )
        if partial:
            metainfo.update(known_labels=(0, 4), ignore=('crowd',))
        for text in (*metainfo['texts'], metainfo['filler']):
            token_ids(text)  # the tokeniser works on the host
        sample = DetDataSample(metainfo=metainfo)
        sample.gt_instances = InstanceData(labels=torch.tensor([0, 4]))
        sample.gt_target_map = PixelData(sem_seg=target_map.clone())
        if partial:
            sample.gt_instances.regions = torch.tensor([[True, False], [True, True]])
        samples.append(sample)
    return torch.randn(2, 3, SIDE, SIDE), samples


def first_queries(costs):
    """Stands in for ``assign``, the one place that reads."""
    return [cost.new_zeros(cost.shape[0], cost.shape[2], dtype=torch.long) for cost in costs]


def test_the_step_of_a_gpu_reads_nothing_outside_the_matching(model, monkeypatch):
    calls = []
    monkeypatch.setattr(criterion, 'assign', lambda costs: calls.append(1) or first_queries(costs))
    images, samples = batch()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with FakeTensorMode(allow_non_fake_inputs=True):

        def on_gpu(tensor):
            return torch.empty(tensor.shape, dtype=tensor.dtype, device='cuda')

        for sample in samples:
            sample.gt_instances.labels = on_gpu(sample.gt_instances.labels)
            sample.gt_target_map.sem_seg = on_gpu(sample.gt_target_map.sem_seg)
            if 'regions' in sample.gt_instances:
                sample.gt_instances.regions = on_gpu(sample.gt_instances.regions)
        fakes = {name: on_gpu(tensor) for name, tensor in tensors.items()}
        arguments = (on_gpu(images), samples), dict(mode='loss')
        losses = torch.func.functional_call(model, fakes, *arguments)
        assert {loss.device.type for loss in losses.values()} == {'cuda'}
        with pytest.raises(DataDependentOutputException):
            float(losses['loss_cls'])  # so a read would have been noticed
    assert calls == [1]


class Watch(TorchDispatchMode):
    """Counts operators that read values, but those inside the matching."""

    def __init__(self):
        super().__init__()
        self.reads, self.allowed = [], False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split('::')[1]
        indices = (
            args[1] if name in ('index', 'index_put', 'index_put_', '_index_put_impl_') else ()
        )
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        if (name in READS or masked) and not self.allowed:
            self.reads.append(name)
        return func(*args, **(kwargs or {}))


def test_forward_and_backward_read_nothing_outside_the_matching(model, monkeypatch):
    watch = Watch()
    assign = criterion.assign

    def allowed(costs):
        watch.allowed = True
        queries = assign(costs)
        watch.allowed = False
        return queries

    monkeypatch.setattr(criterion, 'assign', allowed)
    images, samples = batch()
    with watch:
        sum(model(images, samples, mode='loss').values()).backward()
    assert watch.reads == []
    with watch:  # it does notice
        images[images > 0].sum().item()
    assert watch.reads == ['index', '_local_scalar_dense']
