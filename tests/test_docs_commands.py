"""Commands of README and docs parse, and are run by a test, or their page says what they need."""

import argparse
import ast
import functools
import importlib
import re
import shutil
import subprocess

import cv2
import numpy as np
import oneformer_cli
import pytest
import test_coco_formats as coco_formats
import test_convert_masks as masks
import test_convert_tools as tools
import test_mask_formats as mask_formats
from doc_commands import ROOT, commands_of, notebook_commands, pages, python_blocks
from interrupted import write_config
from runs import forget_runs
from test_your_data import SMALL

from oneformer.zoo import find_config

PAGES = pages()
COMMANDS = [command for page, text in PAGES.items() for command in commands_of(page, text)]
WHOLE = [command for command in COMMANDS if command.is_whole]
# words in capitals that stand for one of a list
CHOICES = dict(FORMAT='yolo', COMMAND='train', CONFIG='oneformer_swin-t_coco')
# pages whose blocks are run as a whole
RUN_PAGES = {
    'docs/your_data.md': ('tests/test_your_data_page.py', 'test_every_command_is_one_that_is_run'),
    'docs/results.md': ('tests/test_results.py', 'test_every_command_of_the_page_runs'),
    'docs/label_formats.md': (__file__, 'test_every_conversion_of_the_formats_runs'),
    'README.md': (__file__, 'test_the_commands_of_the_readme_run'),
    'docs/evaluate.md': (__file__, 'test_commands_for_a_trained_model_run'),
    'docs/train.md': (__file__, 'test_commands_for_a_trained_model_run'),
    'docs/predict.md': (__file__, 'test_commands_for_a_trained_model_run'),
    'docs/monitoring.md': (__file__, 'test_commands_for_a_trained_model_run'),
    'docs/small_machines.md': (__file__, 'test_small_machines_train_as_the_page_says'),
}
# beginnings of commands: the test that runs them, or the script of CI
RUN = {
    'make': (__file__, 'test_every_target_of_make_exists'),
    'source .venv/bin/activate': ('Makefile', '.venv/bin/python:'),
    'oneformer doctor': ('tests/test_tools.py', 'test_doctor_names_the_attention_in_use'),
    'oneformer demo': ('tests/test_tools.py', "oneformer_cli.main(['demo'"),
    'oneformer test oneformer_efficientnet-lite0_quickstart': (
        'tests/test_tools.py',
        'test_the_token_matrix_scores_every_task_under_every_token',
    ),
    'oneformer serve FOLDER': ('tests/test_serving.py', "oneformer_cli.main(['serve'"),
    'python -m oneformer_runtime.serving FOLDER': (
        'tests/test_serving.py',
        "process('-m', 'oneformer_runtime.serving', folder",
    ),
    'curl ': ('tests/test_serving.py', 'test_the_lines_of_the_page_run'),
    'oneformer convert ': ('tests/test_weights.py', 'test_the_tools_take_every_file_directly'),
    'python tools/benchmark.py vit': (
        'tests/test_benchmark.py',
        'test_the_model_without_a_decoder_is_compared_with_eomt',
    ),
    'oneformer study vit': (
        'tests/test_study.py',
        'test_the_study_of_vision_transformers_scores_every_task_under_every_token',
    ),
    'oneformer study ablations': (
        'tests/test_ablations.py',
        'test_images_that_are_not_there_are_named',
    ),
    'oneformer study report': (
        'tests/test_ablations.py',
        'test_the_report_fills_the_page_between_its_markers',
    ),
    'oneformer replay': (
        'tests/test_finite_steps.py',
        'test_training_stops_after_some_in_a_row_and_a_step_can_be_replayed',
    ),
    'oneformer train CONFIG --work-dir DIR --resume': (
        'tests/test_resume.py',
        'test_nothing_to_resume_starts_anew',
    ),
    'oneformer page': ('tests/test_page.py', 'test_a_folder_holds_page_model_and_runtime'),
    'python -m http.server -d page': (
        'tests/test_page_in_browser.py',
        'by_a_plain_server_of_files',
    ),
    'oneformer completion': ('tests/test_commands.py', 'complet'),
    'tools/dist_train.sh': (
        'tests/test_launch.py',
        'test_dist_train_on_one_machine_takes_a_free_port',
    ),
    'tools/dist_test.sh': (
        'tests/test_launch.py',
        'test_dist_test_takes_its_nodes_from_the_environment',
    ),
    'python tools/gpu_check.py': ('tests/test_gpu_check.py', 'runs_to_its_verdict'),
    'oneformer train CONFIG --cfg-options model.panoptic_head.pixel_decoder.attention': (
        'tests/test_triton_attention.py',
        'test_the_option_is_checked_when_a_model_is_built',
    ),
    'oneformer predict IMAGE --model NAME --attention': (
        'tests/test_triton_attention.py',
        'test_predictions_take_the_path_that_is_asked_for',
    ),
    'python tools/benchmark.py attention': (
        'tests/test_benchmark_attention.py',
        'test_paths_take_turns_with_the_default',
    ),
    'oneformer export': ('tests/test_int8.py', 'test_int8_is_written_with_the_scores_of_both'),
    'oneformer predict street.jpg --weights exported': (
        'tests/test_openvino.py',
        'test_the_command_predicts_by_it',
    ),
    'python tools/benchmark.py deploy': (
        'tests/test_benchmark_deploy.py',
        'test_forms_are_compared_with_torch_and_hugging_face',
    ),
    'python tools/benchmark.py start': ('tests/test_benchmark.py', 'starts_are_timed'),
    'python tools/benchmark.py data': ('tests/test_benchmark.py', 'have_all_rows'),
    'python tools/benchmark.py metrics': ('tests/test_benchmark.py', 'have_all_rows'),
    'python tools/benchmark.py infer': ('tests/test_benchmark.py', 'keys_of_the_contract'),
    'python tools/benchmark.py train': ('tests/test_benchmark.py', 'keys_of_the_contract'),
    'python tools/benchmark.py jobs': ('tests/test_benchmark_jobs.py', 'compared_timed_and_drawn'),
    'python tools/benchmark.py growth': ('tests/test_benchmark_growth.py', 'work_is_measured'),
    'python tools/benchmark.py parity': ('tests/test_training_parity.py', 'a_difference_ends'),
    'python tools/benchmark.py before': ('tests/test_benchmark_before.py', 'timed_in_turn'),
    'python tools/benchmark.py same': ('tests/test_benchmark_same.py', 'is_named'),
}


@functools.cache
def parser_of(name):
    module = importlib.import_module(f'oneformer.commands.{oneformer_cli.COMMANDS[name][0]}')
    return module.make_parser(f'oneformer {name}')


def options_of(parser):
    """All options of a parser and of its sub-parsers."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {o for sub in action.choices.values() for o in sub._option_string_actions}
    return found


def command_of(tool):
    """The command that a file of tools/ stands for."""
    return re.match('"""``oneformer ([\\w-]+)``, from a checkout', tool.read_text())[1]


def own_words(command):
    """Name and arguments of a command of ours, whatever starts it; None for others."""
    words = list(command.words)
    if 'oneformer' in words:
        return words[words.index('oneformer') + 1 :]
    tool = next((w for w in words if re.match(r'tools/\w+\.py$', w)), None)
    if tool is None or tool in ('tools/benchmark.py', 'tools/gpu_check.py'):
        return None
    return [command_of(ROOT / tool), *words[words.index(tool) + 1 :]]


def stand_in(word):
    """A word to parse: a config that exists for one that a reader makes."""
    made = word.endswith('.py') and not word.startswith('configs/')
    return CHOICES['CONFIG'] if made else CHOICES.get(word, word)


def fault_of(command, capsys):
    """What is wrong with a command of ours, empty if nothing."""
    name, *words = own_words(command)
    if name.startswith('-'):
        return ''
    if name in CHOICES:
        name = CHOICES[name]
    if name not in oneformer_cli.COMMANDS:
        return f'no command {name}'
    parser = parser_of(name)
    wrong = {w for w in words if w.startswith('--')} - options_of(parser)
    if wrong:
        return f'no options {wrong}'
    if '...' in words or (not command.is_whole and (not words or words[0].startswith('-'))):
        return ''  # a part of a command, in a sentence
    try:
        values = vars(parser.parse_args([stand_in(word) for word in words]))
    except SystemExit:
        return capsys.readouterr().err.strip()
    for key in ('config', 'model', 'checkpoint'):
        value = str(values.get(key))
        if re.match(r'(configs/|your_data/|oneformer_)', value) and not (ROOT / value).is_file():
            find_config(value)
    return ''


def test_every_command_of_ours_parses_and_its_configs_exist(capsys):
    ours = [command for command in [*COMMANDS, *notebook_commands()] if own_words(command)]
    faults = {command.place: fault_of(command, capsys) for command in ours}
    assert len(ours) > 100
    assert not {place: fault for place, fault in faults.items() if fault}


def test_every_script_exists():
    scripts = {w for c in COMMANDS for w in c.words if re.match(r'(tools|docs)/\w+\.\w+$', w)}
    assert len(scripts) > 5
    assert not [script for script in scripts if not (ROOT / script).is_file()]


def test_every_command_is_run_or_says_what_it_needs():
    left = []
    for command in WHOLE:
        where = [place for start, place in RUN.items() if str(command).startswith(start)]
        if command.page in RUN_PAGES and own_words(command):
            where.append(RUN_PAGES[command.page])
        if not command.needs and not where:
            left.append(command.place)
    assert len(WHOLE) > 60
    assert not left


@pytest.mark.parametrize('file, name', sorted({*RUN.values(), *RUN_PAGES.values()}))
def test_what_is_said_to_run_a_command_exists(file, name):
    assert name in (ROOT / file).read_text()


def test_every_target_of_make_exists():
    targets = {command.words[1] for command in COMMANDS if command.words[0] == 'make'}
    assert {'setup', 'demo', 'test', 'docs', 'notebooks'} <= targets
    for target in targets:
        subprocess.run(['make', '-n', target], cwd=ROOT, check=True, capture_output=True)


def test_the_page_of_the_command_lists_all():
    table = re.findall(r'^\| `oneformer ([\w-]+)` \|', PAGES['docs/install.md'], re.M)
    assert sorted(table) == sorted(oneformer_cli.COMMANDS)


def test_tools_of_a_checkout_are_named_beside_their_commands():
    rows = re.findall(
        r'^\| `oneformer ([\w-]+)` \| `tools/(\w+\.py)` \|', PAGES['docs/install.md'], re.M
    )
    for name, tool in rows:
        assert command_of(ROOT / 'tools' / tool) == name
    scripts = {path.name for path in (ROOT / 'tools').glob('*.py')}
    assert {tool for _, tool in rows} == scripts - {'benchmark.py', 'gpu_check.py'}


# what is run here

WEIGHTS = 'work_dirs/mine/iter_1000.pth'  # of the README


def small(name, words):
    """The words with settings for a training of two iterations, and one process."""
    if name in ('train', 'test'):
        given = [] if '--cfg-options' in words else ['--cfg-options']
        return [*words, *given, *SMALL]
    return [*words, '--workers', '1'] if name in ('convert-labels', 'check') else words


def blocks_of(page):
    """Commands of ours in the blocks of a page that need nothing else."""
    return [own_words(c) for c in WHOLE if c.page == page and not c.needs and own_words(c)]


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder in which the commands of the README were run, on labels of YOLO, and their names."""
    folder = tmp_path_factory.mktemp('home')
    tools.write_yolo(folder / 'data/yolo')
    shutil.copytree(folder / 'data/yolo/images/train', folder / 'images')
    ran = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, *words in blocks_of('README.md'):
            if name in ('doctor', 'demo'):
                continue
            forget_runs()
            assert not oneformer_cli.main([name, *small(name, words)])
            ran.append(name)
            if name == 'train':
                (folder / 'work_dirs/mine/iter_2.pth').rename(folder / WEIGHTS)
    return folder, ran


@pytest.fixture
def trained(home, tmp_path):
    """A copy of that folder, with data and a model where the pages have them."""
    shutil.copytree(home[0], tmp_path, dirs_exist_ok=True)


def test_the_commands_of_the_readme_run(home):
    folder, ran = home
    assert ran == ['convert-labels', 'check', 'train', 'predict']
    assert list((folder / 'predictions/overlays').rglob('a.jpg'))


def test_commands_for_a_trained_model_run(trained, run_command, tmp_path, drawn_curves):
    """With the model of the README in place of those that the pages name."""
    named = dict(CONFIG='data/mine/config.py', CHECKPOINT=WEIGHTS, person='cat', car='dog')
    named['swin_l.pth'] = WEIGHTS
    (tmp_path / 'street/a').mkdir(parents=True)
    shutil.copy(tmp_path / 'images/a.jpg', tmp_path / 'street/a')
    ran = []
    for page in ('evaluate', 'train', 'predict', 'monitoring'):
        for name, *words in blocks_of(f'docs/{page}.md'):
            run_command(name, *small(name, [named.get(word, word) for word in words]))
            ran.append(name)
    assert {'test', 'check', 'browse', 'predict', 'curves'} <= set(ran)
    assert (tmp_path / 'metrics.json').is_file() and list((tmp_path / 'pictures').rglob('*.*'))
    assert (tmp_path / 'predictions/overlays/panoptic/a/a.jpg').is_file()


def test_the_python_lines_of_readme_and_pages_run(trained, tmp_path, monkeypatch):
    shutil.copy(tmp_path / 'images/a.jpg', tmp_path / 'street.jpg')
    shutil.copy(tmp_path / WEIGHTS, tmp_path / 'weights.pth')
    writer = cv2.VideoWriter(
        str(tmp_path / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5, (64, 48)
    )
    for _ in range(2):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    monkeypatch.chdir(tmp_path)
    for page in ('README.md', 'docs/predict.md', 'docs/deploy.md'):
        code = python_blocks(PAGES[page])[0]
        found = {}
        exec(code.replace("'oneformer_swin-l_ade20k'", "weights='weights.pth'"), found)
        assert found['prediction'].size in ((96, 128), (48, 64))


def test_every_block_of_python_is_python():
    for page, text in PAGES.items():
        for block in python_blocks(text):
            ast.parse(block.replace(', ...)', ')'), page)  # ... stands for what varies


def test_small_machines_train_as_the_page_says(run_command, tiny_set, config_dir, tmp_path):
    config = write_config(tmp_path / 'mine.py', config_dir, tiny_set, 1)
    for _, *words in blocks_of('docs/small_machines.md'):
        words = [str(config) if word == 'CONFIG' else word for word in words]
        printed = run_command('train', *words)
        assert 'Iter(train) [1/1]' in printed


# label formats


def write_flat_yolo(root):
    tools.write_yolo(root)
    (root / 'data.yaml').unlink()


def write_two_jsons(root):
    """One JSON an image, and a folder of the images."""
    content = coco_formats.coco()
    for name, image in zip('ab', content['images']):
        own = [a for a in content['annotations'] if a['image_id'] == image['id']]
        part = dict(content, images=[image], annotations=own)
        masks.write_json(root / f'{name}.json', part)
    coco_formats.write_images(root / 'images')


def write_crowds(root):
    masks.write_json(root / 'a.json', coco_formats.coco(masks=True))
    coco_formats.write_images(root)


def write_lvis(root):
    masks.write_lvis(root)
    (root / 'lvis_v1.json').rename(root / 'lvis_v1_train.json')


def write_voc_2012(root):
    mask_formats.write_lists(mask_formats.voc(root), train=['0'], val=['1'])


def write_suffixed_colors(root):
    mask_formats.color_set(root / 'set')
    for split in ('train', 'val'):
        for path in (root / f'set/{split}').glob('*.jpg'):
            mask = root / f'set/{split}annot/{path.stem}.png'
            for file, place in ((path, f'images/{path.name}'), (mask, f'gt/{path.stem}_L.png')):
                (root / place).parent.mkdir(exist_ok=True)
                file.rename(root / place)
    rows = [f'{name},{r},{g},{b}' for name, (r, g, b) in mask_formats.COLORS.items()]
    (root / 'colors.csv').write_text('\n'.join(['name,r,g,b', *rows]))
    shutil.rmtree(root / 'set')


# by an option or a part of the source: what writes such labels into the folder
WRITERS = {
    'data/flat': write_flat_yolo,
    '--crowds': write_crowds,
    '--ann-files': write_two_jsons,
    '--label-pngs': masks.write_both,
    'data/lvis_v1_train.json': write_lvis,
    'data/VOC2012': write_voc_2012,
    '--mask-suffix': write_suffixed_colors,
}


def test_every_conversion_of_the_formats_runs(run_command, tmp_path):
    ran = []
    for name, *words in blocks_of('docs/label_formats.md'):
        assert name == 'convert-labels'
        source = tmp_path / words[1]
        write = {**tools.WRITERS, **masks.WRITERS}[words[0]]
        for part, own in WRITERS.items():
            write = own if part in words else write
        folder = source.parent if source.suffix else source
        if words[0] == 'label_studio':
            folder.mkdir(exist_ok=True)
            tools.write_label_studio(tmp_path / 'data')
            (tmp_path / 'data/export.json').rename(source)
        else:
            write(folder)
        printed = run_command(name, *words, '--workers', 1)
        assert 'To train:' in printed
        ran.append(words[0])
        shutil.rmtree(tmp_path / 'data')
    assert len(ran) > 15
