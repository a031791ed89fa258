"""The common base of the preparations of all datasets."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override

from ..datasets.text_files import parse_json
from ..host.safe_io import replacing
from .parallel import for_each


class Sample(NamedTuple):
    """The raw files of an image.

    Attributes:
        name: Name of the image, without suffix; unique in a split.
        image_id: Id of the image in the JSON files.
        files: Paths of the files by their kind, ``image`` among them.
        outputs: PNGs that are built from these files.
        record: Entry of the image in a JSON of the download.
    """

    name: str
    image_id: int | str
    files: Mapping[str, Path]
    outputs: tuple[Path, ...] = ()
    record: Mapping = {}


class Preparation:
    """Preparation of one dataset.

    Args:
        root: Folder of the download.

    Attributes:
        official_counts: Images of a complete download by split.
    """

    official_counts: Mapping[str, int]

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def find(self, split: str) -> tuple[list[Sample], list[str]]:
        """Look through the download without reading the images.

        Returns:
            The images, and sentences about faults, with any of which nothing may be built.
        """
        raise NotImplementedError

    def build(self, split: str, samples: Sequence[Sample], workers: int) -> None:
        """Build what the split lacks, after ``find`` reported no faults.

        Raises:
            ValueError: If files are damaged; the message names all of them.
        """
        raise NotImplementedError

    def count(self, split: str, samples: Sequence[Sample]) -> list[str]:
        """Lines about the content of the built files, read from these files."""
        raise NotImplementedError


def count_records(path: Path) -> tuple[set, int, int]:
    """Image ids, and the numbers of annotations and of segments, of a panoptic or instance JSON."""
    content = parse_json(path.read_bytes(), str(path))
    annotations = content['annotations']
    segments = sum(len(annotation.get('segments_info', [0])) for annotation in annotations)
    return {image['id'] for image in content['images']}, len(annotations), segments


def run(function: Callable, samples: Sequence[Sample], workers: int) -> None:
    """``for_each``, after which complaints are raised as one ``ValueError``."""
    complaints = for_each(function, samples, workers)
    if complaints:
        raise ValueError(
            '\n  '.join([f'{len(complaints)} images cannot be used:', *complaints])
            + '\nReplace the files and run the same command again'
        )


class ResumablePreparation(Preparation):
    """Builds JSON files and PNGs, and continues where a killed run stopped.

    The entries of an image in the JSON files, its part, are written to a hidden folder after its
    PNG. The JSON files are written from the parts when all are there, and then the folder is
    removed, so a JSON that exists is complete. Every file is written there and then renamed.
    """

    def targets(self, split: str) -> tuple[Path, ...]:
        """The JSON files to build."""
        raise NotImplementedError

    def convert(self, sample: Sample, scratch: Path) -> dict:
        """Write the PNGs of an image, by way of the folder ``scratch``, and return its part.

        Raises:
            ValueError: If a file of the sample is damaged; the message names it.
        """
        raise NotImplementedError

    def merge(self, split: str, samples: Sequence[Sample], parts: 'Parts') -> None:
        """Write the JSON files."""
        raise NotImplementedError

    def is_built(self, split: str, samples: Sequence[Sample]) -> bool:
        """Whether the JSON files list exactly these images and no PNG is missing."""
        image_ids = {sample.image_id for sample in samples}
        try:
            listed = [count_records(path)[0] for path in self.targets(split)]
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return False
        return all(ids == image_ids for ids in listed) and all(
            path.exists() for sample in samples for path in sample.outputs
        )

    @override
    def build(self, split: str, samples: Sequence[Sample], workers: int) -> None:
        targets = self.targets(split)
        parts = Parts(targets[0].with_name(f'.{targets[0].stem}.parts'))
        if self.is_built(split, samples):
            parts.remove()
            names = ' and '.join(str(path) for path in targets)
            print(f'{split}: complete already; delete {names} to build anew')
            return
        for path in targets:  # of other images, or without its PNGs
            path.unlink(missing_ok=True)
        parts.folder.mkdir(parents=True, exist_ok=True)
        done = parts.names()
        todo = [
            sample
            for sample in samples
            if sample.name not in done or not all(path.exists() for path in sample.outputs)
        ]
        print(f'{split}: {len(todo)} of {len(samples)} images to prepare', flush=True)
        run(partial(parts.make, self), todo, workers)
        self.merge(split, samples, parts)
        parts.remove()

    @override
    def count(self, split: str, samples: Sequence[Sample]) -> list[str]:
        lines = []
        for path in self.targets(split):
            images, annotations, segments = count_records(path)
            lines.append(
                f'{split}: {len(images)} images, {annotations} annotations, {segments} segments '
                f'in {path}'
            )
        return lines


class Parts:
    """The parts of images for the JSON files, in one small file each.

    Args:
        folder: Hidden folder, on the file system of the dataset.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> set[str]:
        """Names of the samples that have a part."""
        return {path.name.removesuffix('.json') for path in self.folder.glob('[!.]*.json')}

    def make(self, preparation: ResumablePreparation, sample: Sample) -> None:
        """Convert a sample and keep its part."""
        part = preparation.convert(sample, self.folder)
        with replacing(self.folder / f'{sample.name}.json') as temporary:
            temporary.write_text(json.dumps(part))

    def read(self, samples: Sequence[Sample]) -> Iterator[dict]:
        """The parts of the samples, in turn."""
        for sample in samples:
            yield json.loads((self.folder / f'{sample.name}.json').read_bytes())

    def remove(self) -> None:
        """Delete the folder, if it exists."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
