"""The Dockerfile, which no test can build: what it copies, installs and builds exists."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# lines that go on are joined, comments left out
TEXT = re.sub(r'^#.*\n', '', (ROOT / 'Dockerfile').read_text(), flags=re.MULTILINE)
STEPS = re.sub(r'\\\n', ' ', TEXT).splitlines()
INSTALLS = [
    shlex.split(command)
    for step in STEPS
    if step.startswith('RUN ')
    for command in re.split('&&|;', step.removeprefix('RUN '))
    if 'pip install' in command
]


def copied(name):
    """Whether a file of the repository is part of what a build is given."""
    kept = False
    for line in (ROOT / '.dockerignore').read_text().splitlines():
        pattern = line.removeprefix('!').removeprefix('**/')
        if line and not line.startswith('#') and fnmatch(name.split('/')[0], pattern):
            kept = line.startswith('!')
    return kept


@pytest.mark.parametrize('words', INSTALLS, ids=' '.join)
def test_what_pip_is_told_to_install_exists(words):
    for option, value in zip(words, words[1:]):
        if option in ('-r', '-c'):
            assert (ROOT / value).is_file() and copied(value)
    extras = [extra for word in words for extra in re.findall(r'^\.\[(.+)\]$', word)]
    for extra in ','.join(extras).split(',') if extras else ():
        assert (ROOT / 'requirements' / f'{extra}.txt').is_file()
        assert f"'{extra}'" in (ROOT / 'setup.py').read_text()


def test_each_image_installs_the_package_with_the_versions_that_are_tested():
    package = [words for words in INSTALLS if '.[onedl]' in words]
    assert len(package) == 2
    assert all('requirements/constraints.txt' in words for words in package)
    assert sum('https://download.pytorch.org/whl/cpu' in words for words in package) == 1


def test_a_build_is_given_what_setup_reads():
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'projects', 'configs', 'requirements'):
        assert copied(name), name
    for name in ('.venv', 'data', 'work_dirs', '.git', 'tests'):
        assert not copied(name), name


def test_operators_are_built_as_doctor_says():
    # the command and what it asks
    files = [
        ROOT / 'projects/oneformer/commands/doctor.py',
        *ROOT.glob('projects/oneformer/host/*.py'),
    ]
    doctor = ''.join(file.read_text() for file in files)
    (build,) = (words for words in INSTALLS if 'MMCV_WITH_OPS=1' in words)
    for option in [word for word in build if word.startswith(('--', 'MMCV_', 'FORCE_'))]:
        assert option in doctor


def test_commands_of_the_images_are_those_of_the_package():
    entry_points = (ROOT / 'setup.py').read_text()
    for step in STEPS:
        if step.startswith('ENTRYPOINT'):
            assert step == 'ENTRYPOINT ["oneformer"]' and 'oneformer = ' in entry_points
