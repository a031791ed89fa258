"""Say what is installed, which deformable attention runs and why, and whether AMP is safe here."""

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

import torch  # noqa: E402

import oneformer  # noqa: E402
from oneformer.compat import compiled_ops_available  # noqa: E402
from oneformer.models.deformable_attention import choose_path  # noqa: E402

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
    """Versions of what the project stands on."""
    versions = {'python': platform.python_version(), 'oneformer': oneformer.__version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = 'not installed'
    return versions


def amp_advice() -> str:
    """Whether mixed precision can be used on this machine."""
    if not torch.cuda.is_available():
        return 'no: there is no GPU, so --amp trains in float32'
    kinds = 'bfloat16 and float16' if torch.cuda.is_bf16_supported() else 'float16'
    return (
        f'yes, {kinds}: the task token, the pixel decoder, matching and all losses stay in float32'
    )


def build_commands(mmcv_version: str) -> list[str]:
    """Commands that compile mmcv's operators for the installed torch."""
    pip = [sys.executable, '-m', 'pip', 'install']
    return [
        shlex.join([*pip, 'setuptools>=80', 'wheel', 'ninja']),
        # --no-cache-dir, or pip takes the pure-Python wheel that it built before
        'MMCV_WITH_OPS=1 '
        + shlex.join(
            [
                *pip,
                '--no-build-isolation',
                '--no-cache-dir',
                '--force-reinstall',
                '--no-deps',
                f'onedl-mmcv=={mmcv_version}',
            ]
        ),
    ]


def main() -> None:
    versions = package_versions()
    for name, value in versions.items():
        print(f'{name:22} {value}')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    name = torch.cuda.get_device_name() if device == 'cuda' else platform.processor() or 'CPU'
    print(f'{"device":22} {device} ({name}), {torch.get_num_threads()} threads')
    compiled = compiled_ops_available()
    print(f'{"mmcv._ext":22} {"compiled" if compiled else "missing, a stand-in is loaded"}')
    path, reason = choose_path(device)
    implementation = {'cuda': "mmcv's CUDA operator", 'torch': 'plain torch'}[path]
    print(f'{"deformable attention":22} {implementation}: {reason}')
    print(f'{"AMP":22} {amp_advice()}')
    if not compiled:
        print('\nA CPU needs no compiled operators. For a GPU, with a CUDA toolkit and a compiler:')
        for command in build_commands(versions['onedl-mmcv']):
            print(f'  {command}')


if __name__ == '__main__':
    main()
