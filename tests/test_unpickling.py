"""Pickles: the same is read, and the same refused, by torch's safe loading and by our own.

Torch before 2.6 cannot be told what else may be in a checkpoint, so it is read by
``restricted_pickle`` there. Newer torch takes both ways here.
"""

import argparse
import copyreg
import io
import operator
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections import Counter, OrderedDict, defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from oneformer.host import restricted_pickle, unpickling
from oneformer.host.errors import CheckpointError
from oneformer.host.unpickling import read_pickle

WAYS = ['torch', 'restricted'] if unpickling.TORCH_TAKES_NAMES else ['restricted']


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    """Who reads: torch, or ``restricted_pickle``."""
    monkeypatch.setattr(unpickling, 'TORCH_TAKES_NAMES', request.param == 'torch')
    return request.param


def content():
    """Of each kind that a checkpoint of ours or of the supported packages holds."""
    torch.manual_seed(0)
    curve = HistoryBuffer(log_history=[0.5, 0.25], count_history=[1, 1], max_length=10)
    weight = torch.randn(3, 4)
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    return dict(
        state_dict=OrderedDict(weight=weight, view=weight[1:, ::2], none=torch.zeros(0)),
        kinds=[torch.ones(2, 3).to(kind) for kind in kinds],
        parameter=torch.nn.Parameter(torch.ones(2)),
        device=torch.device('cpu'),
        dtype=torch.float16,
        size=torch.Size([1, 2]),
        sparse=torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.ones(2), (3,)),
        message_hub=dict(log_scalars={'train/loss': curve}),
        config=ConfigDict(classes=('a', 'b'), palette=[[1, 2, 3]]),
        arguments=argparse.Namespace(lr=0.1),
        counts=Counter('aab'),
        array=np.arange(6, dtype=np.int32).reshape(2, 3),
        scalar=np.float64(0.5),
        plain=[None, True, False, -1, 2**40, 0.25, 'ü', (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        sets={1, 2},
        raw=b'\0\xff',
        array_of_bytes=bytearray(b'ab'),
    )


def assert_same(read, written):
    for key in ('config', 'counts', 'plain', 'sets', 'raw', 'array_of_bytes', 'scalar', 'dtype'):
        assert read[key] == written[key], key
    assert type(read['config']) is dict and read['device'] == written['device']
    assert read['size'] == (1, 2) and np.array_equal(read['array'], written['array'])
    for one, other in zip(read['kinds'], written['kinds']):
        assert one.dtype == other.dtype and torch.equal(one, other)
    state = read['state_dict']
    assert type(state) is OrderedDict and list(state) == ['weight', 'view', 'none']
    assert all(torch.equal(state[key], value) for key, value in written['state_dict'].items())
    # a view is still one
    assert (
        state['view'].untyped_storage().data_ptr() == state['weight'].untyped_storage().data_ptr()
    )
    assert isinstance(read['parameter'], torch.nn.Parameter) and read['parameter'].requires_grad
    assert torch.equal(read['sparse'].to_dense(), torch.tensor([1.0, 0.0, 1.0]))
    curve = read['message_hub']['log_scalars']['train/loss']
    assert curve.mean(2) == 0.375 and curve.statistics('min') == 0.25


@pytest.mark.parametrize('is_zip', [True, False], ids=['zip', 'before torch 1.6'])
def test_what_checkpoints_hold_is_read(tmp_path, is_zip):
    path, written = tmp_path / 'a.pth', content()
    if not is_zip:
        del written['sparse']  # older torch wrote these otherwise
    torch.save(written, path, _use_new_zipfile_serialization=is_zip)
    read = read_pickle(path)
    if not is_zip:
        written['sparse'] = read['sparse'] = content()['sparse']
    assert_same(read, written)


def test_both_ways_read_the_same_checkpoint_of_training(tmp_path, monkeypatch):
    state = dict(step=torch.tensor(3.0), exp_avg=torch.ones(2), exp_avg_sq=torch.ones(2))
    optimizer = dict(state={0: state}, param_groups=[dict(lr=0.1, betas=(0.9, 0.999), params=[0])])
    torch.save(dict(content(), optimizer=optimizer, meta=dict(iter=3)), tmp_path / 'a.pth')
    read = read_pickle(tmp_path / 'a.pth')
    assert torch.equal(read['optimizer']['state'][0]['exp_avg'], torch.ones(2))
    assert read['optimizer']['param_groups'] == optimizer['param_groups']
    assert read['meta'] == dict(iter=3)


class Calls:
    """Is pickled as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Keeps:
    """An object of a class that nobody knows."""

    def __setstate__(self, state):
        Path('code_was_run').touch()

    def __getstate__(self):
        return dict(a=1)


def touch(name='code_was_run'):
    Path(name).touch()


CALLS = {
    'os.system': Calls(os.system, 'touch code_was_run'),
    'subprocess.Popen': Calls(subprocess.Popen, ['touch', 'code_was_run']),
    'eval': Calls(eval, "open('code_was_run', 'w')"),
    'exec': Calls(exec, "open('code_was_run', 'w')"),
    'open': Calls(open, 'code_was_run', 'w'),
    '__import__': Calls(__import__, 'antigravity'),
    'a function of ours': Calls(touch),
    'partial': partial(touch),
    'Path.touch': Calls(Path.touch, Path('code_was_run')),
    'operator.methodcaller': Calls(operator.methodcaller, 'touch'),
    'an unknown class': Keeps(),
    'an object of copyreg': Calls(copyreg._reconstructor, Keeps, object, None),
    'a class of the standard library': defaultdict(list),
    'torch.load': Calls(torch.load, 'code_was_run'),
    'torch.jit.load': Calls(torch.jit.load, 'code_was_run'),
    'bytes that torch loads': Calls(torch.storage._load_from_bytes, b''),
    'torch.nn.Module': torch.nn.Linear(1, 1),
    'getattr of another class': Calls(getattr, torch.Tensor, 'backward'),
    'getattr of a curve': Calls(getattr, HistoryBuffer, '__init__'),
    'getattr of globals': Calls(getattr, HistoryBuffer.mean, '__globals__'),
    'numpy.load': Calls(np.load, 'code_was_run'),
    'numpy.fromfile': Calls(np.fromfile, 'code_was_run'),
}


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Checks that a file is refused, and runs nothing."""
    monkeypatch.chdir(tmp_path)

    def check(path, match='is broken, or a pickle of more than a checkpoint has'):
        with pytest.raises(CheckpointError, match=match) as raised:
            read_pickle(path)
        assert str(path) in str(raised.value) and '--trust-pickle' in str(raised.value)
        assert not (tmp_path / 'code_was_run').exists()

    return check


@pytest.mark.parametrize('name', CALLS)
def test_a_call_is_refused_in_each_container(name, refused, tmp_path):
    value = dict(state_dict=dict(weight=torch.ones(1)), more=CALLS[name])
    torch.save(value, tmp_path / 'zip.pth')
    torch.save(value, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    for path in ('zip.pth', 'old.pth'):
        refused(tmp_path / path, 'Unsupported global|refused|getattr|blocked|reduce|call')
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f'{protocol}.pkl'
        path.write_bytes(pickle.dumps(CALLS[name], protocol=protocol))
        refused(path)


def text(value):
    """An instruction that puts a text on the stack."""
    data = value.encode()
    return pickle.BINUNICODE + len(data).to_bytes(4, 'little') + data


def name(module, qualified):
    return pickle.GLOBAL + f'{module}\n{qualified}\n'.encode()


CURVE = name('mmengine.logging.history_buffer', 'HistoryBuffer')
STATISTIC = name('builtins', 'getattr') + CURVE + text('mean') + pickle.TUPLE2 + pickle.REDUCE
TENSOR = name('torch', 'Tensor')
RAW = {
    'a dotted name': name('mmengine.logging.history_buffer', 'HistoryBuffer.mean.__globals__'),
    'a dotted name of protocol 4': text('mmengine.logging.history_buffer')
    + text('HistoryBuffer.mean')
    + pickle.STACK_GLOBAL,
    'a name in an allowed module': name('torch._utils', '_import_dotted_name'),
    'a module that is not imported': name('antigravity', 'geohash'),
    'a name of Python 2': name('__builtin__', 'eval'),
    'a name with an empty module': name('', 'eval'),
    'a call of what a call gave': STATISTIC + pickle.EMPTY_TUPLE + pickle.REDUCE,
    'a call of a text': text('os.system') + pickle.EMPTY_TUPLE + pickle.REDUCE,
    'a state of a class': TENSOR + pickle.EMPTY_DICT + text('__reduce__') + pickle.NONE
    + pickle.SETITEM + pickle.BUILD,
    'attributes of a class': CURVE + pickle.NONE + pickle.EMPTY_DICT + text('mean') + pickle.NONE
    + pickle.SETITEM + pickle.TUPLE2 + pickle.BUILD,
    'a state of a function': STATISTIC + pickle.EMPTY_DICT + pickle.BUILD,
    'a state of a list': pickle.EMPTY_LIST + pickle.EMPTY_DICT + pickle.BUILD,
    'an object of a function': STATISTIC + pickle.EMPTY_TUPLE + pickle.NEWOBJ,
    'an object with named arguments': TENSOR + pickle.EMPTY_TUPLE + pickle.EMPTY_DICT
    + pickle.NEWOBJ_EX,
    'an object of protocol 0': pickle.MARK + pickle.INST + b'posix\nsystem\n',
    'an object of the stack': pickle.MARK + TENSOR + pickle.OBJ,
    'an extension': pickle.EXT1 + b'\1',
    'a text as persistent id': text('a') + pickle.BINPERSID,
    'a persistent id of a module': text('module') + TENSOR + text('a.py') + pickle.TUPLE3
    + pickle.BINPERSID,
    'a persistent id of protocol 0': pickle.PERSID + b'storage\n',
    'an item of a curve': CURVE + pickle.EMPTY_TUPLE + pickle.NEWOBJ + text('a') + pickle.NONE
    + pickle.SETITEM,
    'an item of a class': TENSOR + text('a') + pickle.NONE + pickle.SETITEM,
    'items of a list': pickle.EMPTY_LIST + pickle.NONE + pickle.APPEND + pickle.BININT1 + b'\0'
    + pickle.NONE + pickle.SETITEM,
    'an element of a curve': CURVE + pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.NONE
    + pickle.APPEND,
    'elements of a set': pickle.EMPTY_SET + pickle.MARK + pickle.NONE + pickle.APPENDS,
    'an unknown instruction': b'\xff',
    'an empty stack': pickle.REDUCE,
    'no end': pickle.NONE * 3,
}  # fmt: skip


@pytest.mark.parametrize('case', RAW)
def test_an_instruction_that_reaches_further_is_refused(case, refused, tmp_path):
    before = HistoryBuffer.mean, torch.Tensor.__reduce__
    end = b'' if case == 'no end' else pickle.STOP
    data = pickle.PROTO + b'\2' + RAW[case] + end
    (tmp_path / 'plain.pkl').write_bytes(data)
    refused(tmp_path / 'plain.pkl')
    torch.save({}, tmp_path / 'whole.pth')
    with (
        zipfile.ZipFile(tmp_path / 'whole.pth') as whole,
        zipfile.ZipFile(tmp_path / 'zip.pth', 'w') as changed,
    ):
        for record in whole.namelist():
            is_pickle = record.endswith('/data.pkl')
            changed.writestr(record, data if is_pickle else whole.read(record))
    refused(tmp_path / 'zip.pth')
    assert (HistoryBuffer.mean, torch.Tensor.__reduce__) == before


def test_an_archive_of_torchscript_is_refused(refused, tmp_path):
    class Plain(torch.nn.Module):
        def forward(self, x):
            return x + 1

    torch.jit.save(torch.jit.script(Plain()), tmp_path / 'script.pth')
    refused(tmp_path / 'script.pth', 'TorchScript')


def test_a_tar_of_old_torch_is_refused(refused, tmp_path):
    with tarfile.open(tmp_path / 'old.tar', 'w') as tar:
        for record in ('storages', 'tensors', 'pickle'):
            data = pickle.dumps(0, protocol=2)
            entry = tarfile.TarInfo(record)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo('storages')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        tar.addfile(link)
    refused(tmp_path / 'old.tar', 'tar')


@pytest.mark.parametrize('data', [b'', b'\x80', b'PK\3\4', b'text', bytes(1024)], ids=repr)
def test_bytes_that_are_not_a_checkpoint_are_refused(data, refused, tmp_path):
    (tmp_path / 'a.pth').write_bytes(data)
    refused(tmp_path / 'a.pth')


def test_a_truncated_checkpoint_is_refused_at_any_place(refused, tmp_path):
    for is_zip in (True, False):
        torch.save(content(), tmp_path / 'whole.pth', _use_new_zipfile_serialization=is_zip)
        whole = (tmp_path / 'whole.pth').read_bytes()
        for part in range(1, 8):
            (tmp_path / 'a.pth').write_bytes(whole[: len(whole) * part // 8])
            refused(tmp_path / 'a.pth')


def test_a_file_that_fails_after_a_sparse_tensor_does_not_spoil_the_next(refused, tmp_path):
    indices, values = torch.tensor([[0, 2]]), torch.ones(2)
    sparse = torch.sparse_coo_tensor(indices, values, (3,))
    torch.save(dict(sparse=sparse), tmp_path / 'good.pth')
    torch.save(dict(sparse=sparse, more=CALLS['eval']), tmp_path / 'evil.pth')
    refused(tmp_path / 'evil.pth')
    assert not torch._utils._sparse_tensors_to_validate
    assert torch.equal(read_pickle(tmp_path / 'good.pth')['sparse'].to_dense(), sparse.to_dense())


def test_a_file_that_is_not_there_stays_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / 'nothing.pth')


def test_names_of_blocked_modules_stay_refused_even_if_they_are_allowed(refused, tmp_path, way):
    torch.save(dict(a=Calls(os.system, 'touch code_was_run')), tmp_path / 'a.pth')
    others = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([os.system])
    try:
        refused(tmp_path / 'a.pth')
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def test_what_may_be_called_is_no_more_than_torch_and_the_list_allow():
    known = restricted_pickle._known_names(unpickling._ALLOWED)
    torchs = torch._weights_only_unpickler
    added = (
        known.keys()
        - torchs._get_allowed_globals().keys()
        - torchs._get_user_allowed_globals().keys()
    )
    assert {path.split('.')[0] for path in added} <= {
        '__builtin__', '_codecs', 'argparse', 'builtins', 'mmengine', 'numpy',
    }  # fmt: skip
    assert {path for path in added if path.startswith('builtins.')} <= {
        'builtins.bytearray', 'builtins.complex', 'builtins.getattr', 'builtins.set',
    }  # fmt: skip
    assert known['builtins.getattr'] is unpickling._statistic
