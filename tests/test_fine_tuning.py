"""Training that starts from a checkpoint of other classes, and what it refuses."""

import copy
import functools
import http.server
import threading

import pytest
import torch
from dinat_peer import TINY
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.runner import CheckpointLoader

from oneformer.class_matching import match_classes
from oneformer.inference import OneFormerInferencer
from oneformer.metainfo import KNOWN_DATASETS, resolve_metainfo
from oneformer.weights import CheckpointError, Weights, fit, read, use_safe_loaders

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'
HEAD = ('panoptic_head.cls_embed.weight', 'panoptic_head.cls_embed.bias')
# of the five classes COCO has three: "sports ball", "sky-other-merged" and "grass-merged"
FIVE = """
_base_ = {base!r}
names = dict(
    classes=('crate', 'sports ball', 'Sky', 'buoy', 'grass'),
    thing_classes=('crate', 'sports ball', 'buoy'),
    aliases={{
        'ball': 'sports ball', 'sky': 'Sky', 'life ring': 'buoy',
        'starfish': None, 'water': None, 'brick wall': None,
    }},
)
model = dict(metainfo=dict(_delete_=True, **names), backbone=dict(pretrained=False))
data = dict(metainfo=dict(_delete_=True, **names), data_root={data!r})
train_dataloader = dict(batch_size=2, dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2)
work_dir = 'run'
"""


@pytest.fixture(scope='module')
def build(config_dir):
    """A tiny model with random weights; keyword arguments change its config."""

    def build(metainfo='coco', seed=0, **changes):
        cfg = Config.fromfile(config_dir / QUICKSTART)
        cfg.model.backbone.pretrained = False
        cfg.model.pop('metainfo')
        cfg.merge_from_dict({f'model.{name}': value for name, value in changes.items()})
        torch.manual_seed(seed)
        model = MODELS.build(dict(cfg.model, metainfo=metainfo))
        model.init_weights()
        return model

    return build


@pytest.fixture(scope='module')
def coco(build, tmp_path_factory):
    """A checkpoint of COCO's 133 classes."""
    path = tmp_path_factory.mktemp('coco') / 'coco.pth'
    meta = dict(dataset_meta=resolve_metainfo('coco'))
    torch.save(dict(meta=meta, state_dict=build(seed=7).state_dict()), path)
    return path


@pytest.fixture(scope='module')
def five(config_dir, tiny_set, tmp_path_factory):
    """A config of five classes."""
    path = tmp_path_factory.mktemp('config') / 'five.py'
    path.write_text(FIVE.format(base=str(config_dir / QUICKSTART), data=f'{tiny_set}/'))
    return path


@pytest.fixture
def train(run_tool, five, tmp_path):
    """Train a few iterations; returns what was printed, and the last checkpoint."""

    def train(*options, arguments=(), iterations=2):
        options = ['--cfg-options', f'train_cfg.max_iters={iterations}', *options]
        printed = run_tool('train', five, *arguments, *options)
        return printed, torch.load(tmp_path / f'run/iter_{iterations}.pth', weights_only=False)

    return train


def weights_of(path):
    return torch.load(path)['state_dict']


def test_rows_of_shared_classes_are_cocos_and_the_others_are_new(train, coco):
    still = 'optim_wrapper.optimizer.lr=0.0'
    fresh = train(still, iterations=1)[1]['state_dict']
    printed, started = train(still, f'load_from={coco}', iterations=1)
    source, started = weights_of(coco), started['state_dict']
    classes = KNOWN_DATASETS['coco']['classes']
    shared = {1: 'sports ball', 2: 'sky-other-merged', 4: 'grass-merged'}
    for key in HEAD:
        assert len(source[key]) == 134 and len(started[key]) == 6
        for label, name in shared.items():
            assert torch.equal(started[key][label], source[key][classes.index(name)])
            assert not torch.equal(started[key][label], fresh[key][label])
        assert torch.equal(started[key][-1], source[key][-1])
        assert torch.equal(started[key][[0, 3]], fresh[key][[0, 3]])
        for label in (0, 3):
            assert not any(torch.equal(started[key][label], row) for row in source[key])
    differing = [
        key for key in source if key not in HEAD and not torch.equal(source[key], started[key])
    ]
    # a backbone in training mode counts its batches
    assert all('running_' in key or 'num_batches' in key for key in differing)
    assert '3 of 5 classes re-used by name, 2 new, 130 of the 133 in the checkpoint' in printed
    for line in ('crate        - (new)', 'Sky          sky-other-merged', 'no object    no object'):
        assert line in printed


def test_fine_tuning_changes_what_it_started_from_and_goes_on(
    train, coco, five, run_tool, config_dir, tiny_set, tmp_path
):
    printed, tuned = train(f'load_from={coco}')
    assert '3 of 5 classes re-used by name' in printed
    assert tuned['meta']['iter'] == 2
    key = 'panoptic_head.query_embed.weight'
    moved = (tuned['state_dict'][key] - weights_of(coco)[key]).abs().max()
    assert 0 < moved < 0.1
    # resumed from a file that mmengine wrote, read safely, with its curves
    _, later = train(arguments=['--resume'], iterations=3)
    curves = [state['message_hub']['log_scalars']['train/loss'] for state in (tuned, later)]
    values = [curve.data[0].tolist() for curve in curves]
    assert len(values[0]) == 2 and len(values[1]) == 3 and values[1][:2] == values[0]
    assert later['optimizer']['state'][0]['step'] == 3
    # neither resumed nor tested with other classes
    other = config_dir / QUICKSTART
    message = (
        r"5 classes, the config has 8, [\s\S]*class 0 is 'crate' in the checkpoint, 'ball' in the "
        r'config[\s\S]*give it as load_from without --resume'
    )
    sets = [
        f'{loader}_dataloader.dataset.data_root={tiny_set}/' for loader in ('train', 'val', 'test')
    ]
    options = ['--cfg-options', *sets, 'model.backbone.pretrained=False']
    checkpoint = tmp_path / 'run/iter_2.pth'
    with pytest.raises(SystemExit, match=message):
        run_tool('train', other, '--work-dir', 'other', '--resume', checkpoint, *options)
    with pytest.raises(SystemExit, match=message):
        run_tool('test', other, checkpoint, *options)
    run_tool('test', five, checkpoint, '--tasks', 'semantic')
    # the converter takes it as it is: no dict of a config is left in it
    assert read(checkpoint).dataset_meta['aliases']['ball'] == 'sports ball'


def test_training_keeps_the_dilations_that_weights_do_not_tell(run_tool, five, tmp_path):
    def config(name, dilations):
        backbone = dict(TINY, dilations=dilations, _delete_=True)
        head = dict(in_channels=[16, 32, 64, 128])
        model = dict(backbone=backbone, panoptic_head=head)
        text = f'_base_ = {str(five)!r}\nmodel = {model}\ntrain_cfg = dict(max_iters=1)\n'
        (tmp_path / f'{name}.py').write_text(text)
        return tmp_path / f'{name}.py'

    trained, other = (
        config('trained', TINY['dilations']),
        config('other', [[2, 1], [1], [1, 1], [1]]),
    )
    run_tool('train', trained)
    weights = tmp_path / 'run/iter_1.pth'
    assert read(weights).backbone_options == dict(dilations=TINY['dilations'])
    OneFormerInferencer(weights=weights, device='cpu')
    OneFormerInferencer(str(trained), weights, 'cpu')
    message = r'dilations of the checkpoint are \[\[.*, but \[\[2, 1\]'
    with pytest.raises(ValueError, match=message):
        OneFormerInferencer(str(other), weights, 'cpu')
    with pytest.raises(SystemExit, match=message):
        run_tool('test', other, weights)
    # other crops may be fine-tuned on with other dilations, as the original does
    printed = run_tool('train', other, '--cfg-options', f'load_from={weights}', 'work_dir=other')
    assert 'dilations of the checkpoint are' in printed


def started(model, checkpoint, fresh=()):
    """Weights of a model that starts from a checkpoint, and the lines of the log."""
    fitted = fit(Weights.of(checkpoint, 'FILE'), model, 'start', fresh)
    model.load_state_dict(fitted.tensors, strict=True)
    return fitted.tensors, '\n'.join(fitted.lines)


def test_the_same_number_of_classes_in_another_order_is_remapped(build):
    classes = KNOWN_DATASETS['cityscapes']['classes']
    source = build('cityscapes')
    checkpoint = dict(
        meta=dict(dataset_meta=source.metainfo), state_dict=copy.deepcopy(source.state_dict())
    )
    target = build(dict(classes=classes[::-1], thing_classes=()), seed=1)
    weights, _ = started(target, checkpoint)
    for key in HEAD:
        assert torch.equal(weights[key][:-1], checkpoint['state_dict'][key][:-1].flip(0))
        assert torch.equal(weights[key][-1], checkpoint['state_dict'][key][-1])
    same, log = started(build('cityscapes', seed=1), checkpoint)
    assert all(torch.equal(same[key], checkpoint['state_dict'][key]) for key in HEAD)
    assert log == 'class head: all 19 classes are those of the checkpoint'


@pytest.mark.parametrize(
    ('source', 'target', 'expected'),
    [
        (['Traffic Light', 'car'], ['traffic_light', 'CAR '], [0, 1]),
        (['window', 'window '], ['window ', 'window'], [1, 0]),  # as written, before normalised
        (['sky', 'sky-other-merged'], ['sky'], [0]),  # the whole name before a part of it
        (['wall-other-merged', 'wall-brick'], ['wall', 'brick'], [0, None]),
        (['door-stuff', 'door-merged'], ['door'], [None]),  # either could be meant
        (['sidewalk, pavement'], ['pavement', 'sidewalk'], [0, 0]),
        (['counter'], ['counter', 'buffet, counter, sideboard'], [0, None]),
        (['person', 'automobile'], ['human', 'car'], [None, None]),
    ],
)
def test_classes_are_matched_by_the_strongest_name_they_share(source, target, expected):
    assert match_classes(dict(classes=source), dict(classes=target)) == expected


def test_aliases_of_either_side_are_names_too_in_their_order():
    source = dict(classes=['bus', 'truck', 'human'], aliases={'person': 'human', 'bike': None})
    target = dict(
        classes=['vehicle', 'person', 'bike'],
        aliases={'lorry': 'vehicle', 'truck': 'vehicle', 'bus': 'vehicle'},
    )
    assert match_classes(source, target) == [1, 2, None]


@pytest.mark.parametrize('name', list(KNOWN_DATASETS))
def test_every_class_of_a_known_dataset_is_itself(name):
    classes = KNOWN_DATASETS[name]['classes']
    assert match_classes(KNOWN_DATASETS[name], KNOWN_DATASETS[name]) == list(range(len(classes)))


def test_a_row_that_serves_several_classes_is_told(build):
    source = build(dict(classes=('sidewalk, pavement', 'car'), thing_classes=()))
    checkpoint = dict(meta=dict(dataset_meta=source.metainfo), state_dict=source.state_dict())
    target = build(dict(classes=('pavement', 'sidewalk', 'tram'), thing_classes=()), seed=1)
    weights, log = started(target, checkpoint)
    assert torch.equal(weights[HEAD[0]][0], weights[HEAD[0]][1])
    assert log.count('sidewalk, pavement (also for others)') == 2


@pytest.mark.parametrize(
    ('changes', 'tensor', 'advice'),
    [
        (
            {'panoptic_head.num_queries': 34},
            r'query_embed\.weight: \(34, 64\) in the checkpoint, \(30, 64\) in the model',
            r'model\.panoptic_head\.num_queries=34 model\.test_cfg\.max_per_image=34',
        ),
        (
            {'text_mapper.num_context': 6},
            r'context\.weight: \(6, 64\) in the checkpoint, \(4, 64\)',
            r'--cfg-options model\.text_mapper\.num_context=6\n',
        ),
        (
            {'panoptic_head.transformer_decoder.num_layers': 4},
            r'not in the model \(\d+\):\n  panoptic_head\.transformer_decoder\.layers\.3',
            r'model\.panoptic_head\.transformer_decoder\.num_layers=4\n',
        ),
        (
            {'panoptic_head.task_queries.feedforward_channels': 128},
            r'ffn\.layers\.0\.0\.bias: \(128,\)',
            r'model\.panoptic_head\.task_queries\.feedforward_channels=128\n',
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_option_to_change(build, changes, tensor, advice):
    other = build(**changes)
    with pytest.raises(CheckpointError, match=rf'{tensor}[\s\S]*{advice}'):
        started(build('cityscapes'), dict(state_dict=other.state_dict()))


def test_queries_of_another_number_start_afresh_if_the_config_says_so(build):
    checkpoint = dict(state_dict=build(**{'panoptic_head.num_queries': 34}).state_dict())
    target, key = build('cityscapes', seed=1), 'panoptic_head.query_embed.weight'
    own = target.state_dict()[key].clone()
    weights, log = started(target, checkpoint, fresh=['panoptic_head.query_embed.'])
    assert torch.equal(weights[key], own)
    assert 'newly initialised as the config says: panoptic_head.query_embed.' in log
    weights, _ = started(target, checkpoint, fresh=['panoptic_head.'])
    assert all(torch.equal(weights[key], target.state_dict()[key]) for key in HEAD)
    backbone = [key for key in weights if key.startswith('backbone.')]
    assert all(torch.equal(weights[key], checkpoint['state_dict'][key]) for key in backbone)
    with pytest.raises(ValueError, match=r"no tensor begins with: \['query_embed'\]"):
        started(target, checkpoint, fresh=['query_embed'])


def test_the_nuclei_start_from_the_weights_of_the_demo(config_dir):
    demo, nuclei = (
        Config.fromfile(config_dir / f'oneformer_efficientnet-lite0_{name}.py')
        for name in ('quickstart', 'nuclei')
    )
    for cfg in (demo, nuclei):
        cfg.model.backbone.pretrained = False
    source, target = MODELS.build(demo.model), MODELS.build(nuclei.model)
    checkpoint = dict(meta=dict(dataset_meta=source.metainfo), state_dict=source.state_dict())
    _, log = started(target, checkpoint, nuclei.default_hooks.weights.fresh)
    assert '0 of 4 classes re-used by name, 4 new' in log


def test_texts_of_another_length_have_to_start_afresh(build):
    weights = dict(build().state_dict())
    key = 'text_mapper.text_encoder.positional_embedding'
    weights[key] = weights[key][:52]
    with pytest.raises(
        CheckpointError, match=r'\(52, 64\)[\s\S]*fresh=\[text_mapper\.,contrastive_loss\.\]'
    ):
        started(build('cityscapes'), dict(state_dict=weights))


def test_another_backbone_is_named(build):
    weights = dict(build().state_dict())
    key = 'backbone.stem.0.weight'
    key = key if key in weights else next(name for name in weights if name.startswith('backbone.'))
    del weights[key]
    with pytest.raises(CheckpointError, match=rf'missing[\s\S]*{key}[\s\S]*set model\.backbone'):
        started(build('cityscapes'), dict(state_dict=weights))


def test_a_missing_text_branch_is_new_and_one_too_many_is_left_out(build):
    source, target = build(seed=3), build(seed=4)
    text = [key for key in source.state_dict() if key.startswith('text_mapper.')]
    bare = {
        key: value
        for key, value in source.state_dict().items()
        if not key.startswith(('text_mapper.', 'contrastive_loss.'))
    }
    weights, log = started(target, dict(state_dict=bare))
    assert text and all(torch.equal(weights[key], target.state_dict()[key]) for key in text)
    assert 'text branch: not in the checkpoint, newly initialised' in log
    without = build(text_mapper=None, contrastive_loss=None)
    assert 'text branch: left out' in started(without, dict(state_dict=source.state_dict()))[1]


def test_classes_that_a_checkpoint_does_not_name_are_told_by_their_number(build):
    weights = build('coco').state_dict()
    ball = build(dict(classes=('sports ball', 'kiwi'), thing_classes=()), seed=1)
    rows, _ = started(ball, dict(state_dict=weights))
    label = KNOWN_DATASETS['coco']['classes'].index('sports ball')
    assert torch.equal(rows[HEAD[1]][0], weights[HEAD[1]][label])
    with pytest.raises(
        ValueError, match=r'does not name its 2 classes.*fresh=\[panoptic_head\.cls_embed\.\]'
    ):
        started(build('coco'), dict(state_dict=ball.state_dict()))
    named = dict(meta=dict(dataset_meta=dict(classes=('a',))), state_dict=ball.state_dict())
    with pytest.raises(ValueError, match='has 2 classes, but its meta.dataset_meta names 1'):
        started(build('coco'), named)


def test_a_backbone_alone_is_not_a_start_and_what_is_known_is_told(build):
    hint = r"init_cfg=dict\(type='PretrainedBackbone', checkpoint='FILE'\)"
    with pytest.raises(CheckpointError, match=rf'FILE is .* a backbone \(ResNet of t[\s\S]*{hint}'):
        started(build(), {'layer1.0.conv1.weight': torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r'no backbone is recognised of .* conv9\.weight'):
        started(build(), {'conv9.weight': torch.zeros(3)})


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.fixture
def malicious(coco, tmp_path):
    """A checkpoint that fits, and runs code; and the file that this code writes."""
    trace = tmp_path / 'trace'
    checkpoint = torch.load(coco)
    checkpoint['meta']['note'] = Malicious(trace)
    torch.save(checkpoint, tmp_path / 'malicious.pth')
    return tmp_path / 'malicious.pth', trace


def test_a_pickle_that_runs_code_does_not_unless_it_is_trusted(train, run_tool, five, malicious):
    path, trace = malicious
    refused = 'malicious.pth is broken, or .* --trust-pickle'
    with pytest.raises(SystemExit, match=refused):
        train(f'load_from={path}')
    with pytest.raises(SystemExit, match=refused):
        run_tool('test', five, path)
    assert not trace.exists()
    try:
        printed, _ = train(f'load_from={path}', arguments=['--trust-pickle'], iterations=1)
    finally:
        use_safe_loaders()
    assert trace.exists() and '3 of 5 classes re-used' in printed


def test_downloads_are_read_safely_too(malicious, coco, monkeypatch, tmp_path):
    use_safe_loaders()
    path, trace = malicious
    (tmp_path / 'good.pth').write_bytes(coco.read_bytes())
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        loaded = CheckpointLoader.load_checkpoint(f'{address}/good.pth', map_location='cpu')
        with pytest.raises(ValueError, match='--trust-pickle'):
            CheckpointLoader.load_checkpoint(f'{address}/{path.name}')
        server.shutdown()
    assert torch.equal(loaded['state_dict'][HEAD[1]], weights_of(coco)[HEAD[1]])
    assert not trace.exists()


def test_dicts_of_a_config_in_older_checkpoints_become_plain(tmp_path):
    use_safe_loaders()
    path = tmp_path / 'older.pth'
    names = ConfigDict(classes=('cat',), aliases=dict(kitty='cat'))
    torch.save(dict(meta=dict(dataset_meta=names)), path)
    loaded = CheckpointLoader.load_checkpoint(str(path))['meta']['dataset_meta']
    assert loaded == names and type(loaded) is type(loaded['aliases']) is dict
