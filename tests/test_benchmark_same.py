"""Two checkouts on the same weights and images: what comes of them is equal, or is named."""

import json
import shutil

import pytest

SMALL = ('--size', 128, '--images', 1, '--backbones', 'swin-t', '--repeats', 1, '--threads', 1)


@pytest.fixture
def tool(load_tool, monkeypatch):
    """The benchmark with networks of few channels."""
    tool = load_tool('benchmark')
    monkeypatch.setattr(tool.same.peers, 'SHAPE', tool.same.peers.SMALL)
    return tool


@pytest.fixture
def differences(tool, monkeypatch):
    """What differs, which does not end the tool."""
    found, check = {}, tool.same.check_equal

    def note(what, *arguments):
        try:
            return check(what, *arguments)
        except tool.timing.ResultsDiffer as error:
            found[what.removeprefix('swin-t/')] = str(error)
            return tool.timing.Figure(what, 0, 'differ')

    monkeypatch.setattr(tool.same, 'check_equal', note)
    return found


def test_what_differs_between_two_checkouts_is_named_and_the_rest_is_equal(
    run_tool, differences, root_dir, tmp_path
):
    other, nothing = tmp_path / 'other', shutil.ignore_patterns('__pycache__')
    for part in ('projects', 'configs', 'tools'):
        shutil.copytree(root_dir / part, other / part, ignore=nothing)
    config = other / 'configs/_base_/models/oneformer.py'
    assert 'max_per_image=None' in config.read_text()
    config.write_text(config.read_text().replace('max_per_image=None', 'max_per_image=3'))
    printed = run_tool('benchmark', 'same', '--against', other, *SMALL, '--json', 'found.json')
    assert list(differences) == ['tasks', 'windows']
    for what in differences:
        for side in ('ours', 'peer'):
            names = f'4 of {side}: image 0 pred_instances.bboxes, image 0 pred_instances.labels'
            assert names in differences[what]
    assert printed.count('are equal, bit for bit') == 4
    found = json.loads((tmp_path / 'found.json').read_text())
    for what in ('losses', 'gradients', 'views', 'files'):
        assert found[f'same/swin-t/{what}'] >= 1
    for what in ('one_task', 'three_tasks', 'training_step'):
        ours, peer = (found[f'same/swin-t/{what}/seconds_{side}'] for side in ('ours', 'peer'))
        assert found[f'same/swin-t/{what}'] == pytest.approx(peer / ours)


def test_gradients_may_have_other_names_and_no_other_values(tool):
    check, ours = tool.same.check_equal, [('a', '1'), ('b', '2'), ('c', '2')]
    renamed = [('x', '2'), ('y', '1'), ('z', '2')]
    assert check('gradients', dict(ours=ours, peer=renamed), by_name=False).value == 3
    with pytest.raises(tool.timing.ResultsDiffer, match='3 of ours: a, b, c; 3 of peer: x, y, z'):
        check('losses', dict(ours=ours, peer=renamed))
    wrong = [('x', '2'), ('y', '1'), ('z', '3'), ('v', '1')]
    with pytest.raises(tool.timing.ResultsDiffer, match='1 of ours: c; 2 of peer: z, v'):
        check('gradients', dict(ours=ours, peer=wrong), by_name=False)
    with pytest.raises(tool.timing.ResultsDiffer, match='files: neither checkout has any'):
        check('files', dict(ours=[], peer=[]))


def test_a_folder_that_is_not_a_checkout_is_refused(run_tool, tmp_path):
    with pytest.raises(SystemExit, match='is not a checkout: it has no folder projects/oneformer'):
        run_tool('benchmark', 'same', '--against', tmp_path)
