"""The Triton kernel of deformable attention: in the interpreter, compiled, chosen and refused."""

import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
import triton_cases as cases
from mmdet.registry import MODELS
from mmengine.config import Config
from torch._subclasses.fake_tensor import FakeTensorMode
from triton_cases import Case

from oneformer.inference import OneFormerInferencer
from oneformer.kernels import attention_levels, attention_paths, triton_attention
from oneformer.kernels.attention_levels import Levels
from oneformer.kernels.attention_paths import OPTION, PATHS, choose_path
from oneformer.kernels.deformable_attention import DeformableAttention
from oneformer.kernels.plain_attention import plain_attention, plain_gradients

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def triton():
    return pytest.importorskip('triton', reason='torch for a CPU comes without Triton')


@pytest.fixture(scope='module')
def interpreted(triton):
    """Calls a function in a process whose Triton interprets kernels, on tensors of a CPU."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        with mock.patch.dict(os.environ, TRITON_INTERPRET='1', OMP_NUM_THREADS='1'):
            assert pool.submit(os.getpid).result() != os.getpid()
        yield lambda function, *given: pool.submit(function, *given).result()


CASES = dict(
    one_level=Case([(3, 5)], batch=2),
    odd_sizes=Case([(1, 2), (3, 1), (2, 5)], heads=1, points=4),
    nothing_a_power_of_two=Case([(2, 3), (1, 3)], heads=3, points=3, channels=5),
    five_levels=Case([(1, 1), (1, 2), (2, 2), (3, 1), (2, 3)], points=1, channels=3),
    sizes_of_the_model=Case([(1, 1), (1, 2), (2, 2)], heads=8, channels=32),
    most_points_outside=Case([(2, 2), (3, 3)], heads=1, spread=6.0),
    levels_without_pixels=Case([(0, 2), (2, 2), (3, 0), (1, 3), (0, 0)], heads=1, points=2),
    batch_of_65=Case([(1, 1), (1, 2)], batch=65, heads=1, points=1, channels=2),
    one_query=Case([(1, 1)], heads=1, points=1, channels=1, spread=0.3),
)


@pytest.mark.parametrize('name', CASES)
def test_values_and_gradients_are_those_of_the_reference(interpreted, name):
    value, *gradients = interpreted(cases.compare, CASES[name])
    assert value <= 1e-5 and max(gradients) <= 1e-4


@pytest.mark.parametrize(
    'kind, of_numbers, bound',
    [
        (torch.float64, torch.float64, 1e-12),
        (torch.bfloat16, torch.bfloat16, 0.04),
        (torch.float16, torch.float16, 0.005),
        (torch.float16, torch.float32, 0.005),
        (torch.float32, torch.float64, 1e-5),
    ],
    ids=str,
)
def test_other_types_are_rounded_only_at_the_end(interpreted, kind, of_numbers, bound):
    case = Case([(1, 2), (2, 2)], heads=1)
    assert max(interpreted(cases.compare, case, kind, of_numbers)) <= bound


def test_neither_strides_nor_autocast_change_results(interpreted):
    found, usual = interpreted(cases.without_order, Case([(1, 2), (2, 2)]))
    assert all(map(torch.equal, found, usual))


def test_an_offset_that_is_not_a_number_counts_as_outside_and_a_score_spoils_its_query(interpreted):
    offset, score, gradients = interpreted(cases.not_numbers)
    assert offset[0, :, 0, 0].ne(0).tolist() == [True, False, False, False]
    assert score.isnan().any(-1).flatten().tolist() == [False, True, False, False]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_places_beyond_32_bits_are_counted_by_64(interpreted):
    assert interpreted(cases.wide_places, Case([(1, 2), (2, 2)], heads=1))
    large = torch.empty(1, 2**20, 8, 256, device='meta')
    numbers, sizes = large.new_empty(1, 2**20, 24), large.new_empty(1, 2)
    pytest.importorskip('triton')
    found = [triton_attention._constants(t, numbers, sizes, 1, 4096) for t in (large, large[:, 1:])]
    assert [str(constants['index']) for constants in found] == ['int64', 'int32']


def test_no_images_or_tokens_start_no_kernel(interpreted):
    assert interpreted(cases.ours, torch.ones(0, 2, 1, 4), torch.ones(0, 2, 3), [(1, 2)], 1).shape
    empty = interpreted(cases.ours, torch.ones(3, 0, 1, 4), torch.ones(3, 0, 3), [(0, 2)], 1)
    assert empty.shape == (3, 0, 1, 4)


def test_only_what_came_in_is_kept_for_the_backward_pass(interpreted):
    kept, given = interpreted(cases.kept_bytes, Case([(2, 3), (4, 4)], heads=1))
    assert given <= kept <= given + 100  # and the few numbers of the levels


def test_a_second_derivative_is_refused(interpreted):
    told = interpreted(cases.second_derivative)
    assert 'deformable_attention_backward' in told and 'autograd' in told


def test_deterministic_algorithms_are_refused_as_torch_does(interpreted):
    for warn_only in (False, True):
        told = interpreted(cases.deterministic, warn_only)
        assert 'adds in no certain order' in told and 'randomness.deterministic' in told


def test_the_first_use_compares_with_plain_torch(interpreted, monkeypatch):
    assert interpreted(cases.self_check) is None
    for spoiled in ('run_forward', 'run_backward'):  # stand-ins, of which one is wrong by 1 %
        for name, by in zip(('run_forward', 'run_backward'), (forward, backward)):
            factor = 1.01 if name == spoiled else 1
            monkeypatch.setattr(triton_attention, name, partial(by, factor))
        told = triton_attention.compare_with_plain_torch(CPU)
        assert ('results' if spoiled == 'run_forward' else 'gradients') in told
        assert told.endswith('than plain torch, by 1.0%')


def forward(factor, value, numbers, sizes, starts, points):
    return factor * plain_attention(value, numbers, sizes, points)


def backward(factor, value, numbers, sizes, starts, gradient, points):
    return [factor * t for t in plain_gradients(value, numbers, sizes, gradient, points)]


def test_a_training_step_and_what_it_teaches_are_the_same_by_all_paths(interpreted, config_dir):
    config = str(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    steps, predictions = interpreted(cases.train_and_predict, config, ('triton', 'cpu', 'torch'))
    losses, gradients = steps.pop('triton')
    for other_losses, other_gradients in steps.values():
        assert other_losses == pytest.approx(losses, rel=1e-4)
        assert other_gradients.keys() == gradients.keys()
        for name, gradient in other_gradients.items():
            # those of the text branch are small, and sums of large numbers
            error = (gradient - gradients[name]).norm() / max(gradient.norm(), 1e-2)
            assert error <= 1e-4, name
    own = {name: gradient.norm() for name, gradient in gradients.items() if 'self_attn' in name}
    assert sum(norm > 1e-2 for norm in own.values()) > 10, own
    for path in ('cpu', 'torch'):
        for ours, other in zip(predictions['triton'], predictions[path]):
            torch.testing.assert_close(ours, other, atol=1e-4, rtol=0)


# --- compiled


def compiled(triton, capability: int, kernel: str, kind: str) -> dict:
    """What Triton's compiler and ptxas make of a kernel, at the sizes of the published models."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from oneformer.kernels import triton_programs

    function = getattr(triton_programs, kernel)
    tile = dict(attend=triton_attention._FORWARD_TILE)
    value, numbers = torch.empty(1, 21, 8, 32), torch.empty(1, 21, 288)
    constants = triton_attention._constants(
        value, numbers, torch.ones(3, 2), 4, tile.get(kernel, triton_attention._BACKWARD_TILE)
    )
    options = dict(num_warps=constants.pop('num_warps'))
    types = dict(sizes='*i64', starts='*i64', num_tokens='i32', value_gradient='*fp32')
    signature = {
        name: 'constexpr' if name in constants else types.get(name, f'*{kind}')
        for name in function.arg_names
    }
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    aligned = {
        (i,): [['tt.divisibility', 16]]
        for i, name in enumerate(function.arg_names)
        if signature[name].startswith('*')
    }
    source = ASTSource(function, signature, places, aligned)
    return triton.compile(source, target=GPUTarget('cuda', capability, 32), options=options).asm


@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('kernel, kind', [('attend', 'fp32'), ('differentiate', 'fp32')])
def test_kernels_compile_for_gpus_without_one(triton, tmp_path, capability, kernel, kind):
    from triton.backends import nvidia

    with mock.patch.dict(os.environ, TRITON_CACHE_DIR=str(tmp_path)):
        asm = compiled(triton, capability, kernel, kind)
    assert f'.target sm_{capability}' in asm['ptx'] and len(asm['cubin']) > 1000
    tool = Path(nvidia.__file__).with_name('bin') / 'cuobjdump'
    (tmp_path / 'kernel.cubin').write_bytes(asm['cubin'])
    usage = subprocess.run(
        [tool, '-res-usage', tmp_path / 'kernel.cubin'], capture_output=True, text=True, check=True
    ).stdout
    print(usage)
    assert 'STACK:0' in usage and 'LOCAL:0' in usage  # no register in memory


@pytest.mark.parametrize('kind', ['bf16', 'fp16'])
@pytest.mark.parametrize('kernel', ['attend', 'differentiate'])
def test_kernels_of_half_precision_compile(triton, tmp_path, kernel, kind):
    with mock.patch.dict(os.environ, TRITON_CACHE_DIR=str(tmp_path)):
        assert len(compiled(triton, 80, kernel, kind)['cubin']) > 1000


# --- as an operator of torch, which a CPU computes in plain torch


def test_the_operator_is_one_of_torch():
    call = cases.draw(Case([(1, 2), (2, 2)]))
    levels = Levels.of(call.shapes, CPU)
    inputs = call.value.requires_grad_(), call.numbers.requires_grad_()
    torch.library.opcheck(
        torch.ops.oneformer.deformable_attention.default,
        (*inputs, levels.sizes, levels.starts, call.points),
    )


def test_a_cpu_computes_the_operator_in_plain_torch():
    assert max(cases.compare(CASES['odd_sizes'])) <= 1e-4


# --- levels


def test_levels_are_kept_and_made_without_a_copy_that_waits():
    attention_levels._known.cache_clear()
    with torch.inference_mode():
        levels = Levels.of([(2, 3), (4, 6)], 'cpu')
    assert Levels.of([torch.Size([2, 3]), (4, 6)], CPU) is levels
    assert not levels.centres.is_inference()
    assert levels.sizes.tolist() == [[2, 3], [4, 6]] and levels.starts.tolist() == [0, 6]
    assert {levels.sizes.dtype, levels.starts.dtype} == {torch.int64}
    with mock.patch.object(torch, 'tensor', side_effect=AssertionError):
        assert Levels.of([(1, 3)], CPU).sizes.tolist() == [[1, 3]]


def test_levels_of_fake_tensors_are_not_kept():
    attention_levels._known.cache_clear()
    for _ in range(2):
        with FakeTensorMode():
            levels = Levels.of([(2, 3)], torch.device('cuda'))
            assert levels.sizes.device.type == 'cuda' and (levels.centres + 1).shape == (6, 2)
    assert attention_levels._known.cache_info().currsize == 0


# --- the choice


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is there, and what the comparison on it says or raises."""

    def pretend(outcome):
        def compare(device):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(attention_paths, 'compiled_ops_available', lambda: False)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
        monkeypatch.setattr(triton_attention, 'compare_with_plain_torch', compare)
        attention_paths._failure_on.cache_clear()

    yield pretend
    attention_paths._failure_on.cache_clear()


def test_a_gpu_without_mmcvs_operator_takes_the_kernel(triton, gpu):
    gpu(None)
    path, reason = choose_path('cuda')
    assert path == 'triton' and '_ext is missing); compared with plain torch here' in reason
    assert choose_path('cuda:0', 'torch') == ('torch', f'chosen by {OPTION}')
    assert choose_path('cuda:0', 'triton') == ('triton', f'chosen by {OPTION}')


def test_where_mmcvs_operator_is_compiled_it_stays(gpu, monkeypatch):
    gpu(None)
    monkeypatch.setattr(attention_paths, 'compiled_ops_available', lambda: True)
    monkeypatch.setattr(attention_paths, 'get_compiling_cuda_version', lambda: '12.8')
    assert choose_path('cuda')[0] == 'cuda'


@pytest.mark.parametrize(
    'outcome, told',
    [
        (RuntimeError('out of resource: shared memory\nmore'), 'RuntimeError: out of resource'),
        ('computes other results', 'computes other results'),
    ],
    ids=['raises', 'differs'],
)
def test_a_kernel_that_fails_on_a_gpu_is_left_with_a_warning(triton, gpu, outcome, told):
    gpu(outcome)
    with pytest.warns(UserWarning, match='in plain torch, several times slower') as caught:
        path, reason = choose_path('cuda')
    assert path == 'torch' and told in reason and told in str(caught[0].message)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=told) as error:
        warnings.simplefilter('ignore')
        choose_path('cuda:0', 'triton')
    assert f"{OPTION} is 'triton'" in str(error.value) and "'auto'" in str(error.value)


def test_what_triton_needs_to_compile_is_named(triton, gpu, monkeypatch, tmp_path):
    def told():
        attention_paths._failure_on.cache_clear()
        with pytest.warns(UserWarning, match='several times slower'):
            return choose_path('cuda')[1]

    gpu(RuntimeError('Failed to find C compiler.'))
    monkeypatch.setenv('CC', str(tmp_path / 'mycc'))
    assert f'CC={tmp_path / "mycc"} is none' in told()
    monkeypatch.delenv('CC')
    monkeypatch.setenv('PATH', str(tmp_path))
    assert 'install gcc or clang' in told()
    (tmp_path / 'gcc').touch(mode=0o755)
    monkeypatch.setattr(attention_paths.sysconfig, 'get_paths', lambda: dict(include=tmp_path))
    assert 'python3-dev' in told()
    gpu(None)  # what was compiled before needs no compiler
    assert choose_path('cuda')[0] == 'triton'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)  # asked by doctor on a laptop
    path, reason = choose_path('cuda')
    assert path == 'torch' and 'python3-dev' in reason


def test_paths_that_cannot_run_say_why():
    for path, told in dict(triton='it is for CUDA', cuda='it is for CUDA').items():
        with pytest.raises(ValueError, match=told) as error:
            choose_path('cpu', path)
        assert PATHS[path] in str(error.value) and "here 'cpu'" in str(error.value)
    with pytest.raises(ValueError, match='they are for a CPU'):
        choose_path('meta', 'cpu')
    assert choose_path('meta')[0] == 'torch'


def test_the_option_is_checked_when_a_model_is_built(config_dir):
    config = Config.fromfile(config_dir / 'oneformer_efficientnet-lite0_quickstart.py').model
    config.backbone.pretrained = False
    config.panoptic_head.pixel_decoder.attention = 'gpu'
    with pytest.raises(ValueError, match="pixel_decoder.attention is 'gpu': there are 'auto'"):
        MODELS.build(config)
    config.panoptic_head.pixel_decoder.attention = 'cuda'
    model = MODELS.build(config)
    assert attention_paths.wanted_path(model) == 'cuda'
    with pytest.raises(ValueError, match="attention is 'cuda', but mmcv's CUDA operator cannot"):
        model(*cases.tiny_batch(), mode='loss')


def test_predictions_take_the_path_that_is_asked_for(run_tool, config_dir, tmp_path):
    name, image = 'oneformer_efficientnet-lite0_quickstart', np.full((64, 64, 3), 99, np.uint8)
    weights = tmp_path / 'random.pth'
    torch.manual_seed(0)
    config = Config.fromfile(config_dir / f'{name}.py').model
    config.backbone.pretrained = False
    torch.save(dict(state_dict=MODELS.build(config).state_dict()), weights)
    maps, used = {}, []
    attend = DeformableAttention.attend
    with mock.patch.object(
        DeformableAttention, 'attend', lambda *given: used.append(given[-1]) or attend(*given)
    ):
        for path in (None, 'torch', 'cpu'):
            inferencer = OneFormerInferencer(name, weights, 'cpu', attention=path)
            (prediction,) = inferencer(image, tasks='semantic', progress=False)
            maps[path] = prediction.semantic_map
    layers = len(used) // 3
    assert used == [path for path in ('cpu', 'torch', 'cpu') for _ in range(layers)]
    assert (maps['torch'] != maps[None]).mean() < 0.001
    with pytest.raises(ValueError, match="'triton', but our Triton kernel cannot run on cpu"):
        OneFormerInferencer(name, weights, 'cpu', attention='triton')
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    given = tmp_path / 'image.png', '--model', name, '--weights', weights, '--device', 'cpu'
    assert 'images and frames: 1;' in run_tool('predict', *given, '--attention', 'torch')
    with pytest.raises(SystemExit, match='it is for CUDA.*--attention auto'):
        run_tool('predict', *given, '--attention', 'cuda')


def test_no_path_imports_triton_where_it_is_missing(monkeypatch, root_dir):
    for name in [name for name in sys.modules if name.split('.')[0] == 'triton']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'triton', None)
    with pytest.raises(ImportError):
        import triton  # noqa: F401
    path, reason = choose_path('cuda')
    assert path == 'torch' and 'Triton is not installed (pip install triton' in reason
    with pytest.raises(ValueError, match='pip install triton'):
        choose_path('cuda', 'triton')
    attention = DeformableAttention(16, 2, 1, 2, dropout=0.0, batch_first=True)
    inputs = torch.randn(1, 6, 16), torch.randn(6, 16), Levels.of([(2, 3)], CPU)
    outputs = [attention(*inputs, path) for path in ('cpu', 'torch', 'triton', None)]
    sum(output.sum() for output in outputs).backward()
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])
    assert sys.modules['triton'] is None
    # and one file alone imports it at its top, which is imported when the kernel is to run
    users = [path for path in (root_dir / 'projects').rglob('*.py') if imports_triton(path)]
    assert [path.name for path in users] == ['triton_programs.py']
    assert not re.search(r'^from .*triton_programs', Path(triton_attention.__file__).read_text())


def imports_triton(path):
    return re.search(r'^(import|from) triton\b', path.read_text(), re.MULTILINE)
