"""Load and check the nuclei set by the code of one checkout, for ``before``."""

import json

from checkout_worker import Checkout, digest, seed, serve

_TARGET_MAPS = ('gt_target_map', 'gt_panoptic_seg')


class DataWorker(Checkout):
    """Its training set is that of the nuclei config."""

    def open(self, changes: dict) -> None:
        """Build the training set of the config with some changes."""
        from mmdet.registry import DATASETS

        self.cfg = self.read_config('oneformer_efficientnet-lite0_nuclei.py')
        self.cfg.train_dataloader.dataset.update(changes)
        self.dataset = DATASETS.build(self.cfg.train_dataloader.dataset)

    def _samples(self):
        for index in range(len(self.dataset)):
            seed(index)
            yield self.dataset[index]

    def digest(self) -> list[list[str]]:
        """For each sample what the model gets of it."""
        digests = []
        for packed in self._samples():
            sample = packed['data_samples']
            targets = [tensor for _, tensor in sorted(sample.gt_instances.items())]
            # an earlier version may be checked, in which the map had the other name
            (target_map,) = (sample.get(name) for name in _TARGET_MAPS if name in sample)
            tensors = digest(packed['inputs'], target_map.sem_seg, *targets)
            digests.append([tensors, json.dumps([sample.task, sample.texts, sample.filler])])
        return digests

    def load(self) -> int:
        """Number of samples that went through the pipeline of training."""
        return sum(1 for _ in self._samples())

    def check(self) -> list[int]:
        """Numbers of images and segments that the checker counts."""
        from oneformer.inspection.checking import check_config

        (found,) = check_config(self.cfg, ['train'], 1).values()
        if found.summary is None:
            raise ValueError(f'the set cannot be checked: {found.findings[0].message}')
        return [found.summary['images'], found.summary['segments']]


if __name__ == '__main__':
    serve(DataWorker)
