"""Seconds from normalised images to logits, with peers of the same weights, and to predictions."""

import torch
from mmdet.structures import DetDataSample

from oneformer.kernels.precision import network_precision
from oneformer.tasks import TASKS

from .. import peers
from .report import Check
from .settings import attention, attention_paths


def speed(check: Check) -> None:
    """Swin-T with Hugging Face's, ResNet-50 with mmdet's Mask2Former, and Swin-L."""
    kinds = ('fp32', 'tf32', 'bf16') if check.on_gpu else ('fp32',)
    rows = [('swin-t', check.small, kinds), ('r50', check.small, kinds[-2:])]
    if not check.tiny:
        rows.append(('swin-l', check.large, kinds[-2:]))
    for backbone, shape, kinds in rows:
        if check.left < 60:
            check.say(skipped=f'{check.left:.0f} s left', model=backbone)
            return
        with check.row(model=backbone):
            _Models(check, backbone, shape).measure(kinds)


class _Models:
    """Ours and a peer with the same weights."""

    def __init__(self, check: Check, backbone: str, shape: peers.Shape) -> None:
        self.check, self.backbone = check, backbone
        device = check.device
        if backbone == 'r50':
            self.side, self.peer = 'mask2former', peers.build_mask2former(shape, device)
        else:
            self.side, self.peer = 'hf', peers.build_hugging_face(shape, False, device)
        name = 'r50' if backbone == 'r50' else 'swin-t'
        self.ours = peers.build_ours(shape, False, device, name)
        peers.share_weights(self.ours, self.peer)
        self.ours.test_cfg.update(object_mask_thr=0.01)

    def measure(self, kinds: tuple[str, ...]) -> None:
        """Each size, precision, number of tasks and attention path."""
        sizes = ((64, 1),) if self.check.tiny else ((512, 1), (512, 8), (1024, 1))
        for size, images in sizes:
            batch = peers.draw_batch(size, [0] * images, self.check.device)
            for kind in kinds:
                if self.check.left < 30:
                    self.check.say(skipped=f'{self.check.left:.0f} s left', model=self.backbone)
                    return
                for tasks in (1, 3):
                    self._logits(batch, kind, tasks)
                self._predictions(batch, kind)

    def _facts(self, batch: peers.Batch, kind: str, tasks: int, **more) -> dict:
        images, size = len(batch.images), batch.images.shape[-1]
        facts = dict(model=self.backbone, images=images, size=size, precision=kind, tasks=tasks)
        return dict(facts, **more)

    def _logits(self, batch: peers.Batch, kind: str, tasks: int) -> None:
        check, words = self.check, TASKS[:tasks]
        for path in attention_paths(check.device):
            facts = self._facts(batch, kind, tasks, what='logits', side='ours', path=path)
            with (
                check.row(**facts),
                attention(self.ours, path),
                network_precision(kind, check.device),
            ):
                work = lambda: peers.our_outputs(self.ours, batch.images, words)  # noqa: E731
                check.say(**facts, **check.measure(work, 0.7, most=20))
        if self.side == 'mask2former' and tasks > 1:
            return  # it knows one
        facts = self._facts(batch, kind, tasks, what='logits', side=self.side)
        with check.row(**facts), network_precision(kind, check.device):
            if self.side == 'hf':
                work = lambda: peers.hugging_face_outputs(self.peer, batch, words)  # noqa: E731
            else:
                work = lambda: peers.mask2former_outputs(self.peer, batch.images)  # noqa: E731
            check.say(**facts, **check.measure(work, 0.7, most=20))

    @torch.no_grad()
    def _predictions(self, batch: peers.Batch, kind: str) -> None:
        size = tuple(batch.images.shape[-2:])
        facts = self._facts(batch, kind, len(TASKS), what='predictions', side='ours')

        def predict() -> None:
            samples = [
                DetDataSample(metainfo=dict(img_shape=size, ori_shape=size)) for _ in batch.images
            ]
            self.ours(batch.images, samples, mode='predict')

        with self.check.row(**facts), network_precision(kind, self.check.device):
            self.check.say(**facts, **self.check.measure(predict, 0.7, most=20))
