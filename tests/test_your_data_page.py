"""Every command of docs/your_data.md is run, on labels as each tool writes them."""

import re
import shutil

import pytest
import test_convert_masks as masks
import test_convert_tools as tools
from test_your_data import SMALL

# of a format: what writes such labels, into the folder that the page names
WRITERS = {**tools.WRITERS, **masks.WRITERS}


def commands_of(page):
    """All commands of a page, in tables and in blocks, as lists of words."""
    blocks = [block for _, block in re.findall(r'```(shell|bash)\n(.*?)```', page, re.S)]
    lines = [line.split('#')[0] for line in ''.join(blocks).replace('\\\n', ' ').splitlines()]
    in_tables = re.findall(r'^\|.*`(python tools/[^`]*)`', page, re.M)
    return [line.split() for line in [*in_tables, *lines] if line.split()]


@pytest.fixture(scope='module')
def commands(root_dir):
    return commands_of((root_dir / 'docs/your_data.md').read_text())


def conversions(page):
    return [words[2:] for words in commands_of(page) if 'convert_labels' in words[1]]


def follows_a_conversion(words):
    return 'data/mine/config.py' in words or 'work_dirs/mine' in ' '.join(words)


def is_of_streets(words):
    return any(text in ' '.join(words) for text in ('streets', '_street.py'))


def test_every_command_is_one_that_is_run_here(commands):
    left = [
        words
        for words in commands
        if words[1] != 'tools/convert_labels.py'
        and not follows_a_conversion(words)
        and not is_of_streets(words)
    ]
    # a download; test_weights.py trains from files with the same names
    assert [words[0] for words in left] == ['wget']


def test_the_page_has_a_command_for_every_format(root_dir):
    from oneformer.annotation_formats.formats import FORMATS

    page = (root_dir / 'docs/your_data.md').read_text()
    assert {words[0] for words in conversions(page)} == set(FORMATS)


def test_every_conversion_of_the_page_runs(commands, tmp_path, run_tool):
    made = []
    for words in commands:
        if words[1] != 'tools/convert_labels.py':
            continue
        name, source = words[2], tmp_path / words[3]
        write = masks.write_both if '--label-pngs' in words else WRITERS[name]
        write(source if not source.suffix else source.parent)
        printed = run_tool('convert_labels', *words[2:], '--workers', 1)
        assert 'To train:' in printed
        made.append(name)
        shutil.rmtree(tmp_path / 'data')
    assert len(made) == len(WRITERS) + 1


def test_what_follows_a_conversion_runs(commands, tmp_path, run_tool):
    """Check, browse, train, test and predict, as in the block of the page."""
    tools.write_labelme(tmp_path / 'data/labelme')
    run_tool('convert_labels', 'labelme', 'data/labelme', 'data/mine', '--workers', 1)
    shutil.copytree(tmp_path / 'data/labelme', tmp_path / 'images')
    ran = []
    for words in commands:
        tool = words[1].removeprefix('tools/').removesuffix('.py')
        if not follows_a_conversion(words):
            continue
        options = ['--cfg-options', *SMALL] if tool in ('train', 'test') else []
        run_tool(tool, *words[2:], *options)
        if tool == 'train':
            run = tmp_path / 'work_dirs/mine'
            (run / 'iter_2.pth').rename(run / 'iter_1000.pth')
        ran.append(tool)
    assert {'check_dataset', 'browse_dataset', 'train', 'test', 'predict'} <= set(ran)


def test_streets_are_drawn_trained_and_scored(commands, config_dir, tmp_path, run_tool):
    ran = []
    for words in filter(is_of_streets, commands):
        tool = words[1].removeprefix('tools/').removesuffix('.py')
        arguments = [w.replace('configs/', f'{config_dir}/') for w in words[2:]]
        few = ['--train', 2, '--val', 2, '--size', 128]
        small = [option.replace('train_cfg.max_iters', 'max_iters') for option in SMALL]
        small = small if '--cfg-options' in words else ['--cfg-options', *small]
        run_tool(tool, *arguments, *(few if tool.startswith('make') else small))
        run = tmp_path / 'work_dirs' / ('street160' if 'work_dirs/street160' in words else 'street')
        if tool == 'train':
            (run / 'iter_2.pth').rename(run / 'iter_1000.pth')
        ran.append(tool)
    assert ran == ['make_quickstart_data', 'train', 'test', 'train']
