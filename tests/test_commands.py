"""The command ``oneformer``: its sub-commands, their options, completion, and what is new in it."""

import importlib
import json
import re
import subprocess
import sys

import cv2
import numpy as np
import oneformer_cli
import pytest
from mmengine.config import Config

from oneformer.commands.completion import whole_parser
from oneformer.commands.run_arguments import read_config
from oneformer.zoo import ZOO


def run(capsys, *arguments):
    """Run the command in this process; its exit code and output."""
    try:
        code = oneformer_cli.main(list(map(str, arguments)))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code or 0, captured.out + captured.err


def test_help_names_every_command_and_imports_nothing_heavy(root_dir):
    code = (
        'import sys; sys.path.insert(0, "projects"); import oneformer_cli as c\n'
        'for words in (["--help"], ["--version"], ["list", "--dataset", "coco"]): c.main(words)\n'
        'print([m for m in ("torch", "mmengine", "cv2", "numpy") if m in sys.modules])'
    )
    printed = subprocess.run(
        [sys.executable, '-c', code], cwd=root_dir, capture_output=True, text=True, check=True
    ).stdout
    for name in oneformer_cli.COMMANDS:
        assert re.search(rf'^  {name} ', printed, re.M)
    assert 'oneformer_swin-l_coco' in printed
    assert printed.endswith('[]\n')


def test_an_unknown_command_is_answered_with_the_nearest(capsys):
    assert run(capsys, 'predit') == (
        2,
        "oneformer: there is no command 'predit': did you mean predict?\n",
    )
    code, printed = run(capsys)
    assert code == 2 and printed.startswith('usage: oneformer COMMAND')


@pytest.mark.parametrize('name', oneformer_cli.COMMANDS)
def test_each_command_tells_its_options(name, capsys):
    code, printed = run(capsys, name, '--help')
    assert code == 0
    assert printed.startswith(f'usage: oneformer {name} ')


def test_each_tool_of_a_checkout_is_a_command(root_dir, load_tool):
    name_of = {
        importlib.import_module(f'oneformer.commands.{module}').main: name
        for name, (module, _) in oneformer_cli.COMMANDS.items()
    }
    of_a_checkout = {'benchmark', 'gpu_check'}
    tools = {path.stem for path in (root_dir / 'tools').glob('*.py')} - of_a_checkout
    named = {name_of[load_tool(tool).main] for tool in tools}
    assert {*name_of.values()} - named == {'init', 'curves', 'completion', 'page', 'serve'}


def test_advice_names_the_command_that_has_an_option(capsys):
    code, printed = run(capsys, 'predict', 'a.jpg', '--token-matrix')
    assert code == 2
    assert 'it is an option of oneformer test' in printed
    assert 'say --cfg-options randomness.seed' in run(capsys, 'train', 'c.py', '--seed', 1)[1]


@pytest.mark.parametrize('name', ['oneformer_swin-t_coco', 'oneformer_swin-t_coco.py'])
def test_a_config_is_found_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = importlib.import_module('oneformer.commands.train').make_parser()
    assert parser.parse_args([name]).config == str(ZOO / 'oneformer_swin-t_coco.py')


def test_a_config_that_is_nowhere_is_refused_with_similar_names(capsys):
    code, printed = run(capsys, 'train', 'oneformer_swin-t_cocoo')
    assert code == 2
    assert 'such as oneformer_swin-t_coco,' in printed


def complete(script, words, tmp_path):
    """What bash offers for the last of some words."""
    (tmp_path / 'script').write_text(script)
    line = ' '.join(words)
    code = (
        f'source {tmp_path}/script; COMP_WORDS=({line} "");'
        'COMP_CWORD=$((${#COMP_WORDS[@]}-1));'
        'COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE};'
        '_shtab_oneformer; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ['bash', '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_bash_completes_commands_options_and_models(capsys, tmp_path):
    _, script = run(capsys, 'completion', 'bash')
    assert set(complete(script, ['oneformer'], tmp_path)) >= set(oneformer_cli.COMMANDS)
    assert 'oneformer_swin-l_ade20k' in complete(script, ['oneformer', 'train'], tmp_path)
    assert 'yolo' in complete(script, ['oneformer', 'convert-labels'], tmp_path)


def test_the_completion_knows_the_options_of_every_command():
    (commands,) = (a for a in whole_parser()._actions if a.dest == 'command')
    for name, (module, _) in oneformer_cli.COMMANDS.items():
        parser = importlib.import_module(f'oneformer.commands.{module}').make_parser()
        own = set(commands.choices[name]._option_string_actions)
        assert own == set(parser._option_string_actions)


@pytest.mark.parametrize('labels', ['panoptic', 'instance', 'semantic'])
@pytest.mark.parametrize('gpu', [(), ('--gpu',)], ids=['cpu', 'gpu'])
def test_a_new_config_has_the_settings_of_its_recipe(labels, gpu, capsys, tmp_path):
    code, printed = run(capsys, 'init', tmp_path / 'mine', '--labels', labels, *gpu)
    assert code == 0
    path = tmp_path / 'mine/config.py'
    assert f'next: oneformer check {path}' in printed
    assert len(path.read_text().splitlines()) <= 14
    cfg = Config.fromfile(path)
    recipe = Config.fromfile(ZOO / f'your_data/{labels}{"_gpu" if gpu else ""}.py')
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset, expected = cfg[loader].dataset, recipe[loader].dataset
        assert dataset.pop('data_root') == f'{tmp_path}/mine/data/'
        expected.pop('data_root')
        assert dataset == expected
    assert cfg.model == recipe.model
    assert cfg.work_dir == f'{tmp_path}/mine/work_dir'


def test_names_of_a_new_config_are_those_asked_for(capsys, tmp_path):
    options = ['--classes', 'road', 'car', 'sky', '--things', 'car']
    run(capsys, 'init', tmp_path / 'mine', *options, '--data-root', tmp_path)
    cfg = Config.fromfile(tmp_path / 'mine/config.py')
    for names in (cfg.model.metainfo, cfg.val_dataloader.dataset.metainfo):
        assert tuple(names['classes']) == ('road', 'car', 'sky')
        assert tuple(names['thing_classes']) == ('car',)
    code, printed = run(capsys, 'init', tmp_path / 'mine')
    assert (code, printed) == (
        f'error: {tmp_path}/mine/config.py exists already: give another folder, or move it away',
        '',
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--things', 'car'], '--things needs --classes'),
        (['--classes', 'a', 'b', '--things', 'c'], '--things: c is not among --classes'),
        (['--classes', 'a', 'a', '--things', 'a'], '--classes: a is there twice'),
        (['--classes', 'a', 'b'], '--things: name those of the classes that are counted'),
        (
            ['--labels', 'instance', '--classes', 'a', 'b', '--things', 'a'],
            'with instance labels all classes are things',
        ),
    ],
)
def test_names_that_cannot_be_meant_are_refused(options, message, capsys, tmp_path):
    code, printed = run(capsys, 'init', tmp_path / 'mine', *options)
    assert code == 2 and message in printed
    assert not (tmp_path / 'mine').exists()


def read(path, *options):
    """A config as the commands read it."""
    parser = importlib.import_module('oneformer.commands.check').make_parser()
    return read_config(parser.parse_args([str(path), *options]))


def test_settings_of_a_base_are_overridden_where_they_have_effect(capsys, tmp_path):
    run(capsys, 'init', tmp_path)
    path = tmp_path / 'config.py'
    text = path.read_text()
    path.write_text(re.sub('image_size = .*', 'image_size = 240\nnum_queries = 7', text))
    later = tmp_path / 'later.py'
    later.write_text("_base_ = 'config.py'\ncrop_size = 128\n")
    for cfg in (read(path), read(later)):
        (resize,) = (
            step for step in cfg.test_dataloader.dataset.pipeline
            if step['type'] == 'ResizeShortEdge'
        )  # fmt: skip
        assert resize['short_edges'] == [240]
        assert cfg.model.panoptic_head.num_queries == 7
    assert read(path).model.test_cfg.window.size == 256
    assert read(later).model.test_cfg.window.size == 128
    assert read(later, '--cfg-options', 'crop_size=192').model.test_cfg.window.size == 192
    later.write_text("_base_ = 'config.py'\ncrop_size = 'all'\n")
    with pytest.raises(SystemExit, match="crop_size is 'all': it takes a whole number"):
        read(later)


def test_bases_of_the_package_are_found_by_name_from_anywhere(tmp_path):
    path = tmp_path / 'config.py'
    for name in ('oneformer_swin-t_coco', 'oneformer_swin-t_coco.py', 'your_data/panoptic.py'):
        path.write_text(f"_base_ = 'oneformer::{name}'")
        expected = Config.fromfile(ZOO / f'{name.removesuffix(".py")}.py')
        assert Config.fromfile(path).model == expected.model
    path.write_text("_base_ = 'oneformer::oneformer_swin-t_coc'")
    with pytest.raises(FileNotFoundError, match='such as oneformer_swin-t_coco,'):
        Config.fromfile(path)


def write_start(folder, lines):
    """One start of a training: the file of its numbers."""
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data/scalars.json').write_text(''.join(f'{line}\n' for line in lines))


def line(step, **values):
    return json.dumps({**values, 'iter': step, 'step': step})


def test_curves_of_a_resumed_training_are_drawn_once(tmp_path, monkeypatch, capsys):
    first = [line(10 * i, loss=9.0, loss_cls=1.0, base_lr=0.1, lr=0.01) for i in range(1, 5)]
    first.insert(2, json.dumps({'panoptic/PQ': 30.0, 'panoptic/SQ': 50.0, 'step': 20}))
    write_start(tmp_path / '20260101_000000', [*first, '{"loss": 3'])  # killed while it wrote
    write_start(tmp_path / '20260101_000100', [line(30, loss=5.0, loss_cls=0.5, base_lr=0.1)])
    drawn = []
    monkeypatch.setattr(
        'oneformer.commands.curves.draw_curves', lambda *args: drawn.append(args) or b'png'
    )
    code, printed = run(capsys, 'curves', tmp_path)
    assert (code, printed) == (0, f'{tmp_path}/curves.png\n')
    ((title, losses, rates, metrics),) = drawn
    assert title.endswith('to iteration 30')
    assert losses == dict(
        loss=[[10, 20, 30], [9.0, 9.0, 5.0]], loss_cls=[[10, 20, 30], [1.0, 1.0, 0.5]]
    )
    assert rates == dict(base_lr=[[10, 20, 30], [0.1, 0.1, 0.1]])
    assert metrics == {'panoptic/PQ': [[20], [30.0]]}


def test_curves_are_a_picture(tmp_path, drawn_curves, capsys):
    write_start(tmp_path / 'a', [line(i, loss=1 / i, base_lr=0.1) for i in range(1, 5)])
    run(capsys, 'curves', tmp_path, '--out', tmp_path / 'new/my.png')
    image = cv2.imread(str(tmp_path / 'new/my.png'))
    assert image.shape[1] > 500 and len(np.unique(image)) > 10


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (None, 'has no TIME/vis_data/scalars.json'),
        (['{"loss": 1', line(2, loss=1.0)], 'line 1: not JSON'),
        ([json.dumps(dict(time=1.0, step=1))], 'no loss or metric in them'),
    ],
)
def test_folders_without_curves_are_refused(lines, message, tmp_path, capsys):
    if lines is not None:
        write_start(tmp_path / 'a', lines)
    code, _ = run(capsys, 'curves', tmp_path)
    assert message in code
    assert not (tmp_path / 'curves.png').exists()
