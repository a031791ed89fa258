"""Weights of anybody go into every use, or are refused by one sentence that says what to do."""

import itertools
import json
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
from converting import convert
from dinat_peer import TINY
from eomt_peer import build_peer, weights_of
from interrupted import CONFIG
from mmdet.apis import init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from weight_server import WeightServer, empty_caches, write_zoo

from oneformer.checkpoint_names import EARLIER, MARKS
from oneformer.host.sharding import gather_parts
from oneformer.host.unpickling import TORCH_TAKES_NAMES
from oneformer.inference import OneFormerInferencer
from oneformer.weights import (
    CheckpointError,
    Fit,
    ReuseWeights,
    Weights,
    fit,
    read,
    use_safe_loaders,
)
from oneformer.weights.names import LAYOUTS
from oneformer.weights.rules import rebuilt_by_us

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = {
    'ResNet': dict(
        type='ResNet',
        depth=50,
        base_channels=4,
        stem_channels=8,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
    ),
    'Swin': dict(
        type='OneFormerSwinTransformer',
        embed_dims=8,
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 2, 4),
        window_size=4,
        out_indices=(0, 1, 2, 3),
    ),
    'ConvNeXt': dict(
        type='mmpretrain.ConvNeXt',
        arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 32, 64]),
        out_indices=[0, 1, 2, 3],
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
    ),
    'DiNAT': dict(TINY, embed_dims=8, num_heads=[1, 2, 2, 4]),
}
CHANNELS = {'ResNet': [16, 32, 64, 128]}
STILL = ('optim_wrapper.optimizer.lr=0.0', 'train_cfg.max_iters=1')


@pytest.fixture(scope='session')
def models(config_dir, tiny_set, tmp_path_factory):
    """Path of a config and of a checkpoint for inference, by backbone."""
    made, folder = {}, tmp_path_factory.mktemp('weights')
    base = str(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    for seed, (name, backbone) in enumerate(BACKBONES.items()):
        more = (
            f'model.update(backbone=dict({backbone!r}, _delete_=True))\n'
            f'model["panoptic_head"]["in_channels"] = {CHANNELS.get(name, [8, 16, 32, 64])}\n'
            'model["criterion"] = dict(num_points=64)\n'
            'for loader in (train_dataloader, val_dataloader):\n'
            '    loader.update(num_workers=0, persistent_workers=False)\n'
        )
        text = CONFIG.format(base=base, data_root=f'{tiny_set}/', iters=1)
        (folder / f'{name}.py').write_text(text + more)
        torch.manual_seed(seed)
        model = MODELS.build(Config.fromfile(folder / f'{name}.py').model)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.1)
        meta = dict(dataset_meta=model.metainfo, backbone={})
        torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / f'{name}.pth')
        made[name] = folder / f'{name}.py', folder / f'{name}.pth'
    return made


def shi_labs(config, ours, folder):
    convert(ours, folder / 'original.pth', 'shi-labs', config=config)
    return folder / 'original.pth'


def detectron2_pickle(config, ours, folder):
    tensors = torch.load(shi_labs(config, ours, folder))['model']
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    (folder / 'original.pkl').write_bytes(pickle.dumps(dict(model=arrays, __author__='me')))
    return folder / 'original.pkl'


def hugging_face(config, ours, folder):
    convert(ours, folder / 'peer', 'huggingface', config=config)
    return folder / 'peer'


def hugging_face_bin(config, ours, folder):
    from safetensors.torch import load_file

    peer = hugging_face(config, ours, folder)
    torch.save(load_file(peer / 'model.safetensors'), peer / 'pytorch_model.bin')
    (peer / 'model.safetensors').unlink()
    return peer


def hugging_face_shards(config, ours, folder, name='model.safetensors', save=None):
    from safetensors.torch import load_file, save_file

    peer = hugging_face(config, ours, folder)
    tensors = load_file(peer / 'model.safetensors')
    stem, _, ending = name.partition('.')
    parts = {f'{stem}-0000{n + 1}-of-00002.{ending}': list(tensors)[n::2] for n in range(2)}
    for part, keys in parts.items():
        (save or save_file)({key: tensors[key] for key in keys}, peer / part)
    index = dict(weight_map={key: part for part, keys in parts.items() for key in keys})
    (peer / f'{name}.index.json').write_text(json.dumps(index))
    (peer / 'model.safetensors').unlink()
    return peer


def hugging_face_shards_of_bin(config, ours, folder):
    return hugging_face_shards(config, ours, folder, 'pytorch_model.bin', torch.save)


def several_processes(config, ours, folder):
    content = torch.load(ours, weights_only=False)
    content['state_dict'] = {f'module.{k}': v for k, v in content['state_dict'].items()}
    torch.save(content, folder / 'parallel.pth')
    return folder / 'parallel.pth'


def earlier(config, ours, folder):
    """By the names that our first trainings have."""
    content = torch.load(ours, weights_only=False)
    for old, new in EARLIER.items():
        content['state_dict'] = {k.replace(new, old): v for k, v in content['state_dict'].items()}
    torch.save(content, folder / 'earlier.pth')
    return folder / 'earlier.pth'


def inference(config, ours, folder):
    return ours


FORMATS = {
    'original .pth': shi_labs,
    'original .pkl': detectron2_pickle,
    'Hugging Face safetensors': hugging_face,
    'Hugging Face bin': hugging_face_bin,
    'Hugging Face shards': hugging_face_shards,
    'Hugging Face shards of bin': hugging_face_shards_of_bin,
    'ours for inference': inference,
    'ours of several processes': several_processes,
    'ours of earlier names': earlier,
}
TABLE = [
    (kind, backbone)
    for kind in FORMATS
    for backbone in BACKBONES
    if 'Hugging Face' not in kind or backbone in ('Swin', 'DiNAT')
]


def trust_of(kind):
    return ['--trust-pickle'] if kind.endswith('.pkl') else []


def state_of(ours):
    return torch.load(ours)['state_dict']


def assert_state(tensors, expected):
    assert tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensors[key], tensor), key


@pytest.mark.parametrize(('kind', 'backbone'), TABLE)
def test_every_file_gives_our_tensors_to_every_use(kind, backbone, models, tmp_path):
    config, ours = models[backbone]
    source = FORMATS[kind](config, ours, tmp_path)
    if trust := bool(trust_of(kind)):
        with pytest.raises(CheckpointError, match='give --trust-pickle, or trust_pickle=True'):
            read(source)
    weights, expected = read(source, trust), state_of(ours)
    cfg = Config.fromfile(config)
    torch.manual_seed(100)
    for how in ('exact', 'start'):
        assert_state(fit(weights, MODELS.build(cfg.model), how).tensors, expected)
    head = dict(cfg.model, text_mapper=None, contrastive_loss=None)
    model = MODELS.build(head)
    model.load_state_dict(fit(weights, model, 'predict').tensors)
    assert_state(model.state_dict(), {key: expected[key] for key in model.state_dict()})
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(source), trust_pickle=trust)
    alone = MODELS.build(dict(cfg.model.backbone, init_cfg=init_cfg))
    alone.init_weights()
    inside = {k.removeprefix('backbone.'): v for k, v in expected.items() if 'backbone.' in k}
    assert_state(alone.state_dict(), inside)


def uses_of(source, config, ours, tmp_path, run_tool, trust=()):
    """Fit, predict, test and train from a source, which has the weights of ``ours``."""
    weights = read(source, bool(trust))
    for how in ('exact', 'start'):
        model = MODELS.build(Config.fromfile(config).model)
        assert_state(fit(weights, model, how).tensors, state_of(ours))
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    predictions = [
        OneFormerInferencer(str(config), path, 'cpu', bool(trust))(
            image, tasks=['semantic'], progress=False
        )[0]
        for path in (source, ours)
    ]
    assert np.array_equal(predictions[0].semantic_map, predictions[1].semantic_map)
    printed = [
        re.findall(
            r'^semantic/.*', run_tool('test', config, path, '--tasks', 'semantic', *trust), re.M
        )
        for path in (source, ours)
    ]
    assert printed[0] == printed[1] != []
    options = ['--cfg-options', *STILL, f'load_from={source}', 'work_dir=run']
    assert 'all 8 classes are those of the checkpoint' in run_tool(
        'train', config, *trust, *options
    )
    trained = torch.load(tmp_path / 'run/iter_1.pth', weights_only=False)['state_dict']
    assert_state(trained, state_of(ours))
    no_training = r'training cannot go on from it: start from its weights, by load_from without'
    with pytest.raises(SystemExit, match=no_training):
        run_tool('train', config, *trust, '--work-dir', 'other', '--resume', source)


ONE_EACH = {
    'original .pth': 'ResNet',
    'original .pkl': 'ConvNeXt',
    'Hugging Face safetensors': 'DiNAT',
    'Hugging Face bin': 'Swin',
    'Hugging Face shards': 'Swin',
    'Hugging Face shards of bin': 'DiNAT',
    'ours for inference': 'ConvNeXt',
    'ours of several processes': 'Swin',
    'ours of earlier names': 'ResNet',
}


@pytest.mark.parametrize('kind', FORMATS)
def test_the_tools_take_every_file_directly(kind, models, tmp_path, run_tool):
    config, ours = models[ONE_EACH[kind]]
    source, trust = FORMATS[kind](config, ours, tmp_path), trust_of(kind)
    if trust:
        with pytest.raises(SystemExit, match='error: .*original.pkl is broken, .*--trust-pickle'):
            run_tool('test', config, source, '--tasks', 'semantic')
        with pytest.raises(CheckpointError, match='trust_pickle=True'):
            OneFormerInferencer(str(config), source, 'cpu')
    uses_of(source, config, ours, tmp_path, run_tool, trust)


def test_our_checkpoint_of_training_goes_on_and_into_every_use(models, tmp_path, run_tool):
    config, ours = models['DiNAT']
    run_tool('train', config, '--cfg-options', *STILL, f'load_from={ours}', 'work_dir=run')
    trained = tmp_path / 'run/iter_1.pth'
    expected = state_of(ours)
    assert read(trained).backbone_options == dict(dilations=TINY['dilations'])
    for how in ('exact', 'start'):
        model = MODELS.build(Config.fromfile(config).model)
        assert_state(fit(read(trained), model, how).tensors, expected)
    assert OneFormerInferencer(weights=trained, device='cpu').model.num_classes == 8
    run_tool('test', config, trained, '--tasks', 'semantic')
    # by other names, too, with the state of its optimizer
    others = [change(config, trained, tmp_path) for change in (earlier, several_processes)]
    for path in (trained, *others):
        options = ['--cfg-options', 'train_cfg.max_iters=2', 'optim_wrapper.optimizer.lr=0.0']
        run_tool('train', config, '--work-dir', 'more', '--resume', path, *options)
        later = torch.load(tmp_path / 'more/iter_2.pth', weights_only=False)
        assert later['meta']['iter'] == 2 and later['optimizer']['state'][0]['step'] == 2
        assert_state(later['state_dict'], expected)


def test_a_model_in_parts_takes_and_gives_whole_weights(models, tmp_path):
    """As ``FullyShardStrategy`` keeps and saves it, in one process."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    config, ours = models['Swin']
    cfg = Config.fromfile(config)
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = dist.init_device_mesh('cpu', (1,))
        model = fully_shard(MODELS.build(cfg.model), mesh=mesh)
        assert isinstance(next(model.parameters()), DTensor)
        for how in ('exact', 'start'):
            assert_state(fit(read(ours), model, how).tensors, state_of(ours))
        fresh = fit(read(ours), model, 'start', ['panoptic_head.query_embed.'])
        assert fresh.fresh == ['panoptic_head.query_embed.weight']
        parts = dict(model.state_dict())
        torch.save(dict(state_dict=gather_parts(parts)), tmp_path / 'parts.pth')
        expected = {key: getattr(v, 'full_tensor', lambda v=v: v)() for key, v in parts.items()}
    finally:
        dist.destroy_process_group()
    whole = MODELS.build(cfg.model)
    assert_state(fit(read(tmp_path / 'parts.pth'), whole, 'exact').tensors, expected)


REPOSITORY, NAME = 'someone/oneformer_tiny', 'oneformer_tiny_coco'
ADDRESSES = {
    'a URL': '{url}/files/original.pth',
    'a link to the hub': f'https://huggingface.co/{REPOSITORY}/resolve/main/original.pth',
    'a repository of the hub': REPOSITORY,
    'a name of the zoo': NAME,
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server, which is the hub as well; what is fetched from it is kept in ``tmp_path``."""
    empty_caches(monkeypatch, tmp_path)
    with WeightServer() as running:
        monkeypatch.setenv('HF_ENDPOINT', running.url)
        yield running


@pytest.mark.parametrize('address', ADDRESSES)
def test_what_has_an_address_goes_into_every_use(
    address, models, server, tmp_path, run_tool, monkeypatch
):
    config, ours = models['Swin']
    file = shi_labs(config, ours, tmp_path).read_bytes()
    folder = hugging_face_bin(config, ours, tmp_path)
    server.files['/files/original.pth'] = file
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.repositories[REPOSITORY] = dict(main={**content, 'original.pth': file})
    link = f'https://huggingface.co/{REPOSITORY}/resolve/main/original.pth'
    write_zoo(monkeypatch, tmp_path / 'zoo', config, {NAME: dict(Weights=[link])})
    source = ADDRESSES[address].format(url=server.url)
    uses_of(source, config, ours, tmp_path, run_tool)
    asked = [path.rpartition('/')[2] for path in server.paths()]  # once, and then it is here
    whole = ['config.json', 'pytorch_model.bin']
    assert asked == (whole if source == REPOSITORY else ['original.pth'])


def calls_with_checkpoint(path, work):
    """Modules of ours whose functions get the path of a checkpoint, or once it is read its weights.

    They are in the order of calls, and the first is that which hands the path to the second.
    """
    seen, is_read = [], False

    def is_of_weights(key):
        return isinstance(key, str) and any(f'.{mark}' in f'.{key}' for mark in MARKS.values())

    def holds(value):
        if isinstance(value, dict):
            first = list(value.values())[:3]
            has_tensors = any(isinstance(item, torch.Tensor) for item in first)
            return 'state_dict' in value or has_tensors and any(map(is_of_weights, value))
        return isinstance(value, Weights | Fit)

    def is_path(value):
        return isinstance(value, str | Path)

    def module_of(frame):
        return frame.f_globals.get('__name__', '')

    def watch(frame, event, _):
        nonlocal is_read
        if event != 'call' or not module_of(frame).startswith('oneformer.'):
            return
        if frame.f_code.co_name == 'before_save_checkpoint':  # that is another checkpoint
            return
        given = list(frame.f_locals.values())
        is_read |= any(isinstance(value, Weights) for value in given)
        if any(map(holds, given)) or not is_read and path in map(str, filter(is_path, given)):
            givers = [] if seen else [module_of(frame.f_back)]
            modules = [
                name for name in (*givers, module_of(frame)) if name.startswith('oneformer.')
            ]
            seen.extend(n.removeprefix('oneformer.').replace('.', '/') + '.py' for n in modules)

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


WALKS = ('oneformer predict', 'load_from', 'oneformer test', '--resume')
# whose walks have all helpers between them
DIFFERENT = ('ours for inference', 'original .pth', 'Hugging Face safetensors')


def documented(use):
    """Modules of a walk, in their order, and its helpers, by docs/weights.md."""
    tables = (ROOT / 'docs/weights.md').read_text().partition('## Walks')[2].partition('* **read**')
    cells = [line.split('|')[1:4] for line in tables[0].splitlines() if line.startswith('| `')]
    (walk,) = (re.findall(r'`(\S+\.py)`', cell) for first, cell, _ in cells if f'`{use}`' in first)
    everywhere = (' all ',) if TORCH_TAKES_NAMES else (' all ', ' all, with torch before 2.6 ')
    return walk, {file.strip('` ') for file, uses, _ in cells if use in uses or uses in everywhere}


@pytest.mark.parametrize('use', WALKS)
def test_the_picture_shows_the_documented_walks(use):
    drawings = runpy.run_path(str(ROOT / 'docs/drawings.py'))
    arrows = {
        tuple(drawings['CHECKPOINT'][end.split('.')[0]].file for end in line.split())
        for line in drawings['CHECKPOINT_ARROWS'].strip().splitlines()
    }
    assert {*itertools.pairwise(documented(use)[0])} <= arrows


@pytest.mark.parametrize('use', WALKS)
def test_a_checkpoint_walks_as_documented_and_never_returns(use, models, tmp_path, run_tool):
    config, ours = models['Swin']
    walk, helpers = documented(use)
    cv2.imwrite(str(tmp_path / 'image.png'), np.zeros((32, 32, 3), np.uint8))
    train = ['train', config, '--cfg-options', *STILL]
    sources = [FORMATS[kind](config, ours, tmp_path) for kind in DIFFERENT]
    if use == '--resume':
        run_tool(*train, f'load_from={ours}', 'work_dir=run')
        sources = [tmp_path / 'run/iter_1.pth']
    needed = set()
    for source in sources:
        words = {
            'oneformer predict': ['predict', 'image.png', '--model', config, '--weights', source],
            'load_from': [*train, f'load_from={source}', 'work_dir=run'],
            'oneformer test': ['test', config, source, '--tasks', 'semantic'],
            '--resume': [*train, 'work_dir=more', 'train_cfg.max_iters=2', '--resume', source],
        }
        seen = calls_with_checkpoint(str(source), lambda words=words: run_tool(*words[use]))
        stays = [name for name, _ in itertools.groupby(name for name in seen if name in walk)]
        assert stays == walk
        needed |= set(seen)
    assert needed == {*walk, *helpers}  # nobody else gets it, and none of these is left out


def test_what_is_missing_or_no_weights_is_one_kind_of_error(tmp_path):
    (tmp_path / 'page.pth').write_text('<html>')
    (tmp_path / 'folder').mkdir()
    torch.save({'conv9.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    for source, message in {
        'nowhere.pth': 'weights .*nowhere.pth do not exist',
        'page.pth': 'page.pth is broken',
        'folder': 'are a folder: give the file of a checkpoint, or a folder of Hugging Face',
        'other.pth': 'no backbone is recognised',
    }.items():
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / source)


def test_importing_leaves_mmengine_alone_and_one_call_does_not(models, tmp_path):
    script = (
        'import sys; sys.path.insert(0, sys.argv[1])\n'
        'import mmengine.runner\n'
        'loaders = mmengine.runner.CheckpointLoader._schemes\n'
        'before = dict(loaders)\n'
        'import oneformer\n'
        'assert dict(mmengine.runner.CheckpointLoader._schemes) == before\n'
        'oneformer.weights.use_safe_loaders()\n'
        'now = mmengine.runner.CheckpointLoader._schemes\n'
        'print([name for name in now if now[name] is not before[name]])\n'
    )
    projects = sys.modules['oneformer'].__path__[0].rsplit('/', 1)[0]
    prediction = subprocess.run(
        [sys.executable, '-c', script, projects], capture_output=True, text=True, check=True
    )
    assert prediction.stdout.strip().splitlines()[-1] == "['https://', 'http://', '']"


def test_mmdet_takes_every_file_after_that_call_and_refuses_it_before(
    models, tmp_path, monkeypatch
):
    from mmengine.runner import checkpoint

    config, ours = models['Swin']
    folder = hugging_face(config, ours, tmp_path)
    file = shi_labs(config, ours, tmp_path)
    use_safe_loaders()
    for source in (file, folder):
        model = init_detector(str(config), str(source), device='cpu')
        assert_state(model.state_dict(), state_of(ours))
    assert tuple(model.dataset_meta['classes']) == tuple(model.metainfo['classes'])  # of the folder
    monkeypatch.setattr(CheckpointLoader, '_schemes', {'': checkpoint.load_from_local})
    with pytest.raises(ValueError, match=r'call oneformer\.weights\.use_safe_loaders'):
        init_detector(str(config), str(file), device='cpu')
    model = init_detector(str(config), str(ours), device='cpu')
    assert_state(model.state_dict(), state_of(ours))
    # the hook of our configs translates what mmengine's own loader has read
    content = CheckpointLoader.load_checkpoint(str(file), map_location='cpu')
    runner = SimpleNamespace(cfg=Config(), model=model, _train_loop=None, _load_from=None)
    ReuseWeights().after_load_checkpoint(runner, content)
    assert_state(content['state_dict'], state_of(ours))


@pytest.fixture(scope='module')
def of_every_layout(models):
    """State dicts with names that are not those of a model, by what they are."""
    whole = state_of(models['Swin'][1])
    ours = {key: value for key, value in whole.items() if not rebuilt_by_us(key)}
    eomt = weights_of(build_peer('dinov2')).tensors
    named = {
        layout: LAYOUTS[layout].to_foreign(eomt if 'eomt' in layout else ours)
        for layout in MARKS
        if layout != 'plugin'
    }
    for old, new in EARLIER.items():
        named[old] = {key.replace(new, old): value for key, value in ours.items()}
    return named


@pytest.mark.parametrize('layout', [*LAYOUTS, *EARLIER])
def test_mmengine_alone_loads_no_other_layout_and_says_so(layout, of_every_layout, models):
    """It would leave the model at random, and say so in the log only."""
    model = MODELS.build(Config.fromfile(models['Swin'][0]).model)
    state = of_every_layout[layout]
    inside = {f'model.{key}': value for key, value in state.items()}
    wrapped = [dict(model=state), dict(state_dict=state), dict(state_dict=dict(model=state))]
    for content in (state, inside, dict(state_dict=inside), *wrapped):
        with pytest.raises(ValueError, match=r'call oneformer\.weights\.use_safe_loaders'):
            _load_checkpoint_to_model(model, content)


def test_mmengine_alone_loads_our_names_from_any_depth(models):
    """Nor do those of others beside ours matter, such as of a teacher."""
    model = MODELS.build(Config.fromfile(models['Swin'][0]).model)
    expected, other = state_of(models['Swin'][1]), 'sem_seg_head.predictor.query_embed.weight'
    both = torch.nn.ModuleDict(dict(student=model))
    inside = {f'student.{key}': value for key, value in expected.items()}
    both.load_state_dict({**inside, f'teacher.{other}': torch.zeros(1)}, strict=False)
    assert_state(model.state_dict(), expected)
    with pytest.raises(ValueError, match='the tensors have the names of another OneFormer'):
        _load_checkpoint_to_model(model, dict(state_dict=inside))
    _load_checkpoint_to_model(model, {f'module.{key}': value for key, value in expected.items()})


def test_tensors_that_nothing_knows_are_named_by_the_names_of_the_file(models, tmp_path):
    config, ours = models['Swin']
    content = torch.load(shi_labs(config, ours, tmp_path))
    lost = 'sem_seg_head.predictor.class_input_proj.weight'
    del content['model'][lost]
    content['model']['sem_seg_head.spare'] = torch.zeros(1)
    weights = Weights.of(content, 'FILE')
    for how in ('exact', 'start', 'predict'):
        with pytest.raises(CheckpointError) as caught:
            fit(weights, MODELS.build(Config.fromfile(config).model), how)
        message = str(caught.value)
        assert 'FILE does not fit the model of the config: give the config' in message
        assert 'not in the model (1):\n  sem_seg_head.spare' in message
        assert f'missing in the checkpoint (1):\n  {lost}' in message


def test_a_folder_of_hugging_face_tells_its_model_and_a_file_without_names_is_refused(
    models, tmp_path
):
    config, ours = models['DiNAT']
    folder, expected = hugging_face(config, ours, tmp_path), state_of(ours)
    model = OneFormerInferencer(weights=folder, device='cpu').model
    assert_state(model.state_dict(), {key: expected[key] for key in model.state_dict()})
    assert model.backbone.not_in_weights == dict(dilations=TINY['dilations'])
    with pytest.raises(CheckpointError, match='not name its 8 classes.*: give the config that it'):
        OneFormerInferencer(weights=shi_labs(config, ours, tmp_path), device='cpu')
