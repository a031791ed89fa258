"""The commands that README and docs show, as lists of words, with where they stand."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STARTS = ('oneformer', 'python', 'make', 'pip', 'sbatch', 'srun', 'git', 'wget')
NEED = re.compile(r'\bneeds (?:an? |the )?(GPUs?|datasets?|network|Slurm)\b')


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: Path in the repository.
        line: Number of its line.
        words: As a shell takes them, without assignments of variables before them.
        needs: What the page says beside it that a test machine lacks, empty if nothing.
        is_whole: Whether it stands in a block to be pasted, and not in a sentence.
    """

    page: str
    line: int
    words: tuple[str, ...]
    needs: str
    is_whole: bool

    def __str__(self) -> str:
        return ' '.join(self.words)

    @property
    def place(self) -> str:
        return f'{self.page}:{self.line}: {self}'


def pages():
    """README and the pages of the docs, by their paths in the repository."""
    files = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def is_command(word):
    return word in STARTS or re.match(r'tools/\w+\.(sh|py|sbatch)$', word) is not None


def words_of(text):
    """Words of each command of a line, without comments, variables and the file for output."""
    for part in text.split(' && '):
        words = shlex.split(part, comments=True)
        while words and re.match(r'[A-Z_]+=', words[0]):
            words = words[1:]
        if '>' in words:
            words = words[: words.index('>')]
        if words:
            yield tuple(words)


def in_block(page, first, text):
    """Commands of a block; a line that is only a comment says what those below need."""
    needed, number, lines = '', first, text.split('\n')
    while lines:
        start, line = number, lines.pop(0)
        number += 1
        while line.endswith('\\'):
            line = line[:-1] + lines.pop(0)
            number += 1
        found = NEED.search(line)
        if line.startswith('#'):
            needed = found[1] if found else needed
            continue
        for words in words_of(line):
            yield Command(page, start, words, found[1] if found else needed, True)


def in_text(page, number, line):
    """Commands in a sentence or a table."""
    found = NEED.search(line)
    for span in re.findall(r'`([^`]+)`', line):
        if not re.match(r'([A-Z_]+=\S+ )*(' + '|'.join(STARTS) + r'|tools/\w+\.\w+) ', span):
            continue
        for words in words_of(span):
            if is_command(words[0]) and len(words) > 1:
                yield Command(page, number, words, found[1] if found else '', False)


def commands_of(page, text):
    """All commands of a page, in their order."""
    commands, block, first, language = [], None, 0, ''
    for number, line in enumerate(text.splitlines(), 1):
        if block is not None and line.startswith('```'):
            if language == 'bash':
                commands += in_block(page, first, '\n'.join(block))
            block = None
        elif block is not None:
            block.append(line)
        elif line.startswith('```'):
            block, first, language = [], number + 1, line.strip('`')
        else:
            commands += in_text(page, number, line)
    return commands


def notebook_commands():
    """Commands of the cells in the shell's language of all notebooks."""
    commands = []
    for path in sorted((ROOT / 'notebooks').glob('*.ipynb')):
        for cell in json.loads(path.read_text())['cells']:
            head, _, text = ''.join(cell['source']).partition('\n')
            if head.startswith('%%bash'):
                commands += in_block(f'notebooks/{path.name}', 1, text)
    return commands


def python_blocks(text):
    """The Python blocks of a page."""
    return re.findall(r'```python\n(.*?)```', text, re.S)
