"""Whole jobs in the benchmark: stages by hand, and every job on two small images."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData

from benchmarks import job_sides, jobs, peers, post, stages
from benchmarks.panopticapi_parts import PQStat
from benchmarks.scenes import CLASSES, NUM_THINGS


@pytest.fixture
def tool(benchmark_here):
    """The tool, which works in this process."""
    return benchmark_here


def test_a_stage_inside_another_counts_alone(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(stages.time, 'perf_counter', lambda: now.seconds)
    clock = stages.Stages()

    class Worker:
        def work(self, seconds):
            now.seconds += seconds
            return seconds

    with clock.calls(Worker, 'work', 'inner'), clock.whole():
        now.seconds += 1
        with clock('outer'):
            now.seconds += 2
            assert Worker().work(4) == 4
            now.seconds += 8
        now.seconds += 16
    assert clock.seconds == {'the rest': 17, 'outer': 10, 'inner': 4}
    Worker().work(32)  # counted no more
    assert clock.seconds['inner'] == 4


@pytest.mark.usefixtures('tool')
def test_every_job_is_compared_timed_and_drawn(run_tool, tmp_path):
    options = ('--images', 2, '--size', 64, '--threads', 1, '--quick', '--plot', 'jobs.png')
    printed = run_tool('benchmark', 'jobs', *options, '--json', 'jobs.json')
    found = json.loads((tmp_path / 'jobs.json').read_text())
    for pair in ('evaluate/hf', 'evaluate/mask2former', 'predict/hf'):
        name = f'jobs/{pair}'
        quotient = found[f'{name}/seconds_peer'] / found[f'{name}/seconds_ours']
        assert found[name] == pytest.approx(quotient) and f'| {name} ' in printed
        assert 0 < found[f'{name}/network_share'] < 1
        assert f'{name}, ' in printed
    for scores in ('mIoU', 'AP', '6 .jpg, 2 .json, 4 .png'):
        assert scores in printed
    assert found['jobs/epoch'] > 0
    assert (tmp_path / 'jobs.png').read_bytes()[1:4] == b'PNG'


def test_models_that_differ_are_not_timed(run_tool, tool, monkeypatch):
    monkeypatch.setattr(job_sides, 'hf_passes', lambda *given: dict.fromkeys(['panoptic'], BAD))
    with pytest.raises(tool.timing.ResultsDiffer, match='classes of panoptic'):
        run_tool(
            *('benchmark', 'jobs', '--images', 1, '--size', 64, '--threads', 1, '--quick'),
            *('--only', 'predict/hf'),
        )


def test_sides_that_lack_results_are_no_comparison():
    whole = {'panoptic/PQ': 1.0, 'instance/AP': 2.0, 'semantic/mIoU': 3.0}
    compare = job_sides.COMPARE_RESULTS
    assert 'PQ 1.00 and 1.00, AP 2.00 and 2.00, mIoU' in compare['evaluate/hf'](whole, whole)
    theirs = {'coco_panoptic/PQ': 4.0, 'coco/segm_mAP': 0.5}
    assert 'PQ 1.00 and 4.00' in compare['evaluate/mask2former'](whole, theirs)
    with pytest.raises(job_sides.ResultsDiffer, match='mIoU: ours is 3.0, that of the peer nan'):
        compare['evaluate/hf'](whole, dict(whole, **{'semantic/mIoU': float('nan')}))
    with pytest.raises(job_sides.ResultsDiffer, match='AP: ours is nan'):
        compare['evaluate/mask2former']({'panoptic/PQ': 1.0}, theirs)
    files = {'.jpg': 3, '.png': 2}
    assert '3 .jpg, 2 .png' in compare['predict/hf'](files, dict(files))
    for other in ({'.jpg': 3}, {}):
        with pytest.raises(job_sides.ResultsDiffer, match='files of ours'):
            compare['predict/hf'](files, other)


BAD = SimpleNamespace(
    class_queries_logits=torch.zeros(1, 20, len(CLASSES) + 1),
    masks_queries_logits=torch.zeros(1, 20, 16, 16),
)


def test_the_peer_predicts_in_our_form():
    ids = torch.tensor([[1, 1, 2], [-1, 0, 2]])
    segments = [dict(id=1, label_id=3, score=0.5), dict(id=2, label_id=NUM_THINGS, score=0.9)]
    prediction = dict(segmentation=ids, segments_info=segments)
    codes = job_sides.panoptic_field(prediction)['pred_panoptic_seg']['sem_seg']
    void, stuff = len(CLASSES), NUM_THINGS
    assert codes.tolist() == [[[1003, 1003, stuff], [void, void, stuff]]]
    instances = job_sides.instance_field(prediction)['pred_instances']
    assert instances['labels'].tolist() == [3] and instances['scores'].tolist() == [0.5]
    assert instances['masks'].tolist() == [[[True, True, False], [False, False, False]]]
    nothing = job_sides.instance_field(dict(segmentation=ids, segments_info=[]))['pred_instances']
    assert nothing['masks'].shape == (0, 2, 3)


def test_quality_of_the_stand_in_for_panopticapi():
    first, second = PQStat(), PQStat()
    first[1].iou, first[1].tp, second[1].fp, second[2].fn = 0.8, 1, 2, 1
    first += second
    categories = {k: dict(isthing=int(k < 2)) for k in (1, 2, 3)}
    means, of_class = first.pq_average(categories, isthing=None)
    assert of_class[1] == dict(pq=0.4, sq=0.8, rq=0.5)  # 0.8 / (1 + 2 / 2)
    assert means == dict(pq=0.2, sq=0.4, rq=0.25, n=2)
    assert first.pq_average(categories, isthing=False)[0] == dict(pq=0, sq=0, rq=0, n=1)


def test_pixels_without_a_segment_are_not_compared():
    """Ours for no segment is the number of classes, which is another one than that of ``post``."""
    codes = torch.tensor([[[len(CLASSES), 1000, 1003, len(CLASSES)]]])
    ours = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=codes))
    segments = [dict(id=1, label_id=0), dict(id=2, label_id=5)]
    theirs = dict(segmentation=torch.tensor([[1, 1, 2, 0]]), segments_info=segments)
    assert post.alike(ours, theirs, len(CLASSES)) == (0.5, 0.5)


def test_sure_models_keep_their_segments(tmp_path):
    """A class probability above the 0.8 of the thresholds, for most queries of the first image."""
    jobs.write_images(tmp_path, 1, 64)
    job = job_sides.Job(tmp_path, 64, peers.SMALL)
    ours, hf = job_sides.hf_model(job)
    pixels = job_sides.first_image(job)
    scores = peers.our_outputs(ours, pixels, ['panoptic']).scores[0, 0].softmax(-1)
    assert (scores[:, :-1].amax(-1) > 0.8).double().mean() > 0.5
    theirs = job_sides.hf_passes(hf, pixels)['panoptic'].class_queries_logits[0].softmax(-1)
    torch.testing.assert_close(theirs, scores, atol=1e-3, rtol=0)
    void = torch.full((1, 4, 4), len(CLASSES))
    with pytest.raises(job_sides.ResultsDiffer, match='ours: 100% of the pixels have no segment'):
        job_sides.check_segments(void, 'ours')
