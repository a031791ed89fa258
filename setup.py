"""Packaging: ``oneformer`` lives in ``projects/``, its requirements in ``requirements/``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name):
    """Lines of a requirements file without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


init = (ROOT / 'projects' / 'oneformer' / '__init__.py').read_text()

setup(
    name='oneformer',
    version=re.search(r"__version__ = '(.+)'", init)[1],
    description='OneFormer (CVPR 2023) for the OpenMMLab 2.x stack',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    package_dir={'': 'projects'},
    packages=find_packages('projects'),
    install_requires=requirements('runtime') + requirements('mminstall'),
    extras_require={'tests': requirements('tests'), 'optional': requirements('optional')},
)
