"""Statistics of training: shares of the tasks, and numbers of targets."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..tasks import TASKS


@HOOKS.register_module()
class TaskStatistics(Hook):
    """Logs the tasks of this process's images, as means over the window of the ``LogProcessor``.

    ``task_share/panoptic`` is the share of images with this task, ``task_targets/panoptic`` the
    mean number of targets of those, which appears with the first. All counts are made on the host.
    No name contains ``loss``.
    """

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count a batch."""
        samples = data_batch['data_samples']
        for task in TASKS:
            targets = [len(sample.gt_instances.labels) for sample in samples if sample.task == task]
            log = runner.message_hub.update_scalar
            log(f'train/task_share/{task}', len(targets), count=len(samples))
            if targets:
                log(f'train/task_targets/{task}', sum(targets), count=len(targets))
