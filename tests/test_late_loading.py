"""What mmengine of OpenMMLab lacks for resuming with data workers: loading that begins late."""

import itertools
from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import loops
from torch.utils.data import BatchSampler, DataLoader

from oneformer.host import late_loading
from oneformer.host.late_loading import LateBatches, leave_out_trained, load_late
from oneformer.host.seeding import SeededIndices


class Numbers:
    """A dataset of ten numbers, which tells what it has loaded in this process."""

    def __init__(self):
        self.loaded = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.loaded.append(int(index))
        return int(index)


def load(workers=0, sampler=InfiniteSampler, batches=BatchSampler, **options):
    """A loader of batches of two, as a Runner builds it."""
    dataset = Numbers()
    return DataLoader(
        dataset,
        batch_sampler=batches(sampler(dataset, seed=3), 2, False),
        num_workers=workers,
        collate_fn=list,
        **options,
    )


def first(batches, count):
    return list(itertools.islice(batches, count))


@pytest.mark.parametrize('workers', [0, 1])
def test_the_order_can_be_changed_until_the_first_batch(workers):
    loader = load(workers)
    batches = LateBatches(loader)  # of a loop, when it is built
    loader.batch_sampler.sampler.seed = 4  # of a checkpoint, when training resumes
    dataset = Numbers()
    expected = first(InfiniteSampler(dataset, seed=4), 6)
    assert first(batches, 3) == [expected[:2], expected[2:4], expected[4:]]


@pytest.mark.parametrize('workers', [0, 1])
def test_batches_that_were_trained_are_not_loaded_and_the_next_is_in_its_place(workers):
    whole = first(LateBatches(load()), 8)
    loader = load(workers)
    loop = SimpleNamespace(dataloader_iterator=LateBatches(loader), iter=6)
    placed = loader.batch_sampler.sampler = SeededIndices(loader.batch_sampler.sampler)
    leave_out_trained(loop)
    placed.position = 12
    # the loop of mmengine drops what it has seen
    assert first(loop.dataloader_iterator, 6) == [None] * 6
    assert loader.dataset.loaded == []
    assert first(loop.dataloader_iterator, 2) == whole[6:]
    if workers == 0:
        assert loader.dataset.loaded == sum(whole[6:], [])


class Bucketed(BatchSampler):
    """Takes other numbers of samples than its batches have, for all that is known of it."""


@pytest.mark.parametrize('options', [dict(sampler=DefaultSampler), dict(batches=Bucketed)])
def test_what_cannot_be_left_out_is_drawn_once_more(options):
    whole = first(LateBatches(load(**options)), 5)
    loop = SimpleNamespace(dataloader_iterator=LateBatches(load(**options)), iter=3)
    leave_out_trained(loop)
    assert first(loop.dataloader_iterator, 5) == whole


def test_a_loop_that_leaves_out_by_itself_is_left_alone():
    batches = iter([])
    leave_out_trained(SimpleNamespace(dataloader_iterator=batches, iter=3))


@pytest.mark.parametrize('rank', [0, 1])
def test_skipping_is_drawing_without_looking(rank, monkeypatch):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, 2))
    drawn = first(InfiniteSampler(Numbers(), seed=3), 30)
    sampler = InfiniteSampler(Numbers(), seed=3)
    late_loading._skip(sampler, 17)
    assert first(sampler, 13) == drawn[17:]


def test_mmengine_is_given_only_what_it_lacks(monkeypatch):
    class Older:
        pass

    class Newer:
        def skip_iter(self, count):
            pass

    monkeypatch.setattr(loops, '_InfiniteDataloaderIterator', Newer)
    load_late()
    assert loops._InfiniteDataloaderIterator is Newer
    monkeypatch.setattr(loops, '_InfiniteDataloaderIterator', Older)
    monkeypatch.delattr(InfiniteSampler, 'skip')
    load_late()
    assert loops._InfiniteDataloaderIterator is LateBatches
    assert InfiniteSampler.skip is late_loading._skip
