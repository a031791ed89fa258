"""The command ``oneformer``: finds the sub-command, whose module is imported only then.

A module of its own beside the package, because importing the package imports torch and mmdet: help,
version and the list of models need neither, and come at once.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

# name: module of oneformer.commands, what it does
COMMANDS = {
    'predict': ('predict', 'segment images and videos'),
    'serve': ('serve', 'serve a model over HTTP, with a page in the browser'),
    'train': ('train', 'train a model'),
    'test': ('test', 'evaluate a checkpoint on all tasks in one pass'),
    'init': ('init', 'write a config for labels of your own'),
    'check': ('check', 'find what is wrong with the labels of a config'),
    'browse': ('browse', 'draw what training sees'),
    'curves': ('curves', 'draw losses, learning rate and metrics of a training'),
    'convert': ('convert', 'convert a checkpoint to another layout'),
    'export': ('export', 'write a model for other runtimes (ONNX)'),
    'convert-labels': ('convert_labels', 'convert labels of other tools'),
    'prepare': ('prepare', "build what a published dataset's download lacks"),
    'page': ('page', 'build a page that predicts in the browser'),
    'list': ('list_models', 'list the models that are found by name'),
    'doctor': ('doctor', 'say what is installed and what runs how'),
    'demo': ('demo', 'draw images, train a small model on them, evaluate it'),
    'demo-data': ('demo_data', 'only draw the images of the demo'),
    'study': ('study', 'run an experiment of the docs'),
    'replay': ('replay', 'see where a step that training skipped fails'),
    'completion': ('completion', 'print a script of completions for a shell'),
}
# begin without the package: they need nothing of it, or tell why it cannot be imported, or import
# it when a model needs it
_LIGHT = ('list', 'doctor', 'page', 'serve')
_STAND_INS = ('oneformer', 'oneformer.host')


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {help_line}' for name, (_, help_line) in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: oneformer COMMAND ...',
            '',
            'OneFormer for OpenMMLab: panoptic, instance and semantic segmentation by one model.',
            '',
            *lines,
            '',
            'oneformer COMMAND --help tells the arguments of each; oneformer --version',
        ]
    )


def _package_folder() -> Path:
    return Path(importlib.util.find_spec('oneformer').submodule_search_locations[0])


def version() -> str:
    """The version of the package, read without importing it."""
    for line in (_package_folder() / '__init__.py').read_text().splitlines():
        if line.startswith('__version__ = '):
            return line.split("'")[1]
    raise RuntimeError(f'{_package_folder()} has no version: the installation is damaged')


def _without_the_stack() -> None:
    """Let modules of the package be imported without the package's own import."""
    folder = _package_folder()
    for name in _STAND_INS:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split('.')[1:]))]
        package.is_stand_in = True


def with_the_stack() -> None:
    """Let the next import of the package be a full one, after a command that began without."""
    if getattr(sys.modules.get('oneformer'), 'is_stand_in', False):
        for name in [name for name in sys.modules if name.split('.')[0] == 'oneformer']:
            del sys.modules[name]


def command(name: str) -> Callable[..., int | None]:
    """The main function of a sub-command, which takes arguments and the name of the program."""
    if name in _LIGHT and 'oneformer' not in sys.modules:
        _without_the_stack()
    return importlib.import_module(f'oneformer.commands.{COMMANDS[name][0]}').main


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run a sub-command.

    Args:
        argv: Its name and arguments; those of the process by default.

    Returns:
        Exit code of the process, None for 0.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv[0] if argv else '--help'
    if name in ('-h', '--help', 'help'):
        print(_help())
        return 0 if argv else 2
    if name in ('-V', '--version', 'version'):
        print(f'oneformer {version()}')
        return 0
    if name not in COMMANDS:
        import difflib

        similar = difflib.get_close_matches(name, [*COMMANDS], n=1)
        hint = f'did you mean {similar[0]}?' if similar else 'oneformer --help lists them'
        print(f'oneformer: there is no command {name!r}: {hint}', file=sys.stderr)
        return 2
    try:
        run = command(name)
    except ImportError as error:  # of the OpenMMLab packages, see host/lines.py
        if not str(error).startswith('oneformer cannot be imported'):
            raise
        print(f'{error}', file=sys.stderr)
        return 1
    return run(argv[1:], f'oneformer {name}')


if __name__ == '__main__':
    sys.exit(main())
