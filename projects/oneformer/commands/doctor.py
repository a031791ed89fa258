"""Say what is installed, which deformable attention runs and why, and whether AMP is safe here."""

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'onedl-mmcv',
    'onedl-mmengine',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'onedl-mmpretrain',
    'pycocotools',
    'transformers',
)


def package_versions() -> dict[str, str]:
    """Versions of the packages that the project needs."""
    versions = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = 'not installed'
    return versions


def amp_advice(torch) -> str:
    """Whether mixed precision can be used on this machine."""
    if not torch.cuda.is_available():
        return 'no: there is no GPU, so --amp trains in float32'
    kinds = 'bfloat16 and float16' if torch.cuda.is_bf16_supported() else 'float16'
    return f'yes, {kinds}: task token, pixel decoder, matching and losses stay in float32'


def build_commands(mmcv_version: str) -> list[str]:
    """Commands that compile mmcv's operators for the installed torch."""
    pip = [sys.executable, '-m', 'pip', 'install']
    # --no-cache-dir, or pip takes the pure-Python wheel that it built before
    rebuild = ['--no-build-isolation', '--no-cache-dir', '--force-reinstall', '--no-deps']
    return [
        shlex.join([*pip, 'setuptools>=80', 'wheel', 'ninja']),
        'MMCV_WITH_OPS=1 FORCE_CUDA=1 '
        + shlex.join([*pip, *rebuild, f'onedl-mmcv=={mmcv_version}']),
    ]


def report(name: str, value: str) -> None:
    print(f'{name:22} {value}')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Print the report; 1 if the package cannot be imported."""
    versions = package_versions()
    for name, value in versions.items():
        report(name, value)
    try:  # a broken installation fails in the following lines
        import torch

        import oneformer

        from ..host.compat import compiled_ops_available
        from ..kernels.deformable_attention import choose_path
    except Exception as error:
        report('oneformer', f'cannot be imported: {type(error).__name__}: {error}')
        print('\nInstall what requirements/runtime.txt and requirements/mminstall.txt name')
        return 1
    report('oneformer', oneformer.__version__)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    name = torch.cuda.get_device_name() if device == 'cuda' else platform.processor() or 'CPU'
    report('device', f'{device} ({name}), {torch.get_num_threads()} threads')
    report('mmcv._ext', 'compiled' if compiled_ops_available() else 'missing, a stand-in is loaded')
    path, reason = choose_path(device)
    names = {'cuda': "mmcv's CUDA operator", 'cpu': 'bags of rows', 'torch': 'plain torch'}
    implementation = names[path]
    report('deformable attention', f'{implementation}: {reason}')
    report('AMP', amp_advice(torch))
    if choose_path('cuda')[0] != 'cuda':
        print('\nA CPU needs no compiled operators. For a GPU, with a CUDA toolkit and a compiler:')
        for command in build_commands(versions['onedl-mmcv']):
            print(f'  {command}')
    return 0
