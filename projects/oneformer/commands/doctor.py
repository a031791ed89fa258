"""Say what is installed, which deformable attention runs and why, and whether AMP is safe here."""

import platform
from collections.abc import Sequence

import oneformer_cli

from ..host.lines import installed_line, lack, line_name, mixture
from ..host.tested_versions import build_commands, differences, package_versions
from .arguments import ToolParser


def amp_advice(torch) -> str:
    """Whether mixed precision can be used on this machine."""
    if not torch.cuda.is_available():
        return 'no: there is no GPU, so --amp trains in float32'
    kinds = 'bfloat16 and float16' if torch.cuda.is_bf16_supported() else 'float16'
    return f'yes, {kinds}: task token, pixel decoder, matching and losses stay in float32'


def report(name: str, value: str) -> None:
    print(f'{name:22} {value}')


def report_packages() -> str | None:
    """Print versions and the line of OpenMMLab packages; returns what is wrong, if anything is."""
    report('python', platform.python_version())
    for name, value in package_versions().items():
        report(name, value)
    problem = mixture() or lack()
    report('OpenMMLab packages', line_name(installed_line()) if problem is None else problem)
    if problem is None:
        others = ', '.join(differences())
        report('tested', f'not these: {others}' if others else 'with these versions')
    return problem


def make_parser(prog: str | None = None) -> ToolParser:
    return ToolParser(prog=prog, description=__doc__)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Print the report; 1 if the package cannot be imported."""
    make_parser(prog).parse_args(argv)
    if report_packages():
        return 1
    try:  # a broken installation fails in the following lines
        oneformer_cli.with_the_stack()
        import torch

        import oneformer
        from oneformer.host.compat import compiled_ops_available
        from oneformer.kernels.attention_paths import PATHS, choose_path
    except Exception as error:
        report('oneformer', f'cannot be imported: {type(error).__name__}: {error}')
        return 1
    report('oneformer', oneformer.__version__)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    name = torch.cuda.get_device_name() if device == 'cuda' else platform.processor() or 'CPU'
    report('device', f'{device} ({name}), {torch.get_num_threads()} threads')
    report('mmcv._ext', 'compiled' if compiled_ops_available() else 'missing, a stand-in is loaded')
    path, reason = choose_path(device)
    report('deformable attention', f'{PATHS[path]}: {reason}')
    on_gpu = path, reason
    if device != 'cuda':
        on_gpu = choose_path('cuda')
        report('  on a GPU', f'{PATHS[on_gpu[0]]}: {on_gpu[1]}')
    report('AMP', amp_advice(torch))
    if on_gpu[0] != 'cuda':
        print(
            '\nNeither a CPU nor our Triton kernel needs compiled operators. For others on a GPU,'
        )
        print('with a CUDA toolkit and a compiler:')
        for command in build_commands():
            print(f'  {command}')
    return 0
