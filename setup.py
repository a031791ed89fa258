"""Packaging: the packages live in ``projects/``, their requirements in ``requirements/``.

The wheel also holds the configs, the zoo and the launch scripts, in ``oneformer/.mim``, where
``mim search`` and ``_base_ = 'oneformer::...'`` look for them.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# of a checkout only: it compares with peers that are beside the package
LEFT_OUT = ('__pycache__', '*.pyc', 'benchmark.py', 'gpu_check.py')  # of a checkout alone


def requirements(name):
    """Lines of a requirements file, and of those that it includes, without comments."""
    found = []
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
        line = line.strip()
        if line.startswith('-r '):
            found += requirements(line.removeprefix('-r ').removesuffix('.txt'))
        elif line and not line.startswith('#'):
            found.append(line)
    return found


class BuildWithConfigs(build_py):
    """Adds ``.mim`` to the built package; an editable install finds the checkout's own files."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'oneformer' / '.mim'
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        for folder in ('configs', 'tools', 'requirements'):
            shutil.copytree(
                ROOT / folder, target / folder, ignore=shutil.ignore_patterns(*LEFT_OUT)
            )
        shutil.copy(ROOT / 'model-index.yml', target)


init = (ROOT / 'projects' / 'oneformer' / '__init__.py').read_text()
EXTRAS = (
    'onedl',
    'openmmlab',
    'demo',
    'data',
    'monitoring',
    'timm',
    'export',
    'openvino',
    'serve',
    'docs',
    'tests',
)
FILES = dict({name: name for name in EXTRAS}, runtime='onnxruntime')

setup(
    name='oneformer',
    version=re.search(r"__version__ = '(.+)'", init)[1],
    description='OneFormer (CVPR 2023) for OpenMMLab: one transformer for panoptic, instance and '
    'semantic segmentation',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    keywords='segmentation panoptic instance semantic oneformer openmmlab mmdetection',
    python_requires='>=3.10,<3.13',
    package_dir={'': 'projects'},
    packages=find_packages('projects'),
    py_modules=['oneformer_cli'],
    package_data={
        'oneformer': ['py.typed'],
        'oneformer_runtime': ['py.typed'],
        'oneformer_runtime.page': ['assets/*', 'assets/*/*'],
    },
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['oneformer = oneformer_cli:main']},
    install_requires=requirements('runtime'),
    # onedl or openmmlab, not both: they hold the same files
    extras_require={extra: requirements(name) for extra, name in FILES.items()},
)
