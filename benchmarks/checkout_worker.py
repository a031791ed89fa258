"""Load and check the nuclei set by the code of one checkout, for ``before``.

Run as a script, which imports nothing of its own folder. A line of its standard input is a JSON of
a name and arguments: ``start`` with those of ``Worker``, then names of its methods. It is answered
by a line: a JSON with ``value``, or ``error``. Whatever else is printed goes to standard error.
"""

import hashlib
import json
import os
import random
import sys
import traceback
from pathlib import Path


class Worker:
    """A checkout at work.

    Args:
        checkout: Folder of the repository whose code and config are used.
        threads: Of OpenCV and torch.
    """

    def __init__(self, checkout: str, threads: int) -> None:
        sys.path[0] = str(Path(checkout) / 'projects')  # in place of this folder
        import cv2
        import torch
        from mmdet.registry import DATASETS
        from mmengine.config import Config
        from mmengine.registry import init_default_scope

        import oneformer
        from oneformer.inspection.checking import check_config

        if Path(checkout).resolve() not in Path(oneformer.__file__).resolve().parents:
            raise ValueError(f'{oneformer.__file__} is not of {checkout}')
        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
        init_default_scope('mmdet')
        path = Path(checkout) / 'configs/oneformer_efficientnet-lite0_nuclei.py'
        self.read_config, self.build = lambda: Config.fromfile(path), DATASETS.build
        self.check_config = check_config

    def open(self, changes: dict) -> None:
        """Build the training set of the config with some changes."""
        self.cfg = self.read_config()
        self.cfg.train_dataloader.dataset.update(changes)
        self.dataset = self.build(self.cfg.train_dataloader.dataset)

    def _samples(self):
        import numpy as np
        import torch

        for index in range(len(self.dataset)):
            random.seed(index)
            np.random.seed(index)
            torch.manual_seed(index)
            yield self.dataset[index]

    def digest(self) -> list[str]:
        """A number for all that the model gets of each sample."""
        digests = []
        for packed in self._samples():
            sample, content = packed['data_samples'], hashlib.sha256()
            targets = [tensor for _, tensor in sorted(sample.gt_instances.items())]
            for tensor in (packed['inputs'], sample.gt_panoptic_seg.sem_seg, *targets):
                content.update(f'{tensor.dtype} {tuple(tensor.shape)}'.encode())
                content.update(tensor.numpy().tobytes())
            content.update(json.dumps([sample.task, sample.texts, sample.filler]).encode())
            digests.append(content.hexdigest())
        return digests

    def load(self) -> int:
        """Number of samples that went through the pipeline of training."""
        return sum(1 for _ in self._samples())

    def check(self) -> list[int]:
        """Numbers of images and segments that the checker counts."""
        (found,) = self.check_config(self.cfg, ['train'], 1).values()
        if found.summary is None:
            raise ValueError(f'the set cannot be checked: {found.findings[0].message}')
        return [found.summary['images'], found.summary['segments']]


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w', buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    worker = None
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            if name == 'start':
                worker, value = Worker(*arguments), None
            else:
                value = getattr(worker, name)(*arguments)
            answers.write(json.dumps(dict(value=value)) + '\n')
        except Exception:
            answers.write(json.dumps(dict(error=traceback.format_exc())) + '\n')


if __name__ == '__main__':
    main()
