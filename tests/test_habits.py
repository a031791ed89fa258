"""What GitHub, pre-commit and Docker read fits the repository: versions, targets, files, extras."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import oneformer

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / '.github/workflows').glob('*.yml'))
FORMS = sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('*_*.yml'))


def read(path):
    """The content of a YAML file; the key ``on`` of a workflow is read as true."""
    return yaml.safe_load((ROOT / path).read_text())


def jobs():
    """Pairs (workflow, job)."""
    return [(read(path), job) for path in WORKFLOWS for job in read(path)['jobs'].values()]


def pinned(name):
    """Lines ``NAME==VERSION`` of a requirements file."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return {line for line in lines if re.fullmatch(r'[\w-]+==[\w.]+', line)}


def targets():
    """Targets of the Makefile."""
    return set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))


def test_hooks_are_pinned_come_from_pypi_and_have_the_ruff_of_make_lint():
    repositories = read('.pre-commit-config.yaml')['repos']
    assert [repository['repo'] for repository in repositories] == ['local']
    hooks = {hook['id']: hook for hook in repositories[0]['hooks']}
    for hook in hooks.values():
        assert hook['language'] == 'python'
        assert all(re.fullmatch(r'[\w-]+==[\d.]+', p) for p in hook['additional_dependencies'])
    ruff = {p for p in pinned('lint') if p.startswith('ruff==')}
    assert len(ruff) == 1
    for name in ('ruff-check', 'ruff-format'):
        assert set(hooks[name]['additional_dependencies']) == ruff
    assert hooks.keys() >= {'nbstripout', 'check-toml', 'check-yaml', 'end-of-file-fixer'}


@pytest.mark.parametrize(
    'path',
    [*WORKFLOWS, ROOT / 'CONTRIBUTING.md', ROOT / '.github/pull_request_template.md'],
    ids=lambda path: path.name,
)
def test_what_make_is_asked_for_is_a_target(path):
    asked = re.findall(r'(?:run: |^|`)make ([a-z-]+)', path.read_text(), re.MULTILINE)
    assert set(asked) <= targets()


def test_all_that_make_offers_to_contributors_is_told():
    told = set(re.findall(r'^make ([a-z-]+)', (ROOT / 'CONTRIBUTING.md').read_text(), re.MULTILINE))
    assert told >= {
        'setup',
        'lint',
        'test',
        'coverage',
        'test-long',
        'test-slurm',
        'test-web',
        'dist',
        'bench',
    }


def test_the_tests_run_on_every_python_that_is_supported():
    metadata = (ROOT / 'setup.py').read_text()
    lowest, below = re.search(r">=3\.(\d+),<3\.(\d+)'", metadata).groups()
    supported = [f'3.{minor}' for minor in range(int(lowest), int(below))]
    matrix = read('.github/workflows/tests.yml')['jobs']['tests']['strategy']['matrix']
    assert matrix['python'] == supported


def test_every_job_ends_reads_only_and_keeps_no_token():
    for workflow, job in jobs():
        assert workflow['permissions'] == {'contents': 'read'}
        assert 'uses' in job or job['timeout-minutes'] <= 60
        for step in job.get('steps', ()):
            if step.get('uses', '').startswith('actions/checkout@'):
                assert step['with']['persist-credentials'] is False


def test_only_a_job_that_waits_for_people_can_publish_and_only_of_a_tag():
    for workflow, job in jobs():
        may_publish = 'id-token' in job.get('permissions', ())
        publishes = any('publish' in step.get('uses', '') for step in job.get('steps', ()))
        assert may_publish == publishes == ('environment' in job)
        assert 'secrets.' not in str(workflow)
        if publishes:
            assert list(workflow[True]) == ['push'] and list(workflow[True]['push']) == ['tags']
            assert job['needs'] == 'build'
    release = read('.github/workflows/release.yml')['jobs']
    assert release['publish']['environment'] == 'pypi'
    assert release['build'] == {'needs': 'version', 'uses': './.github/workflows/wheel.yml'}


@pytest.mark.parametrize(
    ('tag', 'changelog', 'passes'),
    [
        ('v{}', '## {} (2027-01-31)', True),
        ('v{}', '## {} (unreleased)', False),
        ('v{}', '## 0.0.1 (2027-01-31)', False),
        ('v9.9.9', '## 9.9.9 (2027-01-31)', False),
    ],
)
def test_a_tag_is_released_if_it_is_the_version_and_the_changelog_has_it(
    tag, changelog, passes, tmp_path, monkeypatch
):
    version = oneformer.__version__
    step = read('.github/workflows/release.yml')['jobs']['version']['steps'][-1]
    package = tmp_path / 'projects/oneformer/__init__.py'
    package.parent.mkdir(parents=True)
    package.write_bytes((ROOT / package.relative_to(tmp_path)).read_bytes())
    (tmp_path / 'CHANGELOG.md').write_text(f'# Changelog\n\n{changelog.format(version)}\n')
    monkeypatch.setenv('TAG', tag.format(version))
    command = ['bash', '--noprofile', '--norc', '-eo', 'pipefail', '-c', step['run']]  # as GitHub
    assert (subprocess.run(command, cwd=tmp_path).returncode == 0) == passes


@pytest.mark.parametrize('path', FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_complete(path):
    form = read(path)
    assert form['name'] and form['description'] and form['labels']
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    ids = [field['id'] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(field['attributes']['label'] for field in fields)


def test_a_bug_report_asks_for_the_command_and_for_what_doctor_prints():
    form = read('.github/ISSUE_TEMPLATE/bug_report.yml')
    fields = {field.get('id'): field for field in form['body']}
    assert '`oneformer doctor`' in fields['doctor']['attributes']['label']
    for name in ('command', 'happened', 'doctor'):
        assert fields[name]['validations'] == {'required': True}


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = read('CITATION.cff')
    assert citation['cff-version'] == '1.2.0' and citation['message']
    assert str(citation['version']) == oneformer.__version__
    paper = citation['preferred-citation']
    assert paper['title'] == 'OneFormer: One Transformer to Rule Universal Image Segmentation'
    assert [author['family-names'] for author in paper['authors']] == [
        'Jain', 'Li', 'Chiu', 'Hassani', 'Orlov', 'Shi',
    ]  # fmt: skip
    assert paper['year'] == 2023 and paper['url'] == 'https://arxiv.org/abs/2211.06220'


@pytest.mark.parametrize('page', ['CONTRIBUTING.md', 'SECURITY.md', 'AGENTS.md'])
def test_files_that_a_page_names_exist(page):
    named = re.findall(r'`([\w/*.-]+/[\w*.-]*)`', (ROOT / page).read_text())
    named += re.findall(r'\]\(([\w/.-]+)\)', (ROOT / page).read_text())
    places = (ROOT, ROOT / 'projects/oneformer')
    named = [name.replace('NAME', '*') for name in named if not name.startswith('pip')]
    missing = [name for name in named if not any(list(p.glob(name.rstrip('/'))) for p in places)]
    assert len(named) > 1 and not missing


def test_the_layout_names_every_folder_of_the_package():
    layout = (ROOT / 'CONTRIBUTING.md').read_text().split('## Layout')[1].split('## ')[0]
    folders = {path.parent.name for path in (ROOT / 'projects/oneformer').glob('*/__init__.py')}
    assert {name for name in folders if f' {name}/' not in layout} == set()
