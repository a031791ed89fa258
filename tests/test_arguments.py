"""Options of other tools, of other projects, and misspelled ones are answered with what to say."""

import argparse
from contextlib import suppress

import oneformer_cli
import pytest

from oneformer.commands.arguments import OWNERS, ToolParser


@pytest.fixture
def refusal(run_tool, capsys, tmp_path):
    """What a tool prints before it ends with exit code 2."""

    def run(tool, *arguments):
        (tmp_path / 'c.py').touch()
        with pytest.raises(SystemExit) as stopped:
            run_tool(tool, *arguments)
        assert stopped.value.code == 2
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ('tool', 'arguments', 'predictions'),
    [
        (
            'predict',
            ['a.jpg', '--config', 'c.py', '--checkpoint', 'w.pth'],  # before: --weights is missing
            ['no --config: here it is --model', 'no --checkpoint: here it is --weights'],
        ),
        ('predict', ['a.jpg', '--cfg-options', 'a=1'], ['change it there and give it as --model']),
        ('predict', ['a.jpg', '--pred-score-thr', '0.3'], ['here it is --score-thr']),
        ('predict', ['a.jpg', '--show'], ['written to overlays/ in --out-dir']),
        ('predict', ['a.jpg', '--resume'], ['it is an option of oneformer train']),
        ('predict', ['a.jpg', '--tta'], ['it is an option of oneformer test']),
        ('predict', ['--img=a.jpg'], ['write INPUTS without an option, as in predict.py INPUTS']),
        ('predict', ['a.jpg', '--out_dir', 'x'], ['no --out_dir: write --out-dir']),
        ('predict', ['a.jpg', '--work-dir', 'x'], ['here it is --out-dir']),
        ('predict', ['a.jpg', '--wieghts', 'x'], ['did you mean --weights?']),
        ('predict', ['a.jpg', '--xyz'], ['--help lists what it has']),
        ('predict', ['c.py', '--weights', 'w.pth'], ['input c.py is a config: give it as --model']),
        ('predict', ['a.jpg', 'w.pth'], ['input w.pth is a checkpoint: give it as --weights']),
        ('predict', ['a.jpg'], ['no weights: give a checkpoint as --weights']),
        ('train', ['c.py', '--weights', 'w.pth'], ['--cfg-options load_from=CHECKPOINT']),
        ('train', ['c.py', 'w.pth'], ['does not take w.pth (to start from a checkpoint say']),
        ('train', ['--config', 'c.py'], ['write CONFIG without an option, as in train.py CONFIG']),
        ('train', ['c.py', '--resume-from', 'w'], ['here it is --resume']),
        ('train', ['c.py', '--gpus', '8'], ['tools/dist_train.sh CONFIG NUMBER']),
        ('train', ['c.py', '--epochs', '9'], ['--cfg-options train_cfg.max_iters=NUMBER']),
        ('train', ['c.py', '--tta'], ['it is an option of oneformer test']),
        ('train', ['w.pth'], ['w.pth is a checkpoint: write the config first']),
        ('test', ['c.py', '--checkpoint', 'w.pth'], ['as in test.py CONFIG CHECKPOINT']),
        ('test', ['w.pth', 'c.py'], ['w.pth is a checkpoint: write the config first']),
        ('test', ['c.py', 'w.pth', '--output', 'x'], ['here it is --out-dir']),
        ('test', ['c.py', 'w.pth', '--iou-thr', '1'], ['model.test_cfg.iou_thr=VALUE']),
        ('test', ['c.py', 'w.pth', '--amp'], ['say --precision bf16 or --precision fp16']),
        ('predict', ['a.jpg', '--half'], ['no --half: say --precision fp16']),
        ('train', ['c.py', '--precision', 'bf16'], ['say --amp bf16 or --amp fp16, and --tf32']),
        ('check_dataset', ['--config', 'c.py'], ['as in check_dataset.py CONFIG']),
        ('check_dataset', ['c.py', '--num-workers', '2'], ['here it is --workers']),
        ('browse_dataset', ['c.py', '--output-dir', 'x'], ['here it is --out-dir']),
        ('browse_dataset', ['c.py', '--show-number', '3'], ['here it is --num']),
        ('convert_checkpoint', ['--src', 'w.pth', 'x'], ['write SOURCE without an option']),
        ('prepare_dataset', ['coco', '--data-dir', 'x'], ['here it is --data-root']),
    ],
)
def test_an_unknown_option_is_predicted_with_what_to_say(tool, arguments, predictions, refusal):
    printed = refusal(tool, *arguments)
    for prediction in predictions:
        assert prediction in printed
    for word in arguments:
        if word.startswith('--') and word not in ('--weights',):
            assert f'{tool}.py has no {word.split("=")[0]}: ' in printed


def test_commands_have_the_options_that_others_name(capsys):
    for command, options in OWNERS.items():
        with suppress(SystemExit):  # torch's record returns from an exit without an error
            oneformer_cli.main([command, '--help'])
        printed = capsys.readouterr().out
        for option in options:
            assert option in printed


def test_what_argparse_takes_is_taken():
    parser = ToolParser(prog='tool.py')
    parser.add_argument('--weights')
    parser.add_argument('--shift', type=float)
    parser.add_argument('words', nargs='*')
    expected = argparse.Namespace(weights='w', shift=-1.5, words=['-a b', '--config'])
    words = ['--weig', 'w', '--shift', '-1.5', '--', '-a b', '--config']
    assert parser.parse_args(words) == expected
