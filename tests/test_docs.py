"""README, docs and the site's settings: links, pictures, and what they list."""

import ast
import importlib.util
import re
import xml.etree.ElementTree as ET

import pytest
from doc_commands import ROOT, pages

PACKAGE = ROOT / 'projects/oneformer'


def without_code(text):
    """The text of a page without its blocks of code."""
    return re.sub(r'^```.*?^```', '', text, flags=re.S | re.M)


def anchors(text):
    """Anchors of the headings, as GitHub makes them."""
    titles = re.findall(r'^#+ (.*)$', without_code(text), re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def links(text):
    return re.findall(r'\]\(([^)\s]+)\)', without_code(text))


@pytest.mark.parametrize('page', [*pages(), 'CHANGELOG.md', 'CONTRIBUTING.md'])
def test_every_link_leads_to_a_file_and_a_heading_of_it(page):
    text = (ROOT / page).read_text()
    broken = []
    for link in links(text):
        if link.startswith(('http://', 'https://')):
            continue
        name, _, anchor = link.partition('#')
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken


def test_the_readme_is_a_screen_and_a_half():
    lines = (ROOT / 'README.md').read_text().splitlines()
    assert len(lines) <= 92
    first = '\n'.join(lines[:60])
    for part in (
        'docs/images/quickstart_0.png',
        'pip install',
        '```python',
        "OneFormerInferencer('oneformer_swin-l_ade20k')",
        'make demo',
        'oneformer demo',
        'oneformer train data/mine/config.py',
        'published by the authors',
        'ours: ',
        'docs/model_zoo.md',
    ):
        assert part in first, part
    # the three lines: an import, a prediction, what it holds
    code = first.partition('```python\n')[2].partition('```')[0]
    assert len([line for line in code.splitlines() if line.strip()]) == 3


def test_published_numbers_of_the_readme_are_those_of_the_zoo():
    from oneformer.zoo import find_model

    text = (ROOT / 'README.md').read_text()
    for dataset in ('ade20k', 'cityscapes', 'coco'):
        metrics = find_model(f'oneformer_swin-l_{dataset}').metrics
        numbers = ' | '.join(str(metrics[key]) for key in ('PQ', 'mask AP', 'mIoU'))
        assert f'published by the authors, not measured here | {numbers} |' in text


def drawings():
    spec = importlib.util.spec_from_file_location('drawings', ROOT / 'docs/drawings.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_as_drawn_and_their_boxes_are_files():
    module = drawings()
    for name, (title, boxes, arrows) in module.PICTURES.items():
        drawn = module.picture(title, boxes, arrows)
        assert (ROOT / 'docs/images' / name).read_text() == drawn, 'run python docs/drawings.py'
        ET.fromstring(drawn)
        for box in boxes.values():
            assert not box.file or (PACKAGE / box.file).exists(), box.file
            assert 6.7 * len(box.file) < module.WIDTH and 7 * len(box.title) < module.WIDTH
        places = [(box.column, box.row) for box in boxes.values()]
        assert len(set(places)) == len(places)
        assert f'images/{name}' in (ROOT / 'docs/understand.md').read_text()


def test_every_folder_of_the_package_is_told():
    text = (ROOT / 'docs/understand.md').read_text()
    folders = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert folders == set(re.findall(r'`(\w+)/`', text.partition('## The folders')[2]))


def listed(folder):
    """Names that a sub-package has in ``__all__``."""
    for node in ast.parse((PACKAGE / folder / '__init__.py').read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '__all__':
            return ast.literal_eval(node.value)
    raise AssertionError(f'{folder} has no __all__')


@pytest.mark.parametrize(
    'folder, page',
    [
        ('inference', 'inference'),
        ('weights', 'weights'),
        ('datasets', 'datasets'),
        ('models', 'models'),
        ('encoder_only', 'models'),
        ('evaluation', 'evaluation'),
        ('host', 'hooks'),
        ('training', 'hooks'),
        ('visualization', 'visualization'),
    ],
)
def test_every_public_class_has_its_place_in_the_api(folder, page):
    text = (ROOT / f'docs/api/{page}.md').read_text()
    shown = set(re.findall(rf'^::: oneformer\.{folder}\.(\w+)$', text, re.M))
    classes = {name for name in listed(folder) if name[0].isupper()}
    assert classes - {'Prediction'} <= shown  # which has a page of its own
    assert shown - {path.stem for path in (PACKAGE / folder).glob('*.py')} <= set(listed(folder))


def test_every_page_is_in_the_navigation_once():
    nav = (ROOT / 'mkdocs.yml').read_text().partition('\nnav:\n')[2]
    named = re.findall(r': ([\w/]+\.md)$', nav, re.M)
    written = [page.removeprefix('docs/') for page in pages() if page != 'README.md']
    made = ['index.md', 'changelog.md', 'contributing.md']  # of the repository's own pages
    assert sorted(named) == sorted([*written, *made])


def test_the_site_loads_nothing_from_elsewhere():
    config = (ROOT / 'mkdocs.yml').read_text()
    assert 'font: false' in config and 'use_directory_urls: false' in config
    assert '- offline' not in config  # its search takes a script from elsewhere
    assert not [name for name, text in pages().items() if '```mermaid' in text]
