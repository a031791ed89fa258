"""ImageNet weights of a backbone: fetched if nothing replaces them; how to do without is told."""

import http.server
import re
import socket
import threading
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from runs import forget_runs

from oneformer.host.errors import CheckpointError
from oneformer.inference import OneFormerInferencer
from oneformer.weights import downloads, replaced_weights

SMALL = """
_base_ = {base!r}
url = {url!r}
model = dict(
    backbone=dict(
        _delete_=True,
        type='OneFormerResNet',
        depth=18,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=url),
    ),
    panoptic_head=dict(in_channels=[64, 128, 256, 512]),
)
data = dict(data_root={data!r})
train_dataloader = dict(batch_size=2, dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1)
work_dir = 'run'
"""
SKIPPED = 'resnet18.pth is neither downloaded nor read, since all weights come from '


class Handler(http.server.BaseHTTPRequestHandler):
    """Predictions by the name of the file."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if 'page' in self.path:  # as a network that wants a login answers everything
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'<html>please log in</html>')
        elif 'junk' in self.path:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(100))
        elif 'cut' in self.path:
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wfile.write(bytes(100))
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that has no weights; ``asked`` are the paths that it was asked for."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.asked = []
        server.url = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def config(config_dir, tiny_set, tmp_path, server):
    """A small ResNet that starts from a file of the server."""
    base = str(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    path = tmp_path / 'small.py'
    path.write_text(SMALL.format(base=base, url=f'{server.url}/resnet18.pth', data=f'{tiny_set}/'))
    return path


@pytest.fixture(scope='module')
def start():
    """Content of a checkpoint, when there is one."""
    return []


@pytest.fixture
def trained(config, run_tool, tmp_path, start):
    """A checkpoint of one iteration from random weights."""
    path = tmp_path / 'start/iter_1.pth'
    if start:
        path.parent.mkdir()
        path.write_bytes(start[0])
        (path.parent / 'last_checkpoint').write_text(str(path))
    else:
        run_tool('train', config, '--cfg-options', 'model.backbone.init_cfg=None', 'work_dir=start')
        start.append(path.read_bytes())
    return path


def test_a_checkpoint_that_replaces_a_backbone_spares_its_download(
    config, trained, run_tool, server, tmp_path
):
    printed = run_tool('train', config, '--cfg-options', f'load_from={trained}')
    assert f'{server.url}/{SKIPPED}{trained}' in printed and server.asked == []
    printed = run_tool('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=2')
    assert re.search(SKIPPED + r'\S*run/iter_1\.pth', printed) and server.asked == []
    printed = run_tool('train', config, '--resume', trained, '--dry-run')
    assert f'{SKIPPED}{trained}' in printed and server.asked == []
    # what is evaluated takes all weights from its checkpoint, too
    run_tool('test', config, trained, '--tasks', 'semantic')
    from mmdet.apis import init_detector

    init_detector(str(config), str(trained), device='cpu')
    for model in (str(config), None):
        OneFormerInferencer(model, trained, 'cpu')
    assert server.asked == []


def test_a_runner_without_our_tool_spares_it_too(config, trained, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.resume = 'start', True  # goes on from what is there
    cfg.train_cfg.max_iters = 2
    forget_runs()
    Runner.from_cfg(cfg).train()
    assert torch.load('start/iter_2.pth', weights_only=False)['meta']['iter'] == 2
    assert server.asked == []


@pytest.mark.parametrize('fresh', ['backbone.layer4.', 'back'])
def test_a_backbone_that_stays_fresh_is_fetched(fresh, config, trained, run_tool, server):
    options = [f'load_from={trained}', f'default_hooks.weights.fresh=[{fresh}]']
    with pytest.raises(SystemExit, match='cannot be downloaded'):
        run_tool('train', config, '--cfg-options', *options)
    assert server.asked == ['/resnet18.pth']


def test_nothing_to_resume_is_not_a_checkpoint(config, run_tool, server):
    with pytest.raises(SystemExit, match='cannot be downloaded'):
        run_tool('train', config, '--resume')
    assert server.asked == ['/resnet18.pth']


REMEDY = (
    r'Start from another file by --cfg-options model\.backbone\.init_cfg\.checkpoint=FILE, or from '
    r'random weights by --cfg-options model\.backbone\.init_cfg=None'
)


def test_a_failed_download_is_one_line_with_the_settings_that_avoid_it(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(downloads, '_PAUSE', 0.001)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        closed = f'http://127.0.0.1:{free.getsockname()[1]}'
    cases = {
        f'{server.url}/missing.pth': 'cannot be downloaded (404 Not Found)',
        f'{closed}/any.pth': 'cannot be downloaded ([Errno',
        f'{server.url}/cut.pth': 'cannot be downloaded (the last 900 bytes are missing)',
        f'{server.url}/junk.pth': f'If the download is at fault, delete {tmp_path}/cache/hub/',
        f'{server.url}/page.pth': 'cannot be downloaded (the server answers with a web page',
        'nowhere/resnet18.pth': 'weights nowhere/resnet18.pth do not exist',
    }
    for source, reason in cases.items():
        init_cfg = dict(type='PretrainedBackbone', checkpoint=source)
        backbone = MODELS.build(dict(type='OneFormerResNet', depth=18, init_cfg=init_cfg))
        with pytest.raises(CheckpointError, match=REMEDY) as failure:
            backbone.init_weights()
        message = str(failure.value)
        assert source in message and reason in message and '\n' not in message
    kept = [path.name for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert kept == ['junk.pth']


@pytest.mark.parametrize('arguments', [[], ['--dry-run']])
def test_training_ends_with_that_line(arguments, config, run_tool):
    with pytest.raises(SystemExit, match=rf'^training .*resnet18.pth cannot be .*{REMEDY}$'):
        run_tool('train', config, *arguments)


def test_a_failed_download_of_a_start_says_where_the_file_may_lie(config, run_tool, server):
    option = f'load_from={server.url}/start.pth'
    with pytest.raises(SystemExit, match=r'start.pth cannot be downloaded \(404 Not Found\): put'):
        run_tool('train', config, '--cfg-options', option)
    assert server.asked == ['/start.pth']


@pytest.mark.parametrize('kind', ['Pretrained', 'mmengine.model.PretrainedInit'])
def test_a_model_that_is_not_built_yet_is_built_without_them(kind, monkeypatch):
    told = []
    monkeypatch.setattr(replaced_weights, 'print_log', lambda text, **_: told.append(text))
    url = 'http://127.0.0.1:1/resnet18.pth'
    model = ConfigDict(backbone=dict(init_cfg=[dict(type=kind, checkpoint=url)]))
    # as mmengine's FlexibleRunner keeps it until it initialises it
    runner = SimpleNamespace(model=model, _load_from=None, _resume=False)
    replaced_weights.skip_replaced_weights(runner)
    assert model.backbone.init_cfg and not told
    runner._load_from = 'start.pth'
    replaced_weights.skip_replaced_weights(runner)
    assert model.backbone.init_cfg is None
    assert told == [f'backbone: {url} is neither downloaded nor read, since all weights come from '
                    'start.pth']  # fmt: skip


def test_a_package_of_weights_is_not_asked_for_either(config_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    runner = SimpleNamespace(model=MODELS.build(cfg.model), _load_from='start.pth', _resume=False)
    replaced_weights.skip_replaced_weights(runner, ['backbone.'])
    assert runner.model.backbone.pretrained
    replaced_weights.skip_replaced_weights(runner, ['panoptic_head.query_embed.'])
    assert not runner.model.backbone.pretrained
