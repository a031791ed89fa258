"""Without compiled operators: what stands in for them, and which attention runs instead."""

import os
import subprocess
import sys
import warnings

import pytest
import torch

from oneformer.host import compat, quiet_import
from oneformer.kernels import attention_paths, deformable_attention
from oneformer.kernels.attention_levels import Levels
from oneformer.kernels.attention_paths import choose_path
from oneformer.kernels.deformable_attention import DeformableAttention


def test_the_stand_in_has_every_operator_and_none_can_be_called():
    stand_in = compat._MissingOps('mmcv._ext')
    assert stand_in.is_stand_in
    with pytest.raises(RuntimeError, match=r'mmcv\._ext\.nms cannot run; oneformer doctor'):
        stand_in.nms()
    with pytest.raises(AttributeError):
        stand_in.__path__  # noqa: B018


def test_a_real_extension_is_told_from_the_stand_in_and_left_alone(monkeypatch):
    real = type(sys)('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', real)
    assert compat.compiled_ops_available()
    compat.provide_missing_ops()
    assert sys.modules['mmcv._ext'] is real
    monkeypatch.setitem(sys.modules, 'mmcv._ext', compat._MissingOps('mmcv._ext'))
    assert not compat.compiled_ops_available()


def test_the_cuda_operator_runs_only_where_it_can(monkeypatch):
    monkeypatch.setattr(attention_paths, 'compiled_ops_available', lambda: True)
    for version, runs in (('12.8', True), ('not available', False)):
        monkeypatch.setattr(
            attention_paths, 'get_compiling_cuda_version', lambda version=version: version
        )
        assert (choose_path('cuda')[0] == 'cuda') == runs
        assert choose_path('cpu')[0] == 'cpu'
    assert 'compiled without CUDA' in choose_path('cuda')[1]
    monkeypatch.setattr(attention_paths, 'compiled_ops_available', lambda: False)
    path, reason = choose_path('cuda')
    assert path in ('triton', 'torch') and '_ext is missing' in reason


@pytest.mark.parametrize('batch, images_at_a_time', [(2, 64), (64, 64), (65, 1), (96, 32)])
def test_all_paths_give_the_same(monkeypatch, batch, images_at_a_time):
    torch.manual_seed(0)
    attention = DeformableAttention(
        embed_dims=16, num_heads=2, num_levels=2, num_points=3, dropout=0.0, batch_first=True
    ).eval()
    levels = Levels.of([(3, 4), (6, 8)], torch.device('cpu'))
    inputs = torch.randn(batch, 60, 16), torch.randn(60, 16), levels

    class Operator:
        """Takes what mmcv's operator takes and computes it in torch."""

        @staticmethod
        def apply(value, shapes, start, locations, weights, step):
            assert start.tolist() == [0, 12] and step == images_at_a_time
            return deformable_attention.multi_scale_deformable_attn_pytorch(
                value, shapes, locations, weights
            )

    monkeypatch.setattr(deformable_attention, 'MultiScaleDeformableAttnFunction', Operator)
    paths = {path: attention(*inputs, path) for path in ('cpu', 'torch', 'cuda', 'triton')}
    assert torch.equal(paths['cuda'], paths['torch'])
    assert torch.equal(attention(*inputs), paths['cpu'])
    for path in ('cpu', 'triton'):  # on a CPU the operator of the kernel is plain torch
        torch.testing.assert_close(paths[path], paths['torch'], atol=1e-5, rtol=0)


def test_an_import_shows_what_is_not_noise(capsys):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        with pytest.raises(ImportError), quiet_import():
            print('Could not import OneDL: debug')
            print('a line of somebody')
            with warnings.catch_warnings():
                warnings.simplefilter('always')  # as torch does
                warnings.warn('of old parts', DeprecationWarning, stacklevel=1)
            warnings.warn('faster_coco_eval is not installed, so', UserWarning, stacklevel=1)
            warnings.warn('of somebody', UserWarning, stacklevel=1)
            raise ImportError
    assert capsys.readouterr().out == 'a line of somebody\n'
    assert [str(warning.message) for warning in shown] == ['of somebody']


def test_importing_prints_nothing(root_dir):
    environment = {**os.environ, 'PYTHONPATH': str(root_dir / 'projects')}
    command = [sys.executable, '-c', 'import oneformer']
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, '', '')


def test_names_that_a_package_no_longer_has_are_found_in_its_source(tmp_path):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'parts.py').write_text('def here(): ...\n\nhere_too = 1\n')
    (tmp_path / 'models/__init__.py').write_text('from .bert import Bert\n')
    user = tmp_path / 'user.py'
    user.write_text(
        'import torch\nfrom .other import anything\nfrom transformers.models import Bert\n'
        'try:\n    from transformers.parts import here, here_too, gone\nexcept ImportError: ...\n'
        'from transformers.removed import all_of_it\n'
    )
    assert list(compat.missing_names(user, tmp_path)) == ['all_of_it', 'gone']
    assert not list(compat.missing_names(tmp_path / 'nothing.py', tmp_path))
