"""What all tests share."""

import os
from pathlib import Path

import pytest

import oneformer  # noqa: F401  before mmdet
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope='session')
def mmdet_scope():
    """Registries look things up in mmdet, as in a run."""
    init_default_scope('mmdet')


@pytest.fixture(scope='session')
def root_dir():
    """The repository."""
    return ROOT


@pytest.fixture(scope='session')
def config_dir():
    """The shipped configs."""
    return ROOT / 'configs'


@pytest.fixture(scope='session')
def shared_dir():
    """The team's shared folder; tests that need it are skipped where it does not exist."""
    path = Path(os.environ.get('ONEFORMER_SHARED', ROOT.parent / 'shared'))
    if not path.is_dir():
        pytest.skip(f'no shared folder at {path}: set ONEFORMER_SHARED')
    return path
