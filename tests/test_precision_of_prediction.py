"""``--precision`` of predictions: what runs in it, what stays in float32, and who refuses it."""

import json

import cv2
import numpy as np
import pytest
import torch
import toy_model
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DATASETS

from oneformer.host import processor
from oneformer.host.float32_products import float32_products
from oneformer.inference import OneFormerInferencer
from oneformer.kernels import precision as formats
from oneformer.kernels.precision import check_precision, exact_float32

MATMUL = torch.backends.cuda.matmul
HALVES = dict(bf16=torch.bfloat16, fp16=torch.float16)


def surroundings():
    """What autocast and float32 products are set to."""
    own = getattr(MATMUL, 'fp32_precision', None)
    return (
        torch.is_autocast_enabled('cpu'),
        torch.get_autocast_dtype('cpu'),
        torch.get_float32_matmul_precision(),
        own,
    )


@pytest.fixture(autouse=True)
def untouched():
    """A test leaves the settings of the process as they were."""
    before = surroundings()
    yield
    assert surroundings() == before


@pytest.fixture(autouse=True)
def able_processor(monkeypatch):
    """The processor multiplies in half precision, slowly or not."""
    monkeypatch.setattr(processor, 'multiplies', lambda precision: True)


@pytest.fixture
def with_tf32(monkeypatch):
    """Every device has TF32, as far as it is asked."""
    monkeypatch.setattr(formats, 'lack_of_tf32', lambda device: None)


@pytest.fixture(scope='module')
def trained(config_dir, tiny_set, tmp_path_factory):
    """Path of a config, and of a checkpoint of a model whose queries find different classes."""
    cfg = toy_model.toy_config(config_dir, tiny_set)
    image = cv2.imread(str(tiny_set / 'val/000001.jpg'))[..., ::-1].copy()
    model = toy_model.decisive(cfg.model, torch.from_numpy(image).permute(2, 0, 1))
    folder = tmp_path_factory.mktemp('trained')
    cfg.model.test_cfg.update(object_mask_thr=0.1, iou_thr=0.1)
    cfg.test_dataloader.dataset.data_root = f'{tiny_set}/'
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.dump(folder / 'toy.py')
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'toy.pth')
    return str(folder / 'toy.py'), str(folder / 'toy.pth')


@pytest.fixture(scope='module')
def images(tiny_set):
    """Paths of the five images for validation."""
    return sorted(str(path) for path in tiny_set.glob('val/*.jpg'))


def inferencer(trained, precision=None):
    return OneFormerInferencer(*trained, 'cpu', precision=precision)


def predict(trained, images, precision=None):
    return inferencer(trained, precision)(images, score_thr=0.0, progress=False)


def fields(prediction):
    return (
        prediction.panoptic_map,
        prediction.semantic_map,
        prediction.masks,
        prediction.labels,
        prediction.scores,
        prediction.boxes,
    )


@pytest.fixture(scope='module')
def in_float32(trained, images):
    """Predictions without a word on precision."""
    return predict(trained, images)


def test_fp32_predicts_what_no_precision_predicts_bit_for_bit(trained, images, in_float32):
    for ours, expected in zip(predict(trained, images, 'fp32'), in_float32, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(fields(ours), fields(expected)))
        assert ours.segments == expected.segments


@pytest.mark.parametrize('precision', HALVES)
def test_half_precision_predicts_nearly_the_same_in_float32(trained, images, in_float32, precision):
    same = []
    for ours, expected in zip(predict(trained, images, precision), in_float32, strict=True):
        assert ours.scores.dtype == expected.scores.dtype == np.float32
        assert ours.boxes.dtype == expected.boxes.dtype
        assert (ours.semantic_map == expected.semantic_map).mean() > 0.98
        segments = [p.panoptic_map > 0 for p in (ours, expected)]
        assert (segments[0] == segments[1]).mean() > 0.98 and 0.4 < segments[1].mean() < 0.9
        assert abs(np.sort(ours.scores)[-5:] - np.sort(expected.scores)[-5:]).max() < 0.06
        same.append(np.array_equal(np.sort(ours.scores), np.sort(expected.scores)))
    assert not all(same)


@pytest.mark.parametrize('precision', [None, *HALVES])
def test_the_network_runs_in_the_precision_and_what_follows_in_float32(
    trained, images, precision, monkeypatch
):
    """Also where the surroundings ask for something else."""
    own = inferencer(trained, precision)
    seen = {}
    own.model.panoptic_head.query_embed.weight.requires_grad_(False)

    def note(name):
        def hook(module, inputs, output):
            seen[name] = output.dtype if torch.is_tensor(output) else output[0].dtype

        return hook

    head = own.model.panoptic_head
    head.cls_embed.register_forward_hook(note('decoder'))
    head.pixel_decoder.register_forward_hook(note('pixel decoder'))
    layer = head.pixel_decoder.encoder.layers[-1]
    layer.self_attn.value_proj.register_forward_hook(note('values'))
    layer.norms[1].register_forward_hook(note('tokens'))
    post_process = own.model.post_process

    def noted(sample, task, outputs, resize):
        parts = outputs.cls_scores, outputs.mask_embeds, outputs.mask_features
        seen[task] = {part.dtype for part in parts}
        seen['around'] = surroundings()[0], surroundings()[2]
        post_process(sample, task, outputs, resize)

    monkeypatch.setattr(own.model, 'post_process', noted)
    with torch.autocast('cpu', torch.bfloat16), float32_products(exact=False):
        own(images[0], progress=False)
        assert surroundings()[:3] == (True, torch.bfloat16, 'high')
    assert seen['decoder'] == HALVES.get(precision, torch.bfloat16)
    assert seen['pixel decoder'] == seen['tokens'] == torch.float32
    # on a CPU its products are in bfloat16, too
    assert seen['values'] == (torch.float32 if precision == 'fp16' else torch.bfloat16)
    assert seen['panoptic'] == seen['semantic'] == {torch.float32}
    assert seen['around'] == (False, 'highest')


def test_fp32_is_exact_also_in_surroundings_that_are_not(trained, images, in_float32):
    with torch.autocast('cpu', torch.bfloat16), float32_products(exact=False):
        (ours,) = predict(trained, images[0], 'fp32')
    assert np.array_equal(ours.scores, in_float32[0].scores)


def test_tf32_is_on_while_the_network_runs_and_only_then(
    trained, images, in_float32, with_tf32, monkeypatch
):
    own = inferencer(trained, 'tf32')
    run_network, seen = own.model.run_network, []

    def noted(*args):
        seen.append(torch.get_float32_matmul_precision())
        return run_network(*args)

    monkeypatch.setattr(own.model, 'run_network', noted)
    before = surroundings()
    stream = own.stream(images, score_thr=0.0, progress=False)
    first = next(stream)
    assert surroundings() == before  # between images, too
    stream.close()
    assert seen == ['high']
    assert np.allclose(first.scores, in_float32[0].scores, atol=1e-3)  # this CPU has no TF32


@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'bf16', 'fp16'])
def test_the_settings_are_restored_after_an_error(
    trained, images, precision, with_tf32, monkeypatch
):
    own = inferencer(trained, precision)

    def fail(*args):
        assert surroundings() != before or precision == 'fp32'
        raise ArithmeticError('in the network')

    monkeypatch.setattr(own.model, 'run_network', fail)
    before = surroundings()
    with pytest.raises(ArithmeticError, match='in the network'):
        own(images[0], progress=False)
    assert surroundings() == before


NEWER = pytest.mark.skipif(not hasattr(MATMUL, 'fp32_precision'), reason='torch 2.9 brought it')


@NEWER
def test_a_setting_for_everything_is_followed_afterwards():
    before = torch.backends.fp32_precision
    try:
        for value in ('tf32', 'ieee'):
            torch.backends.fp32_precision = value
            assert MATMUL.fp32_precision == value
            with exact_float32(torch.device('cpu')):
                assert MATMUL.fp32_precision == 'ieee'
    finally:
        torch.backends.fp32_precision = before


@NEWER
def test_the_newer_settings_of_torch_are_followed_and_restored():
    before = MATMUL.fp32_precision
    MATMUL.fp32_precision = 'tf32'
    try:
        with pytest.raises(RuntimeError):  # which excludes the older question
            torch.get_float32_matmul_precision()
        with exact_float32(torch.device('cpu')):
            assert MATMUL.fp32_precision == 'ieee'
            with float32_products(exact=False):
                assert MATMUL.fp32_precision == 'tf32'
        assert MATMUL.fp32_precision == 'tf32'
    finally:
        MATMUL.fp32_precision = before


def test_the_command_predicts_what_the_inferencer_predicts(
    trained, images, run_command, tmp_path, in_float32
):
    config, weights = trained
    options = ('--model', config, '--weights', weights, '--device', 'cpu', '--score-thr', 0)
    options = (*options, '--out-dir', tmp_path / 'o')
    printed = run_command('predict', images[0], *options, '--precision', 'bf16')
    assert 'precision bf16: bfloat16 autocast in the network, predictions in float32' in printed
    (ours,) = predict(trained, images[0], 'bf16')
    entries = json.loads((tmp_path / 'o/instance.json').read_text())
    scores = sorted(entry['score'] for entry in entries)
    assert scores == pytest.approx(sorted(ours.scores.tolist()), abs=1e-7)
    assert scores != pytest.approx(sorted(in_float32[0].scores.tolist()), abs=1e-7)
    (drawn,) = (tmp_path / 'o/semantic').rglob('*.png')
    assert np.array_equal(cv2.imread(str(drawn), cv2.IMREAD_UNCHANGED), ours.semantic_map)


def test_evaluation_runs_in_the_precision_and_says_so(trained, run_tool, tmp_path):
    only_files = ('--tasks', 'instance', '--format-only', '--out-dir', tmp_path / 'o')

    def scores(*options):
        printed = run_tool('test', *trained, *only_files, *options)
        (file,) = (tmp_path / 'o').rglob('instance*.json')
        return [entry['score'] for entry in json.loads(file.read_text())], printed

    plain, printed = scores()
    assert 'precision:' not in printed and len(plain) > 5
    asked, printed = scores('--precision', 'bf16')
    assert 'bfloat16 autocast in the network, predictions and scores in float32' in printed
    configured, _ = scores('--cfg-options', 'model.test_cfg.precision=bf16')
    assert asked == configured != plain
    assert sorted(asked)[-5:] == pytest.approx(sorted(plain)[-5:], abs=0.06)
    exact, _ = scores('--precision', 'fp32', '--cfg-options', 'model.test_cfg.precision=bf16')
    assert exact == plain


def test_mmdets_functions_follow_the_config(trained, images):
    config, weights = trained
    cfg = Config.fromfile(config)
    found = {}
    for precision in (None, 'bf16'):
        own = dict(model=dict(test_cfg=dict(precision=precision)))
        model = init_detector(cfg.copy(), weights, device='cpu', cfg_options=own)
        found[precision] = inference_detector(model, images[0]).pred_instances.scores
    ours = predict(trained, images[0], 'bf16')[0].scores
    assert np.allclose(np.sort(found['bf16'].numpy()), np.sort(ours), atol=1e-6)
    assert not torch.equal(found[None], found['bf16'])


def test_windows_of_a_large_image_are_seen_in_the_precision(trained, images):
    cfg = Config.fromfile(trained[0])
    cfg.model.test_cfg.update(window=dict(size=128, overlap=32), tasks=('instance',))
    found, seen = {}, []
    for precision in (None, 'bf16'):
        seen.clear()
        own = OneFormerInferencer(cfg, trained[1], 'cpu', precision=precision)
        hook = lambda module, inputs, output: seen.append(output.dtype)  # noqa: E731
        own.model.panoptic_head.mask_embed[-1].register_forward_hook(hook)
        (prediction,) = own(images[0], score_thr=0.0, progress=False)
        found[precision] = prediction.scores
        assert set(seen) == {HALVES.get(precision, torch.float32)}
        assert len(seen) > len(own.model.panoptic_head.transformer_decoder.layers) + 1
    assert not np.array_equal(found[None], found['bf16'])


def test_views_of_test_time_augmentation_run_in_the_precision(trained, tiny_set):
    cfg = Config.fromfile(trained[0])
    own = dict(text_mapper=None, contrastive_loss=None, criterion=None, type='OneFormerTTA')
    cfg.model.update(**own, tta=dict(short_edges=[64], max_size=64, flip=False))
    cfg.model.test_cfg.update(tasks=('semantic',), precision='bf16')
    model = MODELS.build(cfg.model).eval()
    seen = []
    hook = lambda module, inputs, output: seen.append(output.dtype)  # noqa: E731
    model.panoptic_head.cls_embed.register_forward_hook(hook)
    sample = DATASETS.build(cfg.test_dataloader.dataset)[0]
    with torch.no_grad():
        model.test_step(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
    assert set(seen) == {torch.bfloat16}


def test_other_names_are_refused_with_the_choices(trained, run_tool, capsys, config_dir):
    choices = 'fp32, tf32, bf16, fp16'
    with pytest.raises(ValueError, match=f"precision is 'half': it has to be one of {choices}"):
        OneFormerInferencer(None, 'no/file.pth', 'cpu', precision='half')  # before weights are read
    with pytest.raises(ValueError, match=r'precision is True: it has to be one of'):
        inferencer(trained, True)
    cfg = Config.fromfile(trained[0]).model
    cfg.test_cfg.precision = 'float16'
    with pytest.raises(ValueError, match=f"model.test_cfg.precision is 'float16'.*{choices}"):
        MODELS.build(cfg)
    for tool, arguments in (('predict', ['a.jpg', '--model', 'm']), ('test', trained)):
        with pytest.raises(SystemExit):
            run_tool(tool, *arguments, '--precision', 'half')
        assert "invalid choice: 'half'" in capsys.readouterr().err


def test_tf32_is_refused_on_a_cpu(trained, images, run_tool):
    reason = 'tf32, but TF32 is of NVIDIA GPUs, and the model is on cpu: choose fp32'
    with pytest.raises(ValueError, match=f'^precision is {reason}'):
        inferencer(trained, 'tf32')
    config, weights = trained
    for tool, arguments in (
        ('predict', [images[0], '--model', config, '--weights', weights, '--device', 'cpu']),
        ('test', trained),
    ):
        with pytest.raises(SystemExit, match=f'error: .*precision is {reason}'):
            run_tool(tool, *arguments, '--precision', 'tf32')
    cfg = Config.fromfile(config)
    cfg.model.test_cfg.precision = 'tf32'
    with pytest.raises(ValueError, match=f'model.test_cfg.precision of the config is {reason}'):
        OneFormerInferencer(cfg, weights, 'cpu')
    with pytest.raises(SystemExit, match=f'model.test_cfg.precision of the config is {reason}'):
        run_tool('test', *trained, '--cfg-options', 'model.test_cfg.precision=tf32')
    model = init_detector(cfg, weights, device='cpu')
    with pytest.raises(ValueError, match=f'model.test_cfg.precision is {reason}'):
        inference_detector(model, images[0])


@pytest.mark.parametrize(
    ('precision', 'capability', 'refusal'),
    [
        ('tf32', (7, 5), r'TF32 needs .* 8.0 \(Ampere\), and Tesla T4 has 7.5: choose fp32, or'),
        ('bf16', (7, 5), r'bfloat16 needs .*, and Tesla T4 has 7.5: choose fp16'),
        ('fp16', (7, 5), None),
        ('fp32', (7, 5), None),
        ('tf32', (8, 0), None),
        ('bf16', (9, 0), None),
    ],
)
def test_an_older_gpu_has_fewer(precision, capability, refusal, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Tesla T4')
    if refusal is None:
        return check_precision(precision, 'cuda:0')
    with pytest.raises(ValueError, match=f'precision is {precision}, but {refusal}'):
        check_precision(precision, 'cuda:0')


@pytest.mark.parametrize(
    ('listed', 'expected'),
    [
        ('flags\t\t: fpu avx512f avx512_bf16', dict(bf16=True, fp16=False)),
        (
            'model name\t: amx_bf16 machine\nflags\t\t: amx_bf16 amx_fp16',
            dict(bf16=True, fp16=True),
        ),
        ('flags\t\t: fpu avx2', dict(bf16=False, fp16=False)),
        ('Features\t: fp asimd bf16', dict(bf16=True, fp16=False)),
    ],
)
def test_the_processor_tells_what_it_multiplies(listed, expected, tmp_path, monkeypatch):
    monkeypatch.undo()  # its answer in the other tests
    (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\n{listed}\n')
    found = processor.flags(tmp_path / 'cpuinfo')
    monkeypatch.setattr(processor, 'flags', lambda: found)
    assert {name: processor.multiplies(name) for name in HALVES} == expected


def test_without_a_list_of_features_torch_is_asked(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(processor, 'flags', frozenset)
    for answer in (True, False):
        for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
            monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer, raising=False)
        assert processor.multiplies('bf16') == answer
    monkeypatch.delattr(torch.cpu, '_is_amx_fp16_supported', raising=False)
    assert not processor.multiplies('fp16')


@pytest.mark.parametrize('precision', HALVES)
def test_a_processor_that_would_be_slower_uses_float32_and_says_so(
    trained, images, in_float32, precision, monkeypatch, run_command, run_tool, tmp_path
):
    monkeypatch.setattr(processor, 'multiplies', lambda precision: False)
    ours = predict(trained, images[:1], precision)[0]
    assert np.array_equal(ours.scores, in_float32[0].scores)
    words = f'is {precision}, but this processor is not known to multiply {HALVES[precision]}'
    config, weights = trained
    options = ('--model', config, '--weights', weights, '--device', 'cpu', '--out-dir', tmp_path)
    printed = run_command('predict', images[0], *options, '--precision', precision)
    assert words in printed and 'float32 is used' in printed and 'autocast' not in printed
    only_files = ('--tasks', 'instance', '--format-only', '--out-dir', tmp_path / 'o')
    printed = run_tool('test', *trained, *only_files, '--precision', precision)
    assert words in printed and 'autocast' not in printed


def test_devices_without_autocast_are_refused(monkeypatch):
    monkeypatch.setattr(torch.amp, 'is_autocast_available', lambda kind: False)
    with pytest.raises(ValueError, match='has no autocast on meta: choose fp32'):
        check_precision('bf16', 'meta')
