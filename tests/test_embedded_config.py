"""The config that a checkpoint of training holds decides predictions, and is never run."""

import sys

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from oneformer.inference import OneFormerInferencer, settings, task_choice
from oneformer.inference.settings import read_settings
from oneformer.tasks import TASKS
from oneformer.weights import Weights, classes, writing
from oneformer.weights import settings as compared
from oneformer.weights.embedded_config import parse_config

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'
STEPS = [
    dict(type='LoadPhoto'),
    dict(type='ResizeShortEdge', short_edges=[64], max_size=96),
    dict(type='LoadSegmentMap'),
    dict(type='PackSegmentInputs'),
]
LEFT_OUT = ('criterion', 'text_mapper', 'contrastive_loss', 'init_cfg', 'pretrained')


@pytest.fixture
def told(monkeypatch):
    """What is logged."""
    lines = []
    for module in (classes, settings, task_choice, compared):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: lines.append(text))
    return lines


@pytest.fixture(scope='module')
def cfg(config_dir):
    """A small model with a test size, thresholds and tasks that no known dataset has."""
    cfg = Config.fromfile(config_dir / QUICKSTART, format_python_code=False)
    cfg.test_dataloader.dataset.pipeline = STEPS
    cfg.model.test_cfg.update(object_mask_thr=0.3, max_per_image=7, tasks=('instance', 'semantic'))
    cfg.model.test_cfg.window = dict(size=64, overlap=32)
    cfg.model.data_preprocessor.mean = [1.0, 2.0, 3.0]
    return cfg


@pytest.fixture(scope='module')
def state(cfg):
    """Weights of that model, and its classes."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    return model.state_dict(), dict(dataset_meta=model.metainfo)


@pytest.fixture
def checkpoint(state, tmp_path):
    """Write a checkpoint that holds a text, a config, or nothing."""

    def write(held=None, weights=state[0]):
        meta = dict(state[1], **({} if held is None else dict(cfg=held)))
        torch.save(dict(state_dict=weights, meta=meta), tmp_path / 'iter_9.pth')
        return tmp_path / 'iter_9.pth'

    return write


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in LEFT_OUT}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.usefixtures('formatted_configs')
def test_shipped_configs_are_read_back_as_data(config_dir):
    paths = [p for p in sorted(config_dir.rglob('*.py')) if '_base_' not in p.parts]
    assert len(paths) > 40
    for path in paths[::4]:
        given = Config.fromfile(path, format_python_code=False)
        own, expected = read_settings(parse_config(given.pretty_text)), read_settings(given)
        assert plain(own.model) == plain(expected.model), path
        assert plain(own.pipeline) == plain(expected.pipeline) and own.tasks == expected.tasks


def test_weights_alone_predict_as_they_were_trained(cfg, checkpoint, told):
    held = Config(dict(cfg))
    url = dict(type='PretrainedBackbone', checkpoint='http://127.0.0.1:1/x.pth')
    held.model = dict(cfg.model, backbone=dict(cfg.model.backbone, init_cfg=url))
    inferencer = OneFormerInferencer(None, checkpoint(held.pretty_text), 'cpu')
    resize = inferencer.transform.transforms[0]
    assert (resize.short_edges, resize.max_size) == ([64], 96)
    assert inferencer.tasks == ('instance', 'semantic')
    assert inferencer.model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    wanted = dict(object_mask_thr=0.3, max_per_image=7, window=dict(size=64, overlap=32))
    assert wanted.items() <= inferencer.model.test_cfg.items()
    assert [line for line in told if 'no config is given: the settings are those of the' in line]
    assert 'ResizeShortEdge(max_size=96, short_edges=[64]); iou_thr 0.8, max_per_image 7' in told[0]

    told.clear()
    (prediction,) = inferencer(np.zeros((48, 48, 3), np.uint8), progress=False)
    assert prediction.semantic_map is not None and prediction.panoptic_map is None
    assert len(told) == 1 and 'tasks: instance, semantic, as model.test_cfg.tasks' in told[0]
    told.clear()
    inferencer(np.zeros((48, 48, 3), np.uint8), tasks=['panoptic', 'semantic'], progress=False)
    assert len(told) == 1 and 'tasks: panoptic is asked for, but' in told[0]


def test_a_given_config_counts_and_what_it_changes_is_told(cfg, checkpoint, config_dir, told):
    path = checkpoint(cfg.pretty_text)
    assert OneFormerInferencer(cfg, path, 'cpu').tasks == ('instance', 'semantic') and not told
    assert OneFormerInferencer(str(config_dir / QUICKSTART), path, 'cpu').tasks == TASKS
    (line,) = told
    for difference in (
        'test pipeline: LoadPhoto(), ResizeShortEdge(max_size=96, short_edges=[64]) in the '
        'checkpoint, LoadPhoto(), ResizeShortEdge(max_size=320, short_edges=[160]) in the config',
        'model.test_cfg.object_mask_thr: 0.3 in the checkpoint, 0.8 in the config',
        'model.test_cfg.max_per_image: 7 in the checkpoint, 100 in the config',
        "'size': 64} in the checkpoint, None in the config",
        'model.data_preprocessor.mean: [1.0, 2.0, 3.0] in the checkpoint, [127.0, 127.0, 127.0] in',
    ):
        assert difference in line
    assert 'iou_thr' not in line and 'std' not in line
    renamed = Config(dict(cfg))
    metainfo = dict(classes=[*'abcdefgh'], thing_classes=['a'])
    renamed.model = dict(cfg.model, metainfo=metainfo)
    told.clear()
    inferencer = OneFormerInferencer(renamed, path, 'cpu')
    assert inferencer.dataset_meta['classes'][0] == 'ball'
    assert "class 0 is 'ball' in the checkpoint, 'a' in the config" in told[0]


def test_transforms_may_be_those_of_validation_or_of_a_wrapped_set(cfg):
    own = Config(dict(cfg))
    own.test_dataloader = None
    inner = dict(pipeline=STEPS[:2], orientation='upright', value_range=(0, 4095))
    own.val_dataloader = dict(dataset=dict(type='X', dataset=inner, orientation='stored'))
    own.data_preprocessor = own.model.pop('data_preprocessor')  # mmengine takes it from there, too
    read = parse_config(own.pretty_text)
    loader = dict(type='LoadPhoto', orientation='stored', value_range=[0, 4095])
    assert plain(read_settings(read).pipeline) == plain([loader, STEPS[1]])
    assert read.model.data_preprocessor.mean == [1.0, 2.0, 3.0]


def test_names_as_configs_in_pure_python_have_them(cfg):
    text = cfg.pretty_text.replace(
        "type='OneFormer'", "type='oneformer.models.oneformer.OneFormer'"
    ).replace("type='ReLU'", "type='torch.nn.modules.activation.ReLU'")
    assert 'oneformer.models.oneformer.OneFormer' in text and 'activation.ReLU' in text
    assert parse_config(text).model.type == 'OneFormer'


def test_a_checkpoint_without_config_is_guessed_or_refused(checkpoint, told, config_dir):
    with pytest.raises(ValueError, match=r'architecture of .*iter_9\.pth cannot .*give the config'):
        OneFormerInferencer(None, checkpoint(), 'cpu')
    inferencer = OneFormerInferencer(str(config_dir / QUICKSTART), checkpoint(), 'cpu')
    assert inferencer.tasks == TASKS and not told


HOSTILE = {
    "model = __import__('os').system('touch TRACE')": r'__import__.*, not a plain value',
    "import os\nos.system('touch TRACE')\nMODEL": r'line 1 is `import os`, not NAME = VALUE',
    "open('TRACE', 'w')\nMODEL": r'line 1 is `open.*, not NAME = VALUE',
    "MODEL.replace(type=[open('TRACE', 'w')])": r'model is `dict.*, not a plain value',
    'model = dict(type=(lambda: 1)())': r'model\.type is `\(lambda: 1\)\(\)`',
    "model = dict(type=f'{1}')": r'model\.type is `f',
    'model = dict(**globals())': r'model is `dict\(\*\*globals\(\)\)`',
    'x = 1\nmodel = dict(type=x)': r'model\.type is `x`, not a plain value',
    'model = [x for x in ()]': r'model is `\[x for x in \(\)\]`',
    'model = dict(a={[]: 1})': r'model(\.a)? cannot be a value',
    "model = dict(type='os.system', command='touch TRACE')": r"model\.type is 'os\.system', which",
    "model = dict(type='evil.OneFormer')": r"model\.type is 'evil\.OneFormer', which is not among",
    "model = dict(type='BertModel')": r"model\.type is 'BertModel', which is not among",
    "model = dict(type='OneFormer', backbone=dict(type='torch.load'))": r"is 'torch\.load', which",
    "model = dict(type='OneFormer', _scope_='evil')": r"model\._scope_ is 'evil', not mmdet",
    "model = dict(type='OneFormer')": r'has no transforms in test_dataloader',
    'model = 5': 'its model is not a dict',
    'x = 1': 'it has no model',
    'model = (': 'it is not plain Python',
    'model = ' + '[' * 100000: 'it is not plain Python',
    'model = ' + '-' * 100000 + '1': r'it is not plain Python|not a plain value',
    '#' * (1 << 21): 'it has 2097152 letters',
    'MODEL.': 'it is not plain Python',
    "MODEL\ntest_dataloader = dict(dataset=dict(pipeline=[dict(type='Albu')]))": "type is 'Albu'",
    "MODEL\nval_dataloader = {'dataset': dict(pipeline=[dict(type='os.exec')])}": r'type is .os\.',
    'MODEL\ntest_dataloader = dict(dataset=dict(pipeline=[open]))': 'pipeline.0. is `open`, not a',
    'MODEL\ntest_dataloader = dict(dataset=dict(pipeline=[]))': 'has no transforms',
    'TASKS = 5': r'test_cfg\.tasks of the config of its training .* is 5, not a list of tasks',
    "TASKS = ['depth']": 'depth',
    'QUERIES = "many"': r'no model can be built as .*iter_9\.pth says \(\w+Error',
}


@pytest.mark.parametrize('text', HOSTILE)
def test_a_hostile_config_is_refused_and_not_run(text, cfg, checkpoint, tmp_path):
    message = HOSTILE[text]
    own = Config(dict(cfg))
    own.model = dict(cfg.model)
    if text.startswith('TASKS'):
        own.model.test_cfg = dict(own.model.test_cfg, tasks=eval(text[8:]))
        text = own.pretty_text
    elif text.startswith('QUERIES'):
        own.model.panoptic_head = dict(own.model.panoptic_head, num_queries='many')
        text = own.pretty_text
    elif 'MODEL' in text:
        own = Config(dict(model=own.model))
        text = text.replace('MODEL', own.pretty_text.rstrip())
    trace = tmp_path / 'trace'
    text = text.replace('TRACE', str(trace))
    with pytest.raises(ValueError, match=message) as refused:
        OneFormerInferencer(None, checkpoint(text), 'cpu')
    assert 'ive a config (--model)' in str(refused.value) or 'give the config' in str(refused.value)
    assert not trace.exists()


@pytest.mark.parametrize('held', [['model = 1'], b'model = 1', 5, dict(model=1)])
def test_what_is_not_text_is_not_a_config(held, checkpoint):
    with pytest.raises(ValueError, match=rf'it is a {type(held).__name__}, not a text'):
        OneFormerInferencer(None, checkpoint(held), 'cpu')


def test_modules_and_files_that_a_config_names_are_left_alone(
    cfg, checkpoint, tmp_path, monkeypatch, told
):
    (tmp_path / 'evil_plugin.py').write_text(f'open({str(tmp_path / "trace")!r}, "w")')
    monkeypatch.syspath_prepend(tmp_path)
    own = Config(dict(cfg))
    own.custom_imports = dict(imports=['evil_plugin'])
    own.load_from = str(tmp_path / 'nowhere.pth')
    own.model = dict(
        cfg.model,
        criterion=dict(type='os.system', command='exit'),
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'nowhere.pth')),
    )
    OneFormerInferencer(None, checkpoint(own.pretty_text), 'cpu')
    assert 'evil_plugin' not in sys.modules and not (tmp_path / 'trace').exists()
    # a given config is the user's word; the one of the checkpoint is not even compared
    told.clear()
    OneFormerInferencer(cfg, checkpoint('import os'), 'cpu')
    assert 'not compared with the given config: the config of its training' in told[0]


@pytest.mark.usefixtures('formatted_configs')
def test_the_small_model_of_our_own_demo_goes_from_training_to_prediction(
    run_tool, config_dir, tiny_set, tmp_path
):
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    data = [f'{loader}.dataset.data_root={tiny_set}/' for loader in loaders]
    options = ['--cfg-options', *data, 'model.backbone.pretrained=False']
    run_tool(
        'train', config_dir / QUICKSTART, '--work-dir', 'run', *options, 'train_cfg.max_iters=1',
        'train_dataloader.batch_size=2', 'model.test_cfg.object_mask_thr=0.1',
    )  # fmt: skip
    weights, image = tmp_path / 'run/iter_1.pth', next((tiny_set / 'val').glob('*.jpg'))
    printed = run_tool('predict', image, '--weights', weights, '--device', 'cpu')
    assert 'ResizeShortEdge(max_size=320, short_edges=[160]); iou_thr 0.8' in printed
    assert 'object_mask_thr 0.1' in printed and (tmp_path / 'predictions/panoptic.json').exists()
    printed = run_tool('test', config_dir / QUICKSTART, weights, *options, '--tasks', 'semantic')
    assert 'model.test_cfg.object_mask_thr: 0.1 in the checkpoint, 0.8 in the config' in printed


def test_what_other_libraries_have_no_place_for_is_told_when_converting(cfg):
    notes = writing._left_behind(Weights({}, 'FILE', config_text=cfg.pretty_text), 'huggingface')
    assert (
        len(notes) == 1 and 'huggingface has no place for it: trained for LoadPhoto()' in notes[0]
    )
    assert 'object_mask_thr 0.3' in notes[0]
    (note,) = writing._left_behind(Weights({}, 'FILE', config_text='import os'), 'shi-labs')
    assert 'cannot be used: line 1 is `import os`' in note
    assert writing._left_behind(Weights({}, 'FILE'), 'shi-labs') == []
    assert writing._left_behind(Weights({}, 'FILE', config_text='import os'), 'plugin') == []
