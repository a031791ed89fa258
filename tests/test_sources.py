"""Weights by name, id and URL: fetched once, whole or not at all, and what to do if that fails."""

import errno
import hashlib
import json
import multiprocessing
import socket
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from weight_server import COMMIT, WeightServer, empty_caches, write_zoo

from oneformer.host.errors import CheckpointError
from oneformer.inference import OneFormerInferencer
from oneformer.weights import downloads, use_safe_loaders
from oneformer.weights.downloads import download, place_of
from oneformer.weights.sources import local_path
from oneformer.zoo import find_config

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
REPOSITORY = 'shi-labs/oneformer_tiny'
BIN, SAFE = 'pytorch_model.bin', 'model.safetensors'


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    """Nothing is fetched yet, and nothing outside of this machine can be."""
    empty_caches(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(monkeypatch):
    """A server, which is the hub as well."""
    with WeightServer() as server:
        server.files['/files/tiny.pth'] = CONTENT
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        yield server


@pytest.fixture
def hub(server):
    """Files of a repository on it."""
    files = {'config.json': b'{}', SAFE: CONTENT, BIN: b'pickle', 'merges.txt': b'x'}
    server.repositories[REPOSITORY] = {'main': files, 'v2': {'config.json': b'{}', BIN: b'v2'}}
    return files


@pytest.fixture
def closed():
    """An address at which nobody answers."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'http://127.0.0.1:{free.getsockname()[1]}'
    return address


def fetched(tmp_path):
    """All files of the caches but those by which huggingface_hub keeps house."""
    files = [p for name in ('torch', 'hf') for p in (tmp_path / name).rglob('*') if p.is_file()]
    return [p for p in files if not {'.locks', 'refs', '.no_exist'} & {*p.parts}]


# URLs of files


def test_a_url_is_downloaded_once_and_then_used_without_a_network(server, tmp_path):
    url = f'{server.url}/files/tiny.pth'
    path = local_path(f'{url}?download=1&signature={"x" * 300}')
    assert path.read_bytes() == CONTENT and path.is_relative_to(tmp_path / 'torch/hub/checkpoints')
    server.stop()
    assert local_path(url) == path == place_of(url)
    assert len(server.asked) == 1 and fetched(tmp_path) == [path]


def test_a_file_that_is_put_by_hand_where_the_error_says_is_taken(closed):
    url = f'{closed}/tiny.pth'
    with pytest.raises(CheckpointError, match='put the file at') as failure:
        local_path(url)
    path = Path(str(failure.value).split('put the file at ')[1].split(',')[0])
    path.write_bytes(CONTENT)
    assert local_path(url) == path


PAGE = b'\n<!DOCTYPE html><html>please log in</html>' + bytes(600)
REFUSALS = {
    'missing': ('/missing.pth', None, None, '404 Not Found', 1),
    'forbidden': ('/forbidden.pth', 403, None, '403 Forbidden', 1),
    'busy for long': ('/busy.pth', 503, None, '503 Service Unavailable', 4),
    'cut again and again': (
        '/cut.pth',
        'cut, no ranges',
        CONTENT,
        'last 5120 bytes are missing',
        5,
    ),
    'a page': ('/page.pth', None, PAGE, 'answers with a web page', 1),
    'a pointer': ('/lfs.pth', None, b'version https://git-lfs.github', 'pointer of Git LFS', 1),
    'a hash': ('/a-0123abcd.pth', None, CONTENT, f'{DIGEST}, not 0123abcd', 1),
    'a circle': ('/round.pth', 'to /round.pth', None, 'redirect', 10),
}


@pytest.mark.parametrize('case', REFUSALS)
def test_what_cannot_be_had_is_one_line_and_leaves_nothing(case, server, tmp_path):
    path, fault, content, reason, requests = REFUSALS[case]
    if content:
        server.files[path] = content
    if fault:
        server.faults[path] = fault
    url = server.url + path
    with pytest.raises(CheckpointError) as failure:
        local_path(url)
    message = str(failure.value)
    assert message.startswith(f'{url} cannot be downloaded (') and reason in message
    assert f'put the file at {place_of(url)}, or give the path' in message
    assert len(server.asked) == requests or case == 'a circle'
    assert not fetched(tmp_path)


@pytest.mark.parametrize(
    ('size', 'fault', 'reason'),
    [
        (len(CONTENT) - 1, None, 'has 10240 bytes there, not 10239 as recorded'),
        (len(CONTENT) + 1, None, 'has 10240 bytes there, not 10241 as recorded'),
        (len(CONTENT) - 1, 'unsaid', 'sends more than the 10239 bytes'),
        (len(CONTENT) + 1, 'unsaid', 'the last 1 bytes are missing'),
    ],
)
def test_a_recorded_size_is_checked(size, fault, reason, server, tmp_path):
    url = f'{server.url}/files/tiny.pth'
    server.faults['/files/tiny.pth'] = fault
    with pytest.raises(CheckpointError, match=reason):
        download(url, size)
    assert not fetched(tmp_path)
    assert download(url, len(CONTENT)).read_bytes() == CONTENT


def test_half_a_file_of_another_tool_is_replaced(server, tmp_path):
    url = f'{server.url}/files/tiny.pth'
    place_of(url).parent.mkdir(parents=True)
    place_of(url).write_bytes(CONTENT[:99])
    server.faults['/files/tiny.pth'] = [404]
    with pytest.raises(CheckpointError):
        download(url, len(CONTENT))
    assert place_of(url).read_bytes() == CONTENT[:99]  # until there is a better one
    assert download(url, len(CONTENT)).read_bytes() == CONTENT


def test_a_published_hash_is_checked(server, tmp_path):
    url = f'{server.url}/files/tiny.pth'
    with pytest.raises(CheckpointError, match=f'its sha256 is {DIGEST}, not {"0" * 64}'):
        download(url, sha256='0' * 64)
    assert not fetched(tmp_path)
    assert download(url, sha256=DIGEST.upper()).read_bytes() == CONTENT
    name = f'/a/resnet-{DIGEST[:8]}.pth'
    server.files[name] = CONTENT
    # where torch.hub looks for it, too
    assert local_path(server.url + name).parent == tmp_path / 'torch/hub/checkpoints'


@pytest.mark.parametrize(
    ('faults', 'ranges'),
    [
        (['cut', 'cut'], [None, 'bytes=5120-', 'bytes=7680-']),
        (['cut', 503, 429], [None, *['bytes=5120-'] * 3]),
        (['cut, no ranges'] * 2, [None, 'bytes=5120-', 'bytes=5120-']),
        (['changed'], [None, 'bytes=15360-']),  # the rest of another version is not the rest
        ([500, 'to /files/moved.pth'], [None, None, None]),
    ],
)
def test_a_download_goes_on_after_a_break(faults, ranges, server):
    server.files['/files/moved.pth'] = CONTENT
    server.faults['/files/tiny.pth'] = list(faults)
    assert local_path(f'{server.url}/files/tiny.pth').read_bytes() == CONTENT
    assert [asked for *_, asked in server.asked] == ranges


def test_a_server_that_stalls_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(downloads, '_SECONDS', 0.2)
    monkeypatch.setattr(downloads, '_BLOCK', 1024)
    server.faults['/files/tiny.pth'] = ['stalls']
    assert local_path(f'{server.url}/files/tiny.pth').read_bytes() == CONTENT
    assert len(server.asked) == 2 and server.asked[1][2] is not None


def fetch_in_process(url, queue):
    queue.put(local_path(url).read_bytes())


def test_processes_that_want_one_file_download_it_once(server, tmp_path):
    server.faults['/files/tiny.pth'] = 'slow'
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    arguments = f'{server.url}/files/tiny.pth', queue
    processes = [context.Process(target=fetch_in_process, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == [CONTENT] * 3
    for process in processes:
        process.join()
    assert len(server.asked) == 1 and len(fetched(tmp_path)) == 1


def test_a_cache_that_cannot_be_written_is_named_with_the_variable_that_moves_it(
    server, monkeypatch, tmp_path
):
    url = f'{server.url}/files/tiny.pth'
    with monkeypatch.context() as patch:
        patch.setattr(downloads.shutil, 'disk_usage', lambda _: SimpleNamespace(free=9))
        with pytest.raises(CheckpointError, match='10240 bytes are needed and 9 are free'):
            local_path(url)

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(downloads._Transfer, '_take', full)
        with pytest.raises(CheckpointError, match=r'\(No space left on device\): make room'):
            local_path(url)
    assert not fetched(tmp_path)
    (tmp_path / 'torch').rename(tmp_path / 'old')
    (tmp_path / 'torch').write_text('a file')
    with pytest.raises(CheckpointError, match=r'cannot be kept in \S+/torch/\S+ .* TORCH_HOME$'):
        local_path(url)


def test_files_of_one_name_are_kept_apart():
    urls = ['a.org/x/model.pth', 'a.org/y/model.pth', 'b.org/x/model.pth', 'a.org/get?id=1']
    urls += ['a.org/get?id=2', 'a.org/../../../etc/model.pth', 'a.org/model-20230101.pth']
    places = [place_of(f'https://{url}') for url in urls]
    assert len({*places}) == len(urls)
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    assert all(path.resolve().is_relative_to(folder) for path in places)
    assert places[-1].parent.name == 'a.org'  # a date is not a hash
    assert place_of('https://me:secret@a.org/x/model.pth') == places[0]
    for url in ('https://a.org', 'http:///', 'http://[::1/x.pth'):
        with pytest.raises(CheckpointError, match='give the URL of a file'):
            local_path(url)


# the hub


def test_an_id_of_the_hub_fetches_what_is_needed_once(server, hub):
    elsewhere = server.url.replace('127.0.0.1', 'localhost')  # where large files are
    server.files['/store/1'] = CONTENT
    server.faults[f'/{REPOSITORY}/resolve/{COMMIT}/{SAFE}'] = f'to {elsewhere}/store/1'
    folder = local_path(REPOSITORY)
    assert {path.name for path in folder.iterdir()} == {'config.json', SAFE}
    assert (folder / SAFE).read_bytes() == CONTENT
    assert [Path(path).name for path in server.paths()] == ['config.json', '1']
    server.stop()
    asked = list(server.asked)
    assert local_path(REPOSITORY) == local_path(f'{server.url}/{REPOSITORY}') == folder
    assert local_path(f'https://huggingface.co/{REPOSITORY}/tree/main') == folder
    assert local_path(f'{REPOSITORY}@{COMMIT}') == folder
    assert server.asked == asked


@pytest.mark.parametrize(
    'source',
    [
        f'{REPOSITORY}@v2',
        f'https://huggingface.co/{REPOSITORY}/tree/v2',
        f'https://hf.co/{REPOSITORY}/tree/v2/',
    ],
)
def test_another_revision_is_fetched_if_it_is_asked_for(source, server, hub):
    hub.update(server.repositories[REPOSITORY]['v2'])
    del hub[SAFE]  # the server has one commit
    folder = local_path(source)
    assert {path.name for path in folder.iterdir()} == {'config.json', BIN}
    assert server.paths()[0].endswith('/resolve/v2/config.json')


@pytest.mark.parametrize('kind', ['resolve', 'blob'])
def test_a_link_to_a_file_of_the_hub_fetches_that_file(kind, server, hub):
    hub['weights/tiny.pth'] = CONTENT
    source = f'https://huggingface.co/{REPOSITORY}/{kind}/main/weights/tiny.pth?download=true'
    path = local_path(source)
    assert path.name == 'tiny.pth' and path.read_bytes() == CONTENT
    assert len(server.paths()) == 1
    server.stop()
    assert local_path(source) == path


def test_shards_are_fetched_by_their_index(server, hub, monkeypatch):
    parts = [f'model-0000{k}-of-00002.safetensors' for k in (1, 2)]
    hub[f'{SAFE}.index.json'] = json.dumps(dict(weight_map=dict(zip('ab', parts)))).encode()
    del hub[SAFE]
    hub[parts[0]] = CONTENT
    with pytest.raises(CheckpointError, match='has not the files of a model of transformers'):
        local_path(REPOSITORY)
    hub[parts[1]] = b'second'
    server.asked.clear()
    folder = local_path(REPOSITORY)
    assert {path.name for path in folder.iterdir()} == {
        *('config.json', f'{SAFE}.index.json'),
        *parts,
    }
    assert [Path(path).name for path in server.paths()] == [parts[1]]
    (folder / parts[1]).unlink()
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(CheckpointError, match='nor complete in .*HF_HUB_OFFLINE forbids'):
        local_path(REPOSITORY)


@pytest.mark.parametrize('parts', [['../x'], [], None, {'a': '../../x'}, {'a': 3}])
def test_an_index_that_leads_elsewhere_is_refused(parts, server, hub):
    hub[f'{SAFE}.index.json'] = json.dumps(dict(weight_map=parts)).encode()
    del hub[SAFE]
    with pytest.raises(CheckpointError, match='weight_map of .*index.json does not lead to files'):
        local_path(REPOSITORY)


def test_what_the_hub_does_not_have_is_told(server, hub):
    server.repositories['shi-labs/gated'] = dict(gated={})
    for source, reason in {
        'shi-labs/nothing': 'shi-labs/nothing is neither a file or folder here nor a repository',
        'shi-labs/gated': 'shi-labs/gated is given to those who ask for it: ask on',
        f'{REPOSITORY}@v3': f'{REPOSITORY} has no revision v3: give a branch',
        f'{server.url}/{REPOSITORY}/resolve/main/x.pth': f'{REPOSITORY} has no file x.pth: give',
    }.items():
        with pytest.raises(CheckpointError, match=reason) as failure:
            local_path(source)
        assert server.url in str(failure.value) and '\n' not in str(failure.value)
    del hub['config.json']
    with pytest.raises(CheckpointError, match='config.json.*give the URL of a file of weights'):
        local_path(REPOSITORY)


def test_a_hub_that_breaks_off_or_is_not_there_names_the_mirror(
    server, hub, closed, monkeypatch, tmp_path
):
    server.faults[f'/{REPOSITORY}/resolve/{COMMIT}/{SAFE}'] = 'cut, no ranges'
    for address in (server.url, closed):
        monkeypatch.setenv('HF_ENDPOINT', address)
        with pytest.raises(CheckpointError) as failure:
            local_path(f'{REPOSITORY}@main')
        message = str(failure.value)
        assert message.startswith(f'{REPOSITORY} is not here and cannot be fetched from {address} ')
        assert 'set HF_ENDPOINT to the URL of a mirror, or bring config.json' in message
        assert '\n' not in message
        assert not list((tmp_path / 'hf').rglob(SAFE))


def test_a_page_in_place_of_the_hub_is_not_taken_for_it(server, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', f'{server.url}/login')
    server.files[f'/login/{REPOSITORY}/resolve/main/config.json'] = PAGE
    with pytest.raises(CheckpointError, match=r'\(Response from .*HF_ENDPOINT to the URL of a mir'):
        local_path(REPOSITORY)


def test_a_cache_of_the_hub_that_cannot_be_written_is_named(server, hub, tmp_path):
    (tmp_path / 'hf').write_text('a file')
    with pytest.raises(CheckpointError, match='cannot be kept in .*/hf/hub .* variable HF_HOME'):
        local_path(REPOSITORY)


def test_what_is_here_goes_before_what_is_elsewhere(server, hub, tmp_path):
    for name in (REPOSITORY, 'oneformer_swin-l_ade20k'):
        Path(name).mkdir(parents=True)
        assert local_path(name) == Path(name)
    for missing in ('work_dirs/iter_9.pth', 'missing.pth', './a/b', '../x', 'a/b/c', Path('a/b')):
        assert local_path(missing) == Path(missing)  # a path, whoever reads it says so
    assert not server.asked
    with pytest.raises(FileNotFoundError, match='similar are .*oneformer_swin-l_ade20k') as failure:
        local_path('oneformer_swinl_ade20k')
    assert isinstance(failure.value, CheckpointError)


# names of the zoo

NAME = 'oneformer_tiny_coco'


@pytest.fixture
def published(server, config_dir, monkeypatch, tmp_path):
    """A zoo of two models, one without weights; changes what is published of the other."""
    base = config_dir / 'oneformer_efficientnet-lite0_quickstart.py'

    def publish(*weights, **more):
        models = {NAME: dict(Weights=list(weights), **more), 'oneformer_bare_coco': {}}
        write_zoo(monkeypatch, tmp_path / 'zoo', base, models)

    publish(f'https://huggingface.co/{REPOSITORY}', f'{server.url}/files/tiny.pth')
    return publish


def test_published_weights_are_those_of_the_hub_first_and_the_file_of_the_authors_second(
    server, published, hub, tmp_path
):
    assert {path.name for path in local_path(NAME).iterdir()} == {'config.json', SAFE}
    assert '/files/tiny.pth' not in server.paths()
    asked = len(server.asked)
    local_path(NAME)
    assert len(server.asked) == asked
    (tmp_path / 'hf').rename(tmp_path / 'old')
    del server.repositories[REPOSITORY]
    path = local_path(NAME)
    assert path == place_of(f'{server.url}/files/tiny.pth') and path.read_bytes() == CONTENT
    asked = len(server.asked)
    assert local_path(NAME) == path  # which is here, unlike what goes before it
    assert len(server.asked) == asked


def test_size_and_hash_of_the_metafile_are_checked(server, published):
    url = f'{server.url}/files/tiny.pth'
    published(url, Size=10241)
    with pytest.raises(CheckpointError, match='has 10240 bytes there, not 10241 as recorded'):
        local_path(NAME)
    published(url, SHA256='ab' * 32)
    with pytest.raises(CheckpointError, match=f'its sha256 is {DIGEST}, not abab'):
        local_path(NAME)
    published(url, Size=10240, SHA256=DIGEST)
    assert local_path(NAME).read_bytes() == CONTENT


def test_without_a_network_the_error_names_all_that_helps(server, published, closed, monkeypatch):
    published(f'https://huggingface.co/{REPOSITORY}', f'{closed}/tiny.pth')
    monkeypatch.setenv('HF_ENDPOINT', closed)
    with pytest.raises(CheckpointError) as failure:
        OneFormerInferencer(NAME, device='cpu')
    first, hub, file = str(failure.value).split('\n')
    assert first == f'the published weights of {NAME} cannot be fetched:'
    assert 'HF_ENDPOINT' in hub and f'{closed}/{REPOSITORY}/tree/main' in hub
    assert (
        f'{closed}/tiny.pth' in file and f'put the file at {place_of(f"{closed}/tiny.pth")}' in file
    )


def test_a_model_without_published_weights_says_so(published, run_tool, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((32, 32, 3), np.uint8))
    bare = 'oneformer_bare_coco has no published weights: give those of a training of yours'
    for arguments in (['oneformer_bare_coco'], [None, 'oneformer_bare_coco']):
        with pytest.raises(CheckpointError, match=f'{bare}.*oneformer list'):
            OneFormerInferencer(*arguments, device='cpu')
    with pytest.raises(SystemExit, match=f'error: {bare}'):
        run_tool('predict', tmp_path / 'a.png', '--model', 'oneformer_bare_coco')
    with pytest.raises(FileNotFoundError, match='neither a config.*oneformer_tiny_coco'):
        OneFormerInferencer('oneformer_tony_coco', device='cpu')
    config = find_config(NAME)
    for model in (str(config), Config.fromfile(config), None):  # no names
        with pytest.raises(CheckpointError, match='no weights: give a checkpoint'):
            OneFormerInferencer(model, device='cpu')


@pytest.fixture
def tiny(server, published, hub):
    """A model of the zoo on the server, and its tensors."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(find_config(NAME)).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), 'tiny.pth')
    content = Path('tiny.pth').read_bytes()
    Path('tiny.pth').unlink()
    hub['tiny.pth'] = server.files['/files/tiny.pth'] = content
    published(f'https://huggingface.co/{REPOSITORY}/resolve/main/tiny.pth')
    return model.state_dict()


def test_a_name_is_all_that_prediction_needs(tiny, server, run_tool, tmp_path):
    link = f'https://huggingface.co/{REPOSITORY}/blob/main/tiny.pth'
    key = 'panoptic_head.query_embed.weight'
    for arguments in ([NAME], [None, NAME], [NAME, link]):
        inferencer = OneFormerInferencer(*arguments, device='cpu')
        assert torch.equal(inferencer.model.state_dict()[key], tiny[key])
    assert server.paths() == [f'/{REPOSITORY}/resolve/main/tiny.pth']
    server.stop()
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((32, 32, 3), np.uint8))
    printed = run_tool('predict', tmp_path / 'a.png', '--model', NAME)
    assert f'{NAME}: the published weights in ' in printed and 'frames: 1;' in printed


def test_what_mmengine_loads_may_have_a_name_too(tiny, server):
    use_safe_loaders()
    link = f'https://hf.co/{REPOSITORY}/resolve/main/tiny.pth'
    for source in (NAME, link, f'{server.url}/files/tiny.pth'):
        loaded = CheckpointLoader.load_checkpoint(source, map_location='cpu')['state_dict']
        assert loaded.keys() == tiny.keys()
    with pytest.raises(CheckpointError, match='shi-labs/none is neither a file or folder here nor'):
        CheckpointLoader.load_checkpoint('shi-labs/none')


def test_a_device_that_is_not_there_is_refused_before_anything_is_fetched(server, published):
    with pytest.raises(ValueError, match='device cuda:99 cannot be used'):
        OneFormerInferencer(NAME, device='cuda:99')
    assert not server.asked


def test_a_name_that_two_configs_have_is_of_the_upper_one(config_dir):
    assert find_config('oneformer_swin-l_coco') == config_dir / 'oneformer_swin-l_coco.py'
