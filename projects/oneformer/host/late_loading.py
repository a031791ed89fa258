"""Loading that begins with the first batch of training, where mmengine begins with its loop.

mmengine of OpenMMLab starts the workers when it builds a loop over iterations. They load ahead, so
their first batches are of the order before resuming, and not seeded by their place. To resume, it
loads all earlier batches and drops them. mmengine of OneDL does neither, and is left alone.
"""

import itertools
from functools import cached_property

from mmengine.dataset import InfiniteSampler
from mmengine.runner import loops
from torch.utils.data import BatchSampler, DataLoader, Sampler


def skipping_sampler(loader: DataLoader) -> Sampler | None:
    """The sampler that can leave out all samples of earlier batches at once, None if none can.

    Another batch sampler may take its samples in other numbers than those of its batches.
    """
    batches = loader.batch_sampler
    can_skip = type(batches) is BatchSampler and hasattr(batches.sampler, 'skip')
    return batches.sampler if can_skip else None


class LateBatches(loops._InfiniteDataloaderIterator):
    """Batches without end, of workers that start with the first of them.

    Args:
        dataloader: Loader of the batches.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        self._dataloader = dataloader
        self._epoch = self._left_out = 0

    @cached_property
    def _iterator(self):
        return iter(self._dataloader)

    def leave_out(self, count: int) -> None:
        """Let the first batches be None, and not be loaded, if the sampler can skip theirs."""
        if sampler := skipping_sampler(self._dataloader):
            sampler.skip(count * self._dataloader.batch_sampler.batch_size)
            self._left_out = count

    def __next__(self):
        """The next batch; None for one that is left out."""
        if self._left_out:
            self._left_out -= 1
            return None
        return super().__next__()


def leave_out_trained(loop: loops.IterBasedTrainLoop) -> None:
    """Load nothing of what resumed training has seen, where mmengine would draw it once more."""
    if isinstance(loop.dataloader_iterator, LateBatches):
        loop.dataloader_iterator.leave_out(loop.iter)


def _skip(self: InfiniteSampler, num_samples: int) -> None:
    """Go on after so many indices of this process, counted from the beginning."""
    self.indices = itertools.islice(self._indices_of_rank(), num_samples, None)


def load_late() -> None:
    """Give mmengine what it lacks of this."""
    if not hasattr(loops._InfiniteDataloaderIterator, 'skip_iter'):
        loops._InfiniteDataloaderIterator = LateBatches
    if not hasattr(InfiniteSampler, 'skip'):
        InfiniteSampler.skip = _skip
