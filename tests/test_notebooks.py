"""The notebooks: stripped, with links that lead somewhere, and run by ``make notebooks``."""

import ast
import json
import os
import re
import resource
import sys
import time

import pytest
from doc_commands import ROOT

NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
PICTURES = dict(new_classes=1, three_tasks=1, your_labels=3)


def cells(path):
    """Kind and text of each cell."""
    content = json.loads(path.read_text())
    return [(cell['cell_type'], ''.join(cell['source'])) for cell in content['cells']]


def test_there_are_three_which_the_page_and_each_badge_name():
    page = (ROOT / 'docs/notebooks.md').read_text()
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        assert f'(../notebooks/{path.name})' in page
        assert re.search(
            rf'colab.research.google.com/github/[\w/.-]+/{path.name}\)', cells(path)[0][1]
        )


def test_all_name_one_repository():
    texts = [text for path in NOTEBOOKS for _, text in cells(path)]
    names = re.findall(r'github(?:\.com)?/([\w-]+/oneformer[\w-]*)', ' '.join(texts))
    assert len(names) == 2 * len(NOTEBOOKS) and len(set(names)) == 1


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_code_is_python(path):
    content = json.loads(path.read_text())
    for cell in content['cells']:
        assert cell['metadata'] == {}
        if cell['cell_type'] == 'code':
            assert cell['outputs'] == [] and cell['execution_count'] is None
    code = [text for kind, text in cells(path) if kind == 'code' and not text.startswith('%%')]
    for text in code:
        ast.parse(re.sub(r'^(\s+)%pip .*', r'\1pass', text, flags=re.M))
    assert "if 'google.colab' in sys.modules" in code[0] and '%pip install' in code[0]
    assert sum('%pip' in text for _, text in cells(path)) == 1
    assert any('show(' in text for text in code)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_to_files(path):
    for kind, text in cells(path):
        for link in re.findall(r'\]\(([^)#\s]+)', text if kind == 'markdown' else ''):
            assert link.startswith('https://') or (path.parent / link).exists(), link


@pytest.fixture
def command_in_path(tmp_path, monkeypatch):
    """Shells of a kernel find this checkout's ``oneformer``."""
    script = tmp_path / 'bin/oneformer'
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m oneformer_cli "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv('PATH', f'{script.parent}:{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(ROOT / 'projects'))


def processor_seconds():
    """Time that processors worked for processes which this one has started and which ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def images_of(notebook):
    """Pictures among the outputs."""
    outputs = [o for cell in notebook.cells for o in cell.get('outputs', [])]
    return [o.data['image/png'] for o in outputs if 'image/png' in o.get('data', {})]


@pytest.mark.long
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_pictures(path, tmp_path, command_in_path):
    nbclient = pytest.importorskip('nbclient', reason='installed by make notebooks')
    import nbformat

    folder = tmp_path / 'notebook'
    folder.mkdir()
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        extra_arguments=['--IPKernelApp.log_level=ERROR'],
        resources=dict(metadata=dict(path=str(folder))),
    )
    start, used = time.monotonic(), processor_seconds()
    client.execute()
    spent = processor_seconds() - used
    print(f'\n{path.stem}: {time.monotonic() - start:.0f} s, of processors {spent:.0f} s')
    if folder := os.environ.get('ONEFORMER_NOTEBOOK_OUT'):  # to look at the pictures
        nbformat.write(notebook, f'{folder}/{path.name}')
    assert len(images_of(notebook)) == PICTURES[path.stem]
