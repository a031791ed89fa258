"""``--compile``: the backbone is compiled for training, and for nothing else."""

from types import SimpleNamespace

import torch
from mmdet.registry import MODELS
from torch import nn

from oneformer.host import CompileBackbone

RESNET = dict(type='OneFormerResNet', depth=50, base_channels=4, norm_eval=True)


def test_a_compiled_backbone_computes_the_same_and_other_sizes_are_not_compiled():
    sizes = []

    def backend(graph, inputs):
        sizes.append(next(x.shape[-1] for x in inputs if x.dim() == 4 and x.shape[1] == 3))
        return graph.forward

    torch.manual_seed(0)
    plain, compiled = MODELS.build(RESNET), MODELS.build(RESNET)
    compiled.load_state_dict(plain.state_dict())
    model = nn.Module()
    model.backbone = compiled
    CompileBackbone(backend).before_train(SimpleNamespace(model=model))
    for size, train in ((64, True), (96, False), (64, True), (128, False)):
        x, gradients = torch.randn(2, 3, size, size), []
        for backbone in (plain, compiled):
            backbone.train(train)
            backbone.zero_grad()
            maps = backbone(x)
            sum(part.square().mean() for part in maps).backward()
            gradients.append([*maps, *(p.grad for p in backbone.parameters())])
        for ours, expected in zip(*gradients):
            torch.testing.assert_close(ours, expected)
    assert set(sizes) == {64}


def test_the_switch_reaches_the_backbone(run_tool, root_dir, tiny_set, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, 'compile', lambda function, **options: calls.append(options))
    run_tool(
        'train', root_dir / 'configs/oneformer_efficientnet-lite0_quickstart.py',
        '--work-dir', tmp_path, '--dry-run', '--compile', '--cfg-options',
        *(f'{name}_dataloader.dataset.data_root={tiny_set}/' for name in ('train', 'val')),
        'model.backbone.pretrained=False',
    )  # fmt: skip
    assert calls == [dict(backend='inductor', dynamic=False)]
