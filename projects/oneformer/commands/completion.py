"""Print a script that completes ``oneformer`` in a shell: ``oneformer completion bash``."""

import importlib
from collections.abc import Sequence

import shtab
from oneformer_cli import COMMANDS

from ..zoo import zoo_models
from .arguments import ToolParser

# a place for a config or a model takes a file, or a name of the zoo
_PREAMBLE = {
    'bash': """
_oneformer_models() {{
  compgen -W "{names}" -- "$1"
  compgen -f -- "$1"
}}
""",
    'zsh': """
_oneformer_models() {{
  compadd {names}
  _files
}}
""",
}
_FILES = ('source', 'destination', 'checkpoint', 'inputs', 'weights', 'work_dir', 'out_dir', 'file')


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Print a script that completes commands, options and names of the zoo. For '
        'bash: oneformer completion bash > ~/.local/share/bash-completion/completions/oneformer; '
        'for zsh: into a file _oneformer in a folder of $fpath.',
    )
    parser.add_argument('shell', choices=shtab.SUPPORTED_SHELLS)
    return parser


def whole_parser() -> ToolParser:
    """One parser of all commands, as the completion needs it."""
    whole = ToolParser(prog='oneformer', description='OneFormer for OpenMMLab')
    commands = whole.add_subparsers(dest='command')
    for name, (module, help_line) in COMMANDS.items():
        parser = importlib.import_module(f'..{module}', __name__).make_parser(f'oneformer {name}')
        for action in parser._actions:
            if action.dest in ('config', 'model'):
                action.complete = dict(bash='_oneformer_models', zsh='_oneformer_models')
            elif action.dest in _FILES:
                action.complete = shtab.FILE
        commands.add_parser(name, parents=[parser], add_help=False, help=help_line)
    return whole


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    names = ' '.join(model.name for model in zoo_models())
    preamble = {shell: text.format(names=names) for shell, text in _PREAMBLE.items()}
    print(shtab.complete(whole_parser(), args.shell, preamble=preamble))
