"""The distribution ``oneformer-runtime``: one package of ``projects/``, without torch.

``pip install ./packaging/oneformer_runtime`` in a checkout. Version and requirements are read from
their places in the checkout, so it builds wheels, but no source distribution of its own.
"""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

init = (ROOT / 'projects/oneformer/__init__.py').read_text()


def requirements(name):
    """Lines of a requirements file, without comments and those that it includes."""
    lines = (ROOT / f'requirements/{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-r'))]


setup(
    name='oneformer-runtime',
    version=re.search(r"__version__ = '(.+)'", init)[1],
    description='Run an exported OneFormer by onnxruntime, without torch',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    package_dir={'': os.path.relpath(ROOT / 'projects', HERE)},
    packages=find_packages(ROOT / 'projects', include=['oneformer_runtime*']),
    package_data={
        'oneformer_runtime': ['py.typed'],
        'oneformer_runtime.page': ['assets/*', 'assets/*/*'],
    },
    # all of it takes less than 300 MB, which OpenCV from 4.12 on would make more
    install_requires=[
        'numpy>=1.26',
        'opencv-python-headless>=4.8,<4.12',
        *requirements('onnxruntime'),
    ],
    extras_require={name: requirements(name) for name in ('openvino', 'serve')},
)
