"""The benchmark tool on tiny sizes: what it compares, what it writes, what it leaves behind."""

import argparse
import json
import os
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import panoptic_utils
from mmdet.evaluation.metrics import coco_panoptic_metric

from oneformer.host import processor

TINY = ('--height', 64, '--width', 96, '--segments', 9, '--repeats', 2, '--threads', 1)
ROWS = dict(
    data=('targets/mmdet', 'masks/mmdet', 'sample/mmdet', 'sample_masks/mmdet'),
    metrics=('mmdet', 'mmdet_files', 'hotcoco', 'instance_ap', 'run_lengths'),
)
MORE = dict(data=(), metrics=('--images', 4))


@pytest.fixture(autouse=True)
def keep_threads():
    """The tool fixes numbers of threads; other tests get theirs back."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(threads[0])
    torch.set_num_threads(threads[1])


@pytest.fixture
def tool(load_tool):
    return load_tool('benchmark')


@pytest.mark.parametrize('command', ROWS)
def test_table_and_json_have_all_rows(run_tool, tmp_path, command):
    printed = run_tool('benchmark', command, *TINY, *MORE[command], '--json', 'results.json')
    results = json.loads((tmp_path / 'results.json').read_text())
    assert 'threads' in results.pop('machine') and '1 threads' in printed
    names = [f'{command}/{row}' for row in ROWS[command]]
    assert list(results) == [
        f'{name}{suffix}' for name in names for suffix in ('', '/seconds_ours', '/seconds_peer')
    ]
    for name in names:
        assert f'| {name} ' in printed
        quotient = results[f'{name}/seconds_peer'] / results[f'{name}/seconds_ours']
        assert results[name] == pytest.approx(quotient) and quotient > 0


@pytest.mark.parametrize('command', ROWS)
def test_stand_ins_are_gone_after_a_run(run_tool, command):
    def found():
        names = ('panopticapi', 'PQStat', 'VOID', 'OFFSET', 'rgb2id', 'id2rgb')
        modules = (coco_panoptic_metric, panoptic_utils)
        return [getattr(module, name, None) for module in modules for name in names] + [
            sys.modules.get(f'panopticapi{suffix}') for suffix in ('', '.utils')
        ]

    before = found()
    run_tool('benchmark', command, *TINY, *MORE[command])
    assert all(now is then for now, then in zip(found(), before))


@pytest.fixture
def small_backbones(tool, monkeypatch):
    """Backbones of few channels, measured in this process."""
    dinat = dict(embed_dims=16, depths=[1, 1], num_heads=[1, 2], dilations=[[2], [1]])
    swin = dict(embed_dims=16, depths=(1, 1), num_heads=(1, 2), out_indices=(0, 1))
    dinat |= dict(kernel_size=3, out_indices=(0, 1))
    small, read = {'dinat-l': dinat, 'swin-l': swin}, tool.backbones.read
    monkeypatch.setattr(tool.backbones, 'read', lambda name: dict(read(name), **small[name]))
    monkeypatch.setattr(tool.backbones.memory, 'in_own_process', lambda work, *given: work(*given))


@pytest.mark.usefixtures('small_backbones')
def test_backbones_are_measured_in_time_and_memory(run_tool, tmp_path):
    arguments = ('--size', 64, '--repeats', 2, '--threads', 1, '--json', 'results.json')
    printed = run_tool('benchmark', 'backbones', *arguments)
    assert ' ms ' in printed and ' MiB ' in printed
    results = json.loads((tmp_path / 'results.json').read_text())
    for row, unit, above, below in (
        ('time', 'seconds', 'peer', 'ours'),
        ('memory', 'bytes', 'ours', 'peer'),
    ):
        name = f'backbones/dinat/{row}'
        quotient = results[f'{name}/{unit}_{above}'] / results[f'{name}/{unit}_{below}']
        assert results[name] == pytest.approx(quotient) and quotient > 0


@pytest.mark.usefixtures('small_backbones')
def test_backbones_of_other_outputs_are_not_compared(run_tool, tool, monkeypatch):
    read = tool.backbones.read
    widths = {'dinat-l': 16, 'swin-l': 32}
    monkeypatch.setattr(
        tool.backbones, 'read', lambda name: dict(read(name), embed_dims=widths[name])
    )
    with pytest.raises(tool.timing.ResultsDiffer, match='features of DiNAT are'):
        run_tool('benchmark', 'backbones', '--size', 64, '--threads', 1)


def test_memory_is_measured_in_a_process_of_its_own(tool):
    assert tool.backbones.memory.in_own_process(os.getpid) != os.getpid()


def without_one_pixel(labels, masks):
    masks = masks.clone()
    masks[0, tuple(masks[0].nonzero()[0])] = False
    return labels, masks


def with_other_label(labels, masks):
    labels = labels.clone()
    labels[-1] += 1
    return labels, masks


def without_one_target(labels, masks):
    return labels[1:], masks[1:]


def in_other_order(labels, masks):
    return labels.flip(0), masks.flip(0)


@pytest.mark.parametrize('spoil', [without_one_pixel, with_other_label, without_one_target])
def test_targets_that_differ_stop_the_benchmark(run_tool, tool, tmp_path, monkeypatch, spoil):
    right = tool.data.our_expansion
    monkeypatch.setattr(tool.data, 'our_expansion', lambda packed: spoil(*right(packed)))
    with pytest.raises(tool.timing.ResultsDiffer, match='targets of ours'):
        run_tool('benchmark', 'data', *TINY, '--json', 'results.json')
    assert not (tmp_path / 'results.json').exists()


def test_the_order_of_targets_does_not_matter(run_tool, tool, monkeypatch):
    right = tool.data.our_expansion
    monkeypatch.setattr(tool.data, 'our_expansion', lambda packed: in_other_order(*right(packed)))
    run_tool('benchmark', 'data', *TINY)


@pytest.mark.parametrize('column', [0, 1, 2, 3], ids=['tp', 'fp', 'fn', 'iou'])
def test_scores_that_differ_stop_the_benchmark(run_tool, tool, tmp_path, monkeypatch, column):
    from oneformer.evaluation import panoptic_quality

    right = panoptic_quality.panoptic_counts

    def wrong(*args):
        counts = right(*args)
        counts[counts[:, 0].argmax(), column] += 1 if column < 3 else 1e-8
        return counts

    monkeypatch.setattr(panoptic_quality, 'panoptic_counts', wrong)
    with pytest.raises(tool.timing.ResultsDiffer, match='PQ, SQ, RQ of 1 classes differ'):
        run_tool('benchmark', 'metrics', *TINY, '--images', 1, '--json', 'results.json')
    assert not (tmp_path / 'results.json').exists()


def test_ids_survive_the_way_through_colours(tool):
    from benchmarks.panopticapi_parts import id2rgb, rgb2id

    ids = np.array([[0, 255, 256], [65535, 65536, (1 << 24) - 1]])
    assert id2rgb(ids)[1, 2].tolist() == [255, 255, 255] and id2rgb(ids)[0, 2].tolist() == [0, 1, 0]
    assert rgb2id(id2rgb(ids)).tolist() == ids.tolist()


def test_variants_take_turns_with_fresh_input_after_one_round_of_warm_up(tool):
    calls, checked = [], []

    def variant(name):
        return tool.timing.Variant(
            run=lambda given: calls.append(given) or name.upper(),
            prepare=lambda: calls.append(f'prepare {name}') or name,
        )

    variants = dict(a=variant('a'), b=variant('b'))
    seconds = tool.timing.alternate(variants, 2, checked.append)
    assert checked == [dict(a='A', b='B')]
    assert [call for call in calls if call in 'ab'] == ['a', 'b', 'a', 'b', 'b', 'a']
    assert calls[::2] == [f'prepare {call}' for call in calls[1::2]]
    assert [len(s) for s in seconds.values()] == [2, 2]


def test_scenes_show_every_segment_and_void(tool):
    from benchmarks.scenes import NUM_THINGS, draw_image, draw_segments

    rng = np.random.default_rng(3)
    segment_map, segments = draw_segments(rng, 90, 120, 15)
    assert sorted(set(segment_map.ravel().tolist())) == list(range(16))
    stuff = [s['label'] for s in segments if s['label'] >= NUM_THINGS]
    assert len(stuff) == len(set(stuff)) == 5
    assert sum(s['iscrowd'] for s in segments) == 1
    image = draw_image(rng, segment_map)
    assert image.shape == (90, 120, 3) and image.dtype == np.uint8
    with pytest.raises(ValueError, match='500 segments do not fit'):
        draw_segments(rng, 20, 20, 500)


def test_counts_below_one_are_refused(tool):
    assert tool.timing.positive_int('3') == 3
    with pytest.raises(argparse.ArgumentTypeError, match='at least 1'):
        tool.timing.positive_int('0')


# the flat JSON of issue 6: peer's time over ours, our memory over the peer's, and shares
CONTRACT = dict(
    infer={
        'infer/one_task/hf',
        'infer/three_tasks/hf',
        'infer/one_task/bf16',
        'infer/three_tasks/bf16',
        'infer/one_task/mask2former',
        'infer/memory/one_task/hf',
        'infer/memory/three_tasks/hf',
        'infer/floor_share',
    },
    train={
        'train/step/hf',
        'train/step/mask2former',
        'train/memory/hf',
        'train/memory/mask2former',
        'train/text_share',
    },
    post={'post/panoptic/hf', 'post/instance/hf', 'post/semantic/hf', 'post/memory/hf'},
    text={'text/forward/hf', 'text/step/hf'},
)
SMALL = dict(
    infer=('--size', 64, '--repeats', 1),
    train=('--size', 64, '--repeats', 1),
    post=('--height', 128, '--width', 256, '--queries', 40, '--repeats', 1),
    text=('--repeats', 1),
    scale=('--size', 64, '--quick'),
)
CPU = ('--threads', 1, '--device', 'cpu')
SHARES = ('infer/floor_share', 'train/text_share')


@pytest.mark.parametrize('family', ('dinov2', 'dinov3'))
def test_the_model_without_a_decoder_is_compared_with_eomt(
    run_tool, tool, tmp_path, monkeypatch, family
):
    monkeypatch.setattr(tool.vit.memory, 'in_own_process', lambda work, *given: work(*given))
    arguments = ('--arch', 'tiny', '--size', 64, '--repeats', 2, '--threads', 1)
    run_tool('benchmark', 'vit', *arguments, '--family', family, '--json', 'results.json')
    results = json.loads((tmp_path / 'results.json').read_text())
    for path in ('vit', 'vit/shared'):
        for name in ('one_task', 'three_tasks'):
            assert results[f'{path}/{name}/hf'] > 0 and results[f'{path}/memory/{name}/hf'] > 0
        assert results[f'{path}/three_tasks/one_task'] > 0


def test_other_logits_than_those_of_eomt_are_not_timed(run_tool, tool, monkeypatch):
    build = tool.vit.build_ours

    def changed(*arguments):
        ours = build(*arguments)
        with torch.no_grad():
            ours.panoptic_head.cls_embed.bias += 0.1
        return ours

    monkeypatch.setattr(tool.vit, 'build_ours', changed)
    monkeypatch.setattr(tool.vit.memory, 'in_own_process', lambda work, *given: work(*given))
    with pytest.raises(tool.timing.ResultsDiffer, match='classes of one_task'):
        run_tool('benchmark', 'vit', '--arch', 'tiny', '--size', 64, '--repeats', 1)


@pytest.fixture
def small_models(tool, monkeypatch):
    """Networks of few channels, measured in this process."""
    monkeypatch.setattr(tool.infer.peers, 'SHAPE', tool.infer.peers.SMALL)
    monkeypatch.setattr(tool.infer, 'PRODUCTS', (512, 1024))  # of ms: one of us may wait longer
    monkeypatch.setattr(tool.infer.memory, 'in_own_process', lambda work, *given: work(*given))


@pytest.fixture
def transformers():
    pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')


@pytest.mark.usefixtures('transformers')
def test_starts_are_timed_in_processes_of_their_own(run_tool, tmp_path, monkeypatch, root_dir):
    from benchmarks import start

    light = dict(start.STARTS, ours='import json', peer='import json')
    monkeypatch.setattr(start, 'STARTS', light)
    predicted = []

    def predict(checkout, folder):
        image = cv2.imread(str(folder / 'image.jpg'))
        return start.Variant(lambda _: predicted.append((checkout, image.shape)), lambda: None)

    monkeypatch.setattr(start, '_prediction', predict)
    against = ('--against', root_dir.parent / root_dir.name)
    printed = run_tool('benchmark', 'start', '--repeats', 1, '--json', 'results.json', *against)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert '| start/import/hf ' in printed
    names = ('import/hf', 'help', 'list', 'predict', 'predict/before')
    assert all(results[f'start/{name}'] > 0 for name in names)
    assert predicted == [(root_dir.resolve(), (240, 320, 3))] * 4
    with pytest.raises(SystemExit, match='is not a checkout'):
        run_tool('benchmark', 'start', '--against', tmp_path)
    monkeypatch.setattr(start, 'STARTS', dict(light, ours='raise SystemExit(3)'))
    with pytest.raises(RuntimeError, match='failed'):
        run_tool('benchmark', 'start', '--repeats', 1)


@pytest.mark.usefixtures('small_models', 'transformers')
@pytest.mark.parametrize('command', CONTRACT)
def test_json_has_the_keys_of_the_contract(run_tool, tmp_path, command, monkeypatch):
    monkeypatch.setattr(processor, 'multiplies', lambda precision: True)  # slowly or not
    # results of other commands stay
    (tmp_path / 'results.json').write_text('{"data/targets/mmdet": 10.0}')
    arguments = (*SMALL[command], *CPU, '--json', 'results.json')
    printed = run_tool('benchmark', command, *arguments)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results.pop('data/targets/mmdet') == 10
    results.pop('machine')
    details = [name for name in results if name.endswith(('_ours', '_peer'))]
    assert results.keys() - details == CONTRACT[command]
    for name in CONTRACT[command]:
        assert name in printed and results[name] > 0
        if name in SHARES:
            assert results[name] < 1
        elif '/memory/' in name:
            assert results[name] == pytest.approx(
                results[f'{name}/bytes_ours'] / results[f'{name}/bytes_peer']
            )
        else:
            assert results[name] == pytest.approx(
                results[f'{name}/seconds_peer'] / results[f'{name}/seconds_ours']
            )


@pytest.mark.usefixtures('small_models')
def test_scale_measures_every_axis_and_fits_exponents(run_tool, tool, tmp_path, monkeypatch):
    points = []

    def measured(work, point, *_):
        if work is tool.scale.measure_large:
            return 5.0, 3 * 2**30
        points.append(point)
        pixels = point.side**2 * point.batch
        return 2.0 * pixels, 3.0 * pixels**0.5 * point.queries * (1 + (point.targets or 0))

    monkeypatch.setattr(tool.scale.memory, 'in_own_process', measured)
    run_tool('benchmark', 'scale', *SMALL['scale'], *CPU, '--json', 'results.json')
    results = json.loads((tmp_path / 'results.json').read_text())
    expected = dict(pixels=(1, 0.5), queries=(0, 1), batch=(1, 0.5), targets=(0, None))
    for axis, (time, memory) in expected.items():
        assert results[f'scale/time/{axis}'] == pytest.approx(time, abs=1e-9)
        if memory is not None:
            assert results[f'scale/memory/{axis}'] == pytest.approx(memory)
    assert results['scale/large_image'] == 3
    assert [point.targets for point in points if point.targets is not None] == [0, 10, 20]

    def quadratic(work, point, *_):
        return 1.0, float(point.side**4) if isinstance(point, tool.scale.Point) else 1.0

    monkeypatch.setattr(tool.scale.memory, 'in_own_process', quadratic)
    with pytest.raises(tool.timing.OutOfBounds, match='pixels to the power of 2.00'):
        run_tool('benchmark', 'scale', *SMALL['scale'], *CPU)


@pytest.mark.usefixtures('small_models')
def test_a_point_of_scale_takes_one_pass_or_step(tool):
    scale = tool.scale
    for point in (scale.Point(64, 20, batch=2), scale.Point(64, 10, targets=5)):
        seconds, peak = scale.measure(point, scale.peers.SMALL, 1, torch.device('cpu'))
        assert seconds > 0 and peak > 0
    window = dict(size=64, overlap=32)
    seconds, peak = scale.measure_large(
        (96, 128), window, scale.peers.SMALL, 1, torch.device('cpu')
    )
    assert seconds > 0 and peak > 0


@pytest.mark.usefixtures('small_models', 'transformers')
@pytest.mark.parametrize('command', ['infer', 'train'])
def test_pictures_show_time_and_memory_by_module(run_tool, tool, tmp_path, monkeypatch, command):
    drawn = {}
    draw = tool.infer.by_module.draw
    monkeypatch.setattr(
        tool.infer.by_module,
        'draw',
        lambda path, title, *values: drawn.update(values=values) or draw(path, title, *values),
    )
    run_tool('benchmark', command, *SMALL[command], *CPU, '--plot', 'modules.png')
    assert cv2.imread(str(tmp_path / 'modules.png')).std() > 0
    names = ['backbone', 'pixel decoder', 'transformer']
    names += ['text', 'criterion'] if command == 'train' else []
    for values in drawn['values']:
        assert values.keys() == {'ours', 'hf'}
        for of in values.values():
            assert sorted(of) == sorted(names) and all(value > 0 for value in of.values())


@pytest.mark.usefixtures('small_models', 'transformers')
def test_gradients_by_module_are_those_of_the_whole_step(tool):
    by_module, peers, train = tool.infer.by_module, tool.infer.peers, tool.train
    batch = peers.draw_batch(64, [3, 2], torch.device('cpu'))
    for side in ('ours', 'peer'):
        model = train.build(side, 'hf', peers.SMALL, torch.device('cpu'))
        for module in model.modules():
            if hasattr(module, 'is_training'):
                module.is_training = module is model.model  # no dropout
        forward = train.make_forward(side, 'hf', model, batch, peers.SMALL)
        torch.manual_seed(0)
        forward().backward()
        whole = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        by_module.laps_of(model, forward, lambda: 0.0)
        parts = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert parts.keys() == whole.keys() and len(parts) > 100
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, atol=1e-3, rtol=1e-3, msg=name)


@pytest.mark.usefixtures('small_models', 'transformers')
@pytest.mark.parametrize('command', ['infer', 'train', 'text'])
def test_networks_that_differ_are_not_timed(run_tool, tool, monkeypatch, command):
    peers = tool.infer.peers
    share = peers.share_weights

    def share_wrongly(ours, peer):
        share(ours, peer)
        with torch.no_grad():
            ours.panoptic_head.cls_embed.bias += torch.linspace(1, 2, 151)
            if ours.text_mapper is not None:
                ours.text_mapper.text_projector.layers[-1].bias += 1

    monkeypatch.setattr(peers, 'share_weights', share_wrongly)
    with pytest.raises(tool.timing.ResultsDiffer, match='differ'):
        run_tool('benchmark', command, *SMALL[command], *CPU)


@pytest.mark.usefixtures('small_models', 'transformers')
def test_bf16_is_left_out_where_the_processor_lacks_it(run_tool, tmp_path, monkeypatch):
    monkeypatch.setattr(processor, 'multiplies', lambda precision: False)
    arguments = (*SMALL['infer'], *CPU, '--json', 'results.json')
    assert 'not measured, bf16: precision is bf16, but this' in run_tool(
        'benchmark', 'infer', *arguments
    )
    assert not any('bf16' in name for name in json.loads((tmp_path / 'results.json').read_text()))


def test_bf16_that_is_far_off_is_not_timed(tool):
    exact = torch.linspace(-2, 2, 100)
    tool.infer.check_bf16('masks', exact.to(torch.bfloat16), exact)
    with pytest.raises(tool.timing.ResultsDiffer, match='masks in bf16 differ by 12'):
        tool.infer.check_bf16('masks', exact * 1.12 + 0.05, exact)
    with pytest.raises(tool.timing.ResultsDiffer, match='differ by nan'):
        tool.infer.check_bf16('masks', exact * torch.nan, exact)


@pytest.mark.usefixtures('small_models', 'transformers')
@pytest.mark.parametrize('task', ['panoptic', 'semantic', 'instance'])
def test_predictions_that_differ_are_not_timed(run_tool, tool, monkeypatch, task):
    right = tool.post.our_prediction

    def wrong(model, logits, size, asked):
        scores = logits.scores.roll(1, 1) if asked == task else logits.scores
        return right(model, logits._replace(scores=scores), size, asked)

    monkeypatch.setattr(tool.post, 'our_prediction', wrong)
    with pytest.raises(tool.timing.ResultsDiffer, match=task):
        run_tool('benchmark', 'post', *SMALL['post'], *CPU)


def test_operations_and_matrix_products_are_counted(tool):
    linear = torch.nn.Linear(30, 20, bias=False)
    given = torch.ones(7, 30)
    assert tool.infer.count_operations(linear, lambda: linear(given)) == 2 * 7 * 30 * 20


def test_peaks_are_those_of_the_work_alone(tool):
    memory = tool.infer.memory
    if not memory._RESET.exists():
        pytest.skip('the system has no counter that can be reset')
    before = torch.ones(40 * 2**18)  # 40 MiB
    del before
    peak = memory.peak_of(lambda: torch.ones(20 * 2**18), torch.device('cpu'))
    assert 18 * 2**20 < peak < 30 * 2**20


@pytest.mark.parametrize('command', [*CONTRACT, 'metrics'])
def test_without_the_peer_there_is_advice(run_tool, monkeypatch, command):
    for name in ('transformers', 'hotcoco'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match='pip install -r requirements/tests.txt'):
        run_tool('benchmark', command, *(['--device', 'cpu'] if command in CONTRACT else []))


def test_window_attention_is_measured_against_the_explicit_product(run_tool, tmp_path):
    arguments = ('--size', 64, '--repeats', 1, '--threads', 1, '--json', tmp_path / 'w.json')
    printed = run_tool('benchmark', 'windows', *arguments)
    results = json.loads((tmp_path / 'w.json').read_text())
    for row in ('forward', 'step', 'memory'):
        assert f'windows/swin-t/{row}' in printed and f'windows/swin-t/{row}' in results
    printed = run_tool('benchmark', 'windows', *arguments, '--amp', '--device', 'cpu')
    assert 'windows/swin-t/forward' in printed and 'windows/swin-t/step' not in printed
    assert "no step: under autocast a CPU takes mmdet's product" in printed
