"""Convert weights, train and predict by the code of one checkout, for ``same``.

What is found is a list of pairs: the name of a tensor or file, and a number for its content.
"""

import copy
import hashlib
import runpy
import sys
from pathlib import Path

from checkout_worker import Checkout, digest, seed, serve

Found = list[tuple[str, str]]


class ModelWorker(Checkout):
    """A converted checkpoint, and a set of images that it trains and predicts on."""

    def run_tool(self, name: str, *arguments: str) -> None:
        """Run a tool of the checkout in this process."""
        tool = str(self.folder / f'tools/{name}.py')
        sys.argv = [tool, *arguments]
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f'{tool}: {end.code}') from end

    def open(self, source: str, weights: str, config: str, model: dict, data: str, size: int):
        """Convert a checkpoint, load images, and build a model to train and one to predict.

        Args:
            source: Checkpoint that ``tools/convert_checkpoint.py`` reads.
            weights: Path of the converted one, to be written.
            config: File name of a config.
            model: Changes of its model, as ``Config.merge_from_dict`` takes them.
            data: Folder of a set, as ``scenes.write_set`` writes it.
            size: Short edge of images, and both of crops, in pixels.
        """
        import torch
        from mmengine.optim import build_optim_wrapper

        self.run_tool('convert_checkpoint', source, weights)
        self.weights, self.data = weights, data
        self.state = torch.load(weights, weights_only=True)['state_dict']
        self.cfg = self.read_config(config)
        self.cfg.merge_from_dict(dict(model=model))
        self.batch, self.images = self._load('train', size), self._load('test', size)
        self.model = self._build(self.cfg.model).train()
        self.cfg.optim_wrapper.type = 'OptimWrapper'  # float32
        self.optimizer = build_optim_wrapper(self.model, self.cfg.optim_wrapper)
        self.plain = self._build_to_predict()

    def _load(self, part: str, size: int) -> list[dict]:
        """The set through the pipeline of training or of testing."""
        from mmdet.registry import DATASETS

        cfg = self.cfg[f'{part}_dataloader'].dataset
        files = dict(ann_file='panoptic.json', data_prefix=dict(img='img/', seg='seg/'))
        cfg.update(metainfo='coco', data_root=self.data, **files)
        sizes = dict(
            ResizeShortEdge=dict(short_edges=[size], max_size=4 * size),
            RandomCrop=dict(crop_size=(size, size)),
            Pad=dict(size=(size, size)),
        )
        for step in cfg.pipeline:
            step.update(sizes.get(step.type, {}))
        dataset = DATASETS.build(cfg)
        seed(0)
        return [dataset[index] for index in range(len(dataset))]

    def _build(self, cfg):
        from mmdet.registry import MODELS

        model = MODELS.build(copy.deepcopy(cfg))
        known = {key: self.state[key] for key in self.state.keys() & model.state_dict().keys()}
        lacking = model.load_state_dict(known, strict=False).missing_keys
        lacking = [key for key in lacking if not key.endswith('relative_position_index')]
        if lacking:
            raise ValueError(f'{self.weights} lacks {lacking}')
        return model

    def _build_to_predict(self, test_cfg: dict | None = None, **changes):
        cfg = copy.deepcopy(self.cfg.model)
        cfg.update(criterion=None, text_mapper=None, contrastive_loss=None, **changes)
        # random weights are sure of nothing
        cfg.test_cfg.update(object_mask_thr=0.0, iou_thr=0.0, **test_cfg or {})
        return self._build(cfg).eval()

    def _batch(self, samples: list[dict]) -> dict:
        from mmengine.dataset import pseudo_collate

        return pseudo_collate(copy.deepcopy(samples))

    def train(self) -> list[Found]:
        """Losses, and gradients, of two steps of training on all images."""
        losses, gradients = [], []
        for step in ('step 1', 'step 2'):
            seed(0)
            data = self.model.data_preprocessor(self._batch(self.batch), True)
            found = self.model(**data, mode='loss')
            losses += [(f'{step} {name}', digest(value)) for name, value in found.items()]
            self.model.parse_losses(found)[0].backward()
            gradients += [
                (f'{step} {name}', digest(parameter.grad))
                for name, parameter in self.model.named_parameters()
                if parameter.grad is not None
            ]
            self.optimizer.step()
            self.optimizer.zero_grad()
        return [losses, gradients]

    def _predict(self, model) -> Found:
        import torch

        found = []
        for number, image in enumerate(self.images):
            with torch.no_grad():
                (sample,) = model.test_step(self._batch([image]))
            found += [
                (f'image {number} {field}.{name}', digest(value))
                for field, content in sorted(sample.items())
                if field.startswith('pred_')
                for name, value in sorted(content.items())
            ]
        return found

    def predict(self) -> Found:
        """Three tasks."""
        return self._predict(self.plain)

    def windows(self, size: int, overlap: int) -> Found:
        """Three tasks from windows of an image."""
        window = dict(size=size, overlap=overlap)
        return self._predict(self._build_to_predict(dict(window=window)))

    def views(self, short_edges: list[int]) -> Found:
        """Semantic maps of several scales and flips."""
        tta = dict(short_edges=short_edges, max_size=4 * max(short_edges), flip=True)
        tasks = dict(tasks=('semantic',))
        return self._predict(self._build_to_predict(tasks, type='OneFormerTTA', tta=tta))

    def files(self, folder: str) -> Found:
        """Files that ``tools/predict.py`` writes to a folder."""
        options = ['--weights', self.weights, '--out-dir', folder, '--device', 'cpu']
        options += ['--score-thr', '0', '--object-mask-thr', '0', '--iou-thr', '0']
        self.run_tool('predict', f'{self.data}/img', *options)
        paths = sorted(path for path in Path(folder).rglob('*') if path.is_file())
        return [
            (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in paths
        ]

    def one_task(self) -> None:
        """Predict a panoptic map."""
        self.plain.test_cfg['tasks'] = ('panoptic',)
        self._predict_first()

    def three_tasks(self) -> None:
        """Predict all three."""
        self.plain.test_cfg['tasks'] = ('panoptic', 'instance', 'semantic')
        self._predict_first()

    def _predict_first(self) -> None:
        import torch

        with torch.no_grad():
            self.plain.test_step(self._batch(self.images[:1]))

    def training_step(self) -> None:
        """Train on all images."""
        self.model.train_step(self._batch(self.batch), self.optimizer)


if __name__ == '__main__':
    serve(ModelWorker)
