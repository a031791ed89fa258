"""The folder of a conversion's result: JSON files, PNGs, lists, a config, and a record."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ..host.safe_io import replacing, write_json
from ..preparation.files import write_records
from ..zoo import ZOO
from .outputs import Output, Part
from .splitting import order_splits

RECORD = 'conversion.json'
_WITHOUT_VALIDATION = """\
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
default_hooks['checkpoint'].update(save_best=None)
"""


def fill_template(template: Path, values: Mapping, root: str) -> str:
    """A config with other values of its lines ``NAME = VALUE``, to be kept anywhere.

    Args:
        template: A config of ``configs/your_data``.
        values: New values by name; each has a line of its own in the template.
        root: New value of ``data_root``.
    """
    text = template.read_text()
    base = re.search(r"^_base_ = '(.*)'$", text, re.M).group(1)
    base = (template.parent / base).resolve().relative_to(ZOO)
    values = dict(values, _base_=f'oneformer::{base.as_posix()}')
    for name, value in values.items():
        line = f'{name} = {value!r}'
        text, count = re.subn(rf'^{name} = .*$', lambda match: line, text, flags=re.M)  # noqa: B023
        assert count == 1, f'{template} has {count} lines {name} = ...'
    text, count = re.subn(r"data_root='[^']*'", lambda match: f'data_root={root!r}', text)
    assert count == 1, f'{template} has {count} times data_root'
    return f'# written by oneformer convert-labels from {template.name}; change it freely\n{text}'


class Destination:
    """Writes a result so that it is whole or not there.

    Args:
        folder: Folder of the result.
        output: Kind of result, with its classes.
        image_folder: Folder below which the images have their names.
        settings: Options of the run, as plain values by name.
    """

    def __init__(self, folder: Path, output: Output, image_folder: Path, settings: Mapping) -> None:
        self.folder, self.output, self.settings = folder, output, dict(settings)
        self.images = folder / 'images' if settings['copy_images'] else image_folder
        self.hidden = folder / '.conversion'
        self.record = folder / RECORD
        self.kind = settings['kind']
        self.written: list[str] = []

    @property
    def config(self) -> Path:
        """The config that trains on the result."""
        return self.folder / 'config.py'

    def is_complete(self) -> bool:
        """Whether this conversion, of the same files, exists already and is complete."""
        try:
            return json.loads(self.record.read_bytes())['settings'] == self.settings
        except (FileNotFoundError, LookupError, TypeError, ValueError):
            return False

    def open(self, overwrite: bool) -> None:
        """Make the folder, or continue in it.

        Raises:
            ValueError: If there is another result, or files of something else.
        """
        started = self.hidden / 'settings.json'
        # files that changed are known image by image
        chosen = {key: value for key, value in self.settings.items() if key != 'files'}
        if started.exists() and json.loads(started.read_bytes()) != chosen:
            if not overwrite:
                raise ValueError(
                    f'{self.folder} has an unfinished conversion with other options: give '
                    'another folder, or --overwrite to drop it'
                )
            shutil.rmtree(self.hidden)
        names = ('config.py', RECORD, 'segments', 'labels', 'images')
        names += tuple(f'{split}.{end}' for split in ('train', 'val') for end in ('json', 'txt'))
        there = [name for name in names if (self.folder / name).exists()]
        if there and not started.exists():
            if not overwrite:
                raise ValueError(
                    f'{self.folder} has {there[0]} already: give another folder, or --overwrite to '
                    'replace an earlier conversion'
                )
            self._remove_earlier()
        self.hidden.mkdir(parents=True, exist_ok=True)
        write_json(started, chosen)

    def _remove_earlier(self) -> None:
        """Delete the files that an earlier conversion wrote, and no others."""
        try:
            written = json.loads(self.record.read_bytes())['written']
        except FileNotFoundError:
            raise ValueError(
                f'{self.folder} has files and no {RECORD} of an earlier conversion, so nothing is '
                'deleted there: give another folder'
            ) from None
        for name in written:
            (self.folder / name).unlink(missing_ok=True)
        self.record.unlink()

    def write(self, parts: Mapping[str, Part], part_of: Mapping[str, str]) -> None:
        """Write the files of each part of the division, and the config.

        Args:
            parts: Converted images by name.
            part_of: Names of the parts (train, val ...) by name of the image.
        """
        splits = order_splits(part_of.values())
        for split in splits:
            chosen = [parts[name] for name, own in part_of.items() if own == split]
            if self.kind == 'semantic':
                self._write_list(split, chosen)
            else:
                self._write_json(split, chosen)
        if self.output.png_folder:
            folder = f'{self.output.png_folder}/'
            self.written += [folder + self.output.pngs[name] for name in parts]
        if self.settings['copy_images']:
            self.written += [f'images/{name}' for name in part_of]
        self._write_config(splits)

    def _new(self, name: str) -> Path:
        self.written.append(name)
        return self.folder / name

    def _write_list(self, split: str, parts: list[Part]) -> None:
        with replacing(self._new(f'{split}.txt'), self.hidden) as temporary:
            temporary.write_text(''.join(f'{part.name}\n' for part in parts))

    def _write_json(self, split: str, parts: list[Part]) -> None:
        id_of = {c.name: number for number, c in enumerate(self.output.categories, 1)}
        images, annotations = [], []
        for image_id, part in enumerate(parts, 1):
            entry = dict(id=image_id, file_name=part.name, height=part.height, width=part.width)
            for key, names in part.known.items():
                entry[key] = sorted(id_of[name] for name in names if name in id_of)
            images.append(entry)
            entries = [_with_id(a, id_of) for a in part.annotations]
            if self.kind == 'panoptic':
                png = self.output.pngs[part.name]
                annotations.append(dict(image_id=image_id, file_name=png, segments_info=entries))
                continue
            for entry in entries:
                annotations.append(dict(id=len(annotations) + 1, image_id=image_id, **entry))
        categories = [
            dict(id=id_of[c.name], name=c.name, isthing=int(bool(c.is_thing)))
            for c in self.output.categories
        ]
        content = dict(images=images, annotations=annotations, categories=categories)
        write_records(self._new(f'{split}.json'), self.hidden, content)

    def _write_config(self, splits: list[str]) -> None:
        """A copy of the config of ``configs/your_data``, with this result's names and files."""
        template = ZOO / 'your_data' / f'{self.kind}.py'
        end = 'txt' if self.kind == 'semantic' else 'json'
        prefix = dict(img=f'{self.images.resolve()}/')
        if self.output.png_folder:
            prefix['seg'] = f'{self.output.png_folder}/'
        categories = self.output.categories
        names = dict(
            classes=tuple(c.name for c in categories),
            thing_classes=tuple(c.name for c in categories if c.is_thing),
        )
        values = dict(names=names, work_dir=f'work_dirs/{self.folder.resolve().name}')
        for name in ('train', 'val'):
            values[name] = dict(ann_file=f'{name}.{end}', data_prefix=prefix)
        values['val']['test_mode'] = True
        text = fill_template(template, values, f'{self.folder.resolve()}/')
        if 'test' in splits:
            dataset = f"dict(test_dataloader['dataset'], ann_file='test.{end}')"
            text += f'test_dataloader = dict(test_dataloader, dataset={dataset})\n'
        if 'val' not in splits:
            text += _WITHOUT_VALIDATION
        if 'train' not in splits:
            text += 'train_dataloader = train_cfg = optim_wrapper = None\n'
        with replacing(self._new('config.py'), self.hidden, '.py') as temporary:
            temporary.write_text(text)
            Config.fromfile(temporary)

    def close(self, report: str) -> None:
        """Write the record, after which the result counts as whole."""
        write_json(
            self.record,
            dict(settings=self.settings, report=report.splitlines(), written=self.written),
        )
        shutil.rmtree(self.hidden)

    def next_steps(self) -> str:
        """Commands for the next steps."""
        return (
            f'To look at them: oneformer browse {self.config}\n'
            f'To train:        oneformer train {self.config}'
        )


def _with_id(annotation: Mapping, id_of: Mapping[str, int]) -> dict:
    """An entry with ``category_id`` in place of the name."""
    rest = {key: value for key, value in annotation.items() if key != 'category'}
    return dict(category_id=id_of[annotation['category']], **rest)
