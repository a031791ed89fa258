"""Every command of docs/your_data.md is run, on labels as each tool writes them."""

import shutil

import doc_commands
import pytest
import test_convert_masks as masks
import test_convert_tools as tools
from test_your_data import SMALL

PAGE = 'docs/your_data.md'

# of a format: what writes such labels, into the folder that the page names
WRITERS = {**tools.WRITERS, **masks.WRITERS}


@pytest.fixture(scope='module')
def commands(root_dir):
    """All whole commands of the page, in tables and in blocks, as lists of words."""
    found = doc_commands.commands_of(PAGE, (root_dir / PAGE).read_text())
    return [
        list(command.words)
        for command in found
        if command.is_whole or command.words[1] == 'convert-labels'
    ]


def conversions(commands):
    return [words[2:] for words in commands if words[1] == 'convert-labels']


def follows_a_conversion(words):
    return 'data/mine/config.py' in words or 'work_dirs/mine' in ' '.join(words)


def is_of_streets(words):
    return any(text in ' '.join(words) for text in ('streets', '_street'))


def test_every_command_is_one_that_is_run_here(commands):
    left = [
        words
        for words in commands
        if words[1] != 'convert-labels'
        and not follows_a_conversion(words)
        and not is_of_streets(words)
        and words[1] != 'init'
    ]
    # a download; test_weights.py trains from files with the same names
    assert [words[0] for words in left] == ['wget']


def test_the_page_has_a_command_for_every_format(commands):
    from oneformer.annotation_formats.formats import FORMATS

    assert {words[0] for words in conversions(commands)} == set(FORMATS)


def test_every_conversion_of_the_page_runs(commands, tmp_path, run_command):
    made = []
    for words in conversions(commands):
        name, source = words[0], tmp_path / words[1]
        write = masks.write_both if '--label-pngs' in words else WRITERS[name]
        write(source if not source.suffix else source.parent)
        printed = run_command('convert-labels', *words, '--workers', 1)
        assert 'To train:' in printed
        made.append(name)
        shutil.rmtree(tmp_path / 'data')
    assert len(made) == len(WRITERS) + 1


def test_what_follows_a_conversion_runs(commands, tmp_path, run_command):
    """Check, browse, train, test and predict, as in the block of the page."""
    tools.write_labelme(tmp_path / 'data/labelme')
    run_command('convert-labels', 'labelme', 'data/labelme', 'data/mine', '--workers', 1)
    shutil.copytree(tmp_path / 'data/labelme', tmp_path / 'images')
    ran = []
    for _, name, *words in filter(follows_a_conversion, commands):
        if name == 'convert-labels':
            continue
        options = ['--cfg-options', *SMALL] if name in ('train', 'test') else []
        run_command(name, *words, *options)
        if name == 'train':
            run = tmp_path / 'work_dirs/mine'
            (run / 'iter_2.pth').rename(run / 'iter_1000.pth')
        ran.append(name)
    assert {'check', 'browse', 'train', 'test', 'predict'} <= set(ran)


def test_streets_are_drawn_trained_and_scored(commands, tmp_path, run_command):
    ran = []
    for _, name, *words in filter(is_of_streets, commands):
        few = ['--train', 2, '--val', 2, '--size', 128]
        small = [option.replace('train_cfg.max_iters', 'max_iters') for option in SMALL]
        small = small if '--cfg-options' in words else ['--cfg-options', *small]
        run_command(name, *words, *(few if name == 'demo-data' else small))
        run = tmp_path / 'work_dirs' / ('street160' if 'work_dirs/street160' in words else 'street')
        if name == 'train':
            (run / 'iter_2.pth').rename(run / 'iter_1000.pth')
        ran.append(name)
    assert ran == ['demo-data', 'train', 'test', 'train']


def test_a_config_is_written_and_names_what_comes_next(commands, tmp_path, run_command):
    (words,) = [words for words in commands if words[1] == 'init']
    printed = run_command(*words[1:])
    assert 'next: oneformer check my_project/config.py' in printed
    assert len((tmp_path / 'my_project/config.py').read_text().splitlines()) < 20
