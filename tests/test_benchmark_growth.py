"""Growth in the benchmark: every work on small sets, and what ends it."""

import json

import pytest


@pytest.fixture
def tool(benchmark_here):
    """The tool, which works in this process."""
    return benchmark_here


QUICK = ('benchmark', 'growth', '--quick', '--size', 64, '--threads', 2)
WORKS = ('load', 'check', 'score', 'frames', 'windows', 'texts', 'classes')


@pytest.mark.usefixtures('tool')
def test_every_work_is_measured(run_tool, tmp_path):
    # seconds of sets as small as these say nothing of exponents
    written = ('--json', tmp_path / 'growth.json', '--plot', tmp_path / 'growth.png')
    printed = run_tool(*QUICK, '--most', 100, *written)
    found = json.loads((tmp_path / 'growth.json').read_text())
    for work in WORKS:
        assert {f'growth/time/{work}', f'growth/memory/{work}'} < found.keys()
    assert 'growth/time/processes' in found and 'growth/memory/processes' not in found
    rows = [line.split('|')[1:5] for line in printed.splitlines() if line.startswith('| ')]
    numbers = [(work.strip(), int(number)) for work, number, *_ in rows[1:]]
    sets = [(work, n) for work in ('load', 'check', 'score') for n in (40, 80)]
    pairs = dict(frames=(4, 8), windows=(64, 96), texts=(2, 4), classes=(19, 80), processes=(1, 2))
    assert numbers == [*sets, *((work, number) for work, two in pairs.items() for number in two)]
    assert (tmp_path / 'growth.png').read_bytes()[1:4] == b'PNG'


@pytest.fixture
def made_up(tool, monkeypatch):
    """Exponents by work in place of measurements."""
    powers = dict.fromkeys((*WORKS, 'processes'), (1.0, 0.0))

    def measure(work, folder, value, args):
        time, memory = powers[work]
        return 2.0 * value**time, 0 if work == 'processes' else int(2**26 * value**memory)

    monkeypatch.setattr(tool.growth, 'measure', measure)
    return powers


def test_exponents_are_fitted(made_up, run_tool, tmp_path):
    made_up['score'], made_up['classes'], made_up['windows'] = (1.05, 0.5), (0.25, 2.0), (2, 2)
    run_tool(*QUICK, '--json', tmp_path / 'growth.json')
    found = json.loads((tmp_path / 'growth.json').read_text())
    assert found['growth/time/score'] == pytest.approx(1.05)
    assert found['growth/memory/score'] == pytest.approx(0.5)
    assert found['growth/time/classes'] == pytest.approx(0.25)
    assert found['growth/memory/windows'] == pytest.approx(1)  # by pixels
    assert 'growth/memory/processes' not in found


@pytest.mark.parametrize(
    ('work', 'powers', 'fault'),
    [
        ('check', (1.2, 0.0), 'time of check'),
        ('load', (1.0, 1.2), 'memory of load'),
        ('windows', (1.0, 2.4), 'memory of windows'),
        ('frames', (1.0, 1.0), 'memory of frames'),
    ],
)
def test_what_grows_too_fast_is_an_error(made_up, run_tool, tool, tmp_path, work, powers, fault):
    made_up[work] = powers
    with pytest.raises(tool.timing.OutOfBounds, match=f'grows too fast: {fault}$'):
        run_tool(*QUICK, '--json', tmp_path / 'growth.json')
    assert 'growth/time/load' in json.loads((tmp_path / 'growth.json').read_text())


def test_works_can_be_chosen(made_up, run_tool, tmp_path):
    run_tool(*QUICK, '--only', 'check', 'frames', '--json', tmp_path / 'only.json')
    found = json.loads((tmp_path / 'only.json').read_text())
    assert {name.split('/')[2] for name in found if '/' in name} == {'check', 'frames'}
    run_tool(*QUICK, '--without', 'check', 'frames', '--json', tmp_path / 'rest.json')
    rest = json.loads((tmp_path / 'rest.json').read_text())
    works = {name.split('/')[2] for name in rest if '/' in name}
    assert works == {*WORKS, 'processes'} - {'check', 'frames'}


def test_frames_that_are_kept_are_seen(tool):
    growth = tool.growth
    (frames,) = (axis.values for axis in growth.AXES if axis.works == ('frames',))
    a_frame = growth.HEIGHT * growth.WIDTH * 3
    assert (frames[-1] - frames[0]) * a_frame / 2 > growth.ROOM


def test_sets_hold_as_many_annotations(tool, tmp_path):
    growth = tool.growth
    growth.write_annotations(tmp_path, 500)
    content = json.loads((tmp_path / 'panoptic.json').read_text())
    assert len(content['images']) == 25 > growth.DRAWN
    assert sum(len(a['segments_info']) for a in content['annotations']) == 500
    assert not growth.check_config(growth.config_of(tmp_path), ('train',))['train'].findings
