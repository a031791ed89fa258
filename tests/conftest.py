"""What all tests share."""
import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def shared_dir():
    """The team's shared folder; tests that need it are skipped where it does not exist."""
    default = Path(__file__).resolve().parents[1].parent / 'shared'
    path = Path(os.environ.get('ONEFORMER_SHARED', default))
    if not path.is_dir():
        pytest.skip(f'no shared folder at {path}: set ONEFORMER_SHARED')
    return path
