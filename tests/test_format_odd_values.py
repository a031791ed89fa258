"""Whatever stands in the files of a tool, readers name the file, or read it."""

import copy
import json
import xml.etree.ElementTree as ET

import pytest
import yaml
from test_convert_tools import WRITERS

from oneformer.annotation_formats.formats import FORMATS

ODD = (None, True, -1, 0.5, 1e300, float('nan'), '', 'x', [], {}, [None], [[]], {'a': 1})
WORDS = ('', 'x', '-1', 'nan', '1e300', '0.5', ';', '1,1')
OPTIONS = dict(boxes='keep', without_labels='keep')


def places(content, path=()):
    """Paths to all values in nested dicts and lists; of a list only the first ones."""
    if path:
        yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for number, value in enumerate(content[:4]):
            yield from places(value, (*path, number))


def replaced(content, path, value):
    """A copy with another value at a place."""
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


def json_variants(text):
    content = json.loads(text)
    content = content[:1] if isinstance(content, list) else content
    for path in places(content):
        for value in ODD:
            yield (path, value), json.dumps(replaced(content, path, value))


def yaml_variants(text):
    content = yaml.safe_load(text)
    for path in places(content):
        for value in ODD:
            yield (path, value), yaml.safe_dump(replaced(content, path, value))


def row_variants(text):
    lines = [line.split()[:9] for line in text.splitlines()]
    for place in places(lines):
        if len(place) == 2:
            for word in WORDS:
                changed = replaced(lines, place, word)
                yield (place, word), '\n'.join(map(' '.join, changed))


def xml_variants(text):
    for number, element in enumerate(ET.fromstring(text).iter()):
        for key in element.attrib:
            for word in (None, *WORDS):
                root = ET.fromstring(text)
                changed = list(root.iter())[number]
                if word is None:
                    del changed.attrib[key]
                else:
                    changed.set(key, word)
                yield (element.tag, key, word), ET.tostring(root, 'unicode')


FILES = [
    ('yolo', 'data.yaml', yaml_variants),
    ('yolo', 'labels/train/a.txt', row_variants),
    ('labelme', 'train/a.json', json_variants),
    ('cvat', 'annotations.xml', xml_variants),
    ('label_studio', 'export.json', json_variants),
    ('supervisely', 'meta.json', json_variants),
    ('supervisely', 'train/ann/a.jpg.json', json_variants),
]


@pytest.mark.parametrize(('name', 'file', 'variants'), FILES)
def test_odd_values_are_read_or_named_with_their_file(name, file, variants, tmp_path):
    path = WRITERS[name](tmp_path / 'source')
    target = tmp_path / 'source' / file
    named = kept = 0
    for where, text in variants(target.read_text()):
        target.write_text(text)
        source = FORMATS[name](path, **OPTIONS)
        images, problems = source.find()
        source.notes()
        messages = list(problems)
        for image in images if not problems else ():
            try:
                source.read(image)
            except ValueError as error:
                messages.append(str(error))
        for message in messages:
            assert str(tmp_path) in message, (where, message)
        named += bool(messages)
        kept += not messages
    assert named > 20 and kept > 0
