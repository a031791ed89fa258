"""The quick start's model, made as small as it goes, and its training on a CPU in any precision."""

from contextlib import contextmanager
from itertools import cycle, islice

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner

from oneformer.commands.run_arguments import use_batch_norm_without_gpu

C, QUERIES = 32, 12  # channels, object queries


def toy_config(config_dir, tiny_set):
    """Config of the quick start on a set like ``tiny_set``: 64 px, 32 channels."""
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


def decisive(config, image):
    """A model of random weights whose queries are sure, of different classes.

    Args:
        config: Of the model.
        image: RGB of shape (3, H, W), on which they are.
    """
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.panoptic_head.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.12)
        model.panoptic_head.query_embed.weight.normal_()
        height, width = (side // 32 * 32 for side in image.shape[1:])
        inputs = (image[None, :, :height, :width] - 127) / 128
        queries = model(inputs, mode='tensor')['object_queries'][0]
        features = model.panoptic_head.transformer_decoder.post_norm(queries)
        mean, head = features.mean(0), model.panoptic_head.cls_embed
        classes = torch.arange(len(queries)) % head.out_features
        wanted = 6 * torch.eye(head.out_features)[classes]
        head.weight.copy_((torch.linalg.pinv(features - mean, rtol=0.02) @ wanted).mT)
        head.bias.copy_(-head.weight @ mean)
    return model


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
