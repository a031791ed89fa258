"""Ablations: every variant trains, results are kept, and the report is worked by hand."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from oneformer.models.contrastive_loss import QueryTextContrastiveLoss
from oneformer.quickstart import lookalikes
from oneformer.quickstart.scenes import generate
from oneformer.studies import report, seeded_runs
from oneformer.studies.ablations import DATA, VARIANTS, ablation_config
from oneformer.studies.confusion import Confusion, confusion_matrix
from oneformer.studies.parts import PromptClasses, QueryClassificationLoss
from oneformer.studies.seeded_runs import Run
from oneformer.tasks import TASKS


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Folder with a small set of look-alikes where the config expects it."""
    folder = tmp_path_factory.mktemp('study')
    generate(folder / 'data/lookalikes', train=6, val=1, size=64, scenes='lookalikes')
    return folder


@pytest.fixture
def small(images, monkeypatch):
    """In that folder, trainings of two images of 64 pixels, with one thread as ever."""

    def smaller(data, name, seed, max_iters=None):
        cfg = ablation_config(data, name, seed, max_iters)
        cfg.train_dataloader.batch_size = 2
        for step in cfg.train_dataloader.dataset.pipeline:
            if 'crop_size' in step:
                step.crop_size = (64, 64)
            if step.type == 'Pad':
                step.size = (64, 64)
        return cfg

    threads = torch.get_num_threads()
    monkeypatch.setattr(seeded_runs, 'ablation_config', smaller)
    monkeypatch.chdir(images)
    yield images
    torch.set_num_threads(threads)


@pytest.mark.parametrize('name', VARIANTS)
def test_each_variant_is_trained_scored_and_stored(name, small, monkeypatch):
    run = Run('lookalikes', name, 3, max_iters=2)
    seeded_runs.train_and_store(run, small / 'results')
    stored = seeded_runs.stored_run(run, small / 'results')
    assert (stored['variant'], stored['seed']) == (name, 3)
    assert stored['iterations'] == (1 if name.startswith('third') else 2)
    scored = {key.partition('/')[0] for key in stored['scores']}
    assert scored == set(VARIANTS[name].scored)
    if VARIANTS[name].scored == TASKS:
        assert set(stored['tokens']) == set(TASKS)
        assert stored['scores']['panoptic/PQ'] == stored['tokens']['panoptic']['panoptic/PQ']
        assert 'semantic/confused: ball, striped ball' in stored['scores']
    assert 0 < stored['parameters'] <= stored['parameters_in_training']
    without_text = name in ('no-contrastive', 'mask2former')
    assert (stored['parameters'] == stored['parameters_in_training']) == without_text
    assert not list(Path('work_dirs').rglob('*.pth'))  # 60 trainings would fill a disk


def test_a_training_is_done_by_this_code_in_a_process_of_its_own(root_dir, tmp_path):
    with pytest.raises(SystemExit, match='1 trainings failed: lookalikes_nothing_seed5'):
        seeded_runs.run_all([Run('lookalikes', 'nothing', 5)], tmp_path, 1)
    log = (tmp_path / 'logs/lookalikes_nothing_seed5.txt').read_text()
    assert "KeyError: 'nothing'" in log
    assert str(root_dir / 'projects/oneformer/studies/seeded_runs.py') in log


def build(name):
    torch.manual_seed(0)
    cfg = ablation_config('lookalikes', name, 0)
    return MODELS.build(cfg.model).eval()


@torch.no_grad()
def decoded(model, tasks=TASKS):
    feats = model.extract_feat(
        torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    )
    return model.panoptic_head.decode(model.panoptic_head.encode(feats), [list(tasks)])


@pytest.mark.parametrize('name', ['token-zeros', 'token-learned', 'mask2former'])
def test_without_a_token_every_task_has_the_same_outputs(name):
    scores = decoded(build(name)).cls_scores[-1][0]
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(scores[0], scores[2])
    full = decoded(build('full')).cls_scores[-1][0]
    assert not torch.allclose(full[0], full[1], atol=1e-3)


def test_queries_from_zeros_keep_the_token_behind():
    model = build('queries-zeros')
    head, seen = model.panoptic_head, []
    head.task_queries.query_transformer.layers[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    initial = decoded(model).initial_queries
    tokens = head.task_queries.task_tokens([list(TASKS)], head.transformer_decoder.post_norm)
    assert not seen[0].any()
    torch.testing.assert_close(initial[:, :, -1], tokens)


def test_only_what_a_variant_names_is_different():
    """With its keys put back, a config is that of the full model."""
    for data in DATA:
        full = ablation_config(data, 'full', 1)
        for name, variant in VARIANTS.items():
            cfg = ablation_config(data, name, 1)
            for key in (*(f'model.{key}' for key in variant.model), 'work_dir', 'experiment_name'):
                *path, last = key.split('.')
                ours, expected = cfg, full
                for step in path:
                    ours, expected = ours[step], expected[step]
                assert ours[last] != expected.get(last) or name == 'full'
                ours[last] = expected.get(last)
                if last not in expected:
                    del ours[last]
            assert cfg.train_cfg.pop('max_iters') == round(500 * variant.share)
            cfg.train_cfg.max_iters = 500
            assert cfg.model.test_cfg.tasks == variant.scored
            cfg.model.test_cfg.tasks = TASKS
            for step in cfg.train_dataloader.dataset.pipeline:
                if step.type == 'SampleTask':
                    assert step.pop('probs', None) == variant.tasks
                    assert (step.pop('prompts', None) is None) == (variant.prompts is None)
            assert cfg.to_dict() == full.to_dict(), name
    (sample,) = (
        step
        for step in ablation_config('nuclei', 'text-type', 0).train_dataloader.dataset.pipeline
        if step.type == 'SampleTask'
    )
    names = sample.prompts['synonyms']
    assert names['nucleus-stained'] == ['nucleus-stained thing']
    assert names['background-histology'] == ['background-histology stuff']
    pairs = ablation_config('lookalikes', 'full', 0).val_evaluator[-1].pairs
    assert [tuple(pair) for pair in pairs] == list(lookalikes.PAIRS)
    assert ablation_config('lookalikes', 'full', 0).metainfo['palette'] == [
        tuple(category['color']) for category in lookalikes.WORLD.categories
    ]


def test_prompts_become_classes_and_queries_are_asked_for_them():
    mapper = PromptClasses(4, ['cat', 'dog'], embed_dims=8)
    classes = mapper(
        [['a photo with a cat', 'a photo with a dog'], ['a photo with a dog'] * 5],
        ['a semantic photo', 'an instance photo'],
    )
    assert classes.tolist() == [[0, 1, 2, 2], [1, 1, 1, 1]]
    with pytest.raises(ValueError, match='num_context is 3: PromptClasses takes 0'):
        PromptClasses(4, ['cat'], num_context=3)
    loss = QueryClassificationLoss(2, 8, loss_weight=0.5)
    queries = torch.randn(2, 4, 8)
    logits = loss.classifier(queries).log_softmax(-1)
    weights = torch.tensor([1, 1, 0.1])[classes]
    picked = -logits.gather(-1, classes[..., None])[..., 0]
    expected = 0.5 * (weights * picked).sum() / weights.sum()
    torch.testing.assert_close(loss(queries, classes), expected)


def test_seeds_of_a_variant_share_a_digest_and_variants_do_not():
    digests = [Run('lookalikes', name, seed).digest() for name in VARIANTS for seed in (0, 1)]
    assert digests[::2] == digests[1::2] and len(set(digests)) == len(VARIANTS)
    assert Run('lookalikes', 'full', 0, max_iters=7).digest() not in digests


def test_images_with_the_same_texts_are_left_out_of_the_negatives():
    queries, texts = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    both = QueryTextContrastiveLoss(negatives='other_texts')
    everything = QueryTextContrastiveLoss()
    torch.testing.assert_close(both(queries, texts, [1, 2, 3, 4]), everything(queries, texts))
    found = both(queries, texts, [7, 2, 7, 4])
    q, t = (torch.nn.functional.normalize(x.flatten(1), dim=-1) for x in (queries, texts))
    logits = (q @ t.mT / 0.07).double()
    expected = 0
    for rows in (logits, logits.mT):
        for i in range(4):
            others = [j for j in range(4) if j == i or {i, j} != {0, 2}]
            expected += (torch.logsumexp(rows[i, others], 0) - rows[i, i]) / 4
    assert found.item() == pytest.approx(0.5 * expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="negatives is 'none': it takes all or other_texts"):
        QueryTextContrastiveLoss(negatives='none')
    with pytest.raises(ValueError, match="token is 'none': it takes zeros or learned"):
        MODELS.build(dict(type='ConstantToken', token='none', embed_dims=8))


def test_confusion_counts_pixels_of_a_pair():
    gt_map = np.array([[0, 1, 1, 2], [2, 3, 3, 3]])
    segments = [dict(label=0), dict(label=1), dict(label=2)]
    pred_map = np.array([[1, 0, 1, 1], [2, 2, 2, 0]])
    matrix = confusion_matrix(gt_map, segments, pred_map, 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    metric = Confusion([('a', 'b'), ('c', 'd'), ('b', 'd')])
    metric.dataset_meta = dict(classes=('a', 'b', 'c', 'd'))
    scores = metric.compute_metrics([matrix, matrix])
    assert scores['confused: a, b'] == pytest.approx(100 / 3)
    assert scores['confused: c, d'] == 0 and scores['confused: b, d'] == 0
    assert scores['confused'] == pytest.approx(100 / 9)
    assert scores['misclassified'] == pytest.approx(100 * 3 / 7)
    nothing = metric.compute_metrics([np.zeros((4, 4), int)])
    assert math.isnan(nothing['confused']) and math.isnan(nothing['misclassified'])


# going on

STAND_IN = """
import json, sys
from pathlib import Path
data, variant, seed, max_iters, folder = sys.argv[1:]
name = f'{data}_{variant}_seed{seed}'
digest = json.loads((Path(folder) / 'digests').read_text())[name]
if (Path(folder) / 'fail').exists() and variant == 'no-context':
    sys.exit('out of memory')
content = dict(data=data, variant=variant, seed=int(seed), digest=digest, images='', scores={})
(Path(folder) / f'{name}.json').write_text(json.dumps(content))
with open(Path(folder) / 'calls.txt', 'a') as file:
    file.write(name + '\\n')
"""


def test_a_study_that_was_stopped_goes_on_with_what_is_missing(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(seeded_runs, 'digest_of_images', lambda cfg: '')
    command = [sys.executable, '-c', STAND_IN]
    runs = seeded_runs.all_runs('lookalikes', ['full', 'no-context', 'memory'], [4], 8)
    (tmp_path / 'digests').write_text(json.dumps({run.name: run.digest() for run in runs}))
    (tmp_path / 'fail').touch()
    with pytest.raises(SystemExit, match='1 trainings failed: lookalikes_no-context_seed4; their'):
        seeded_runs.run_all(runs, tmp_path, 2, command)
    assert 'out of memory' in (tmp_path / 'logs/lookalikes_no-context_seed4.txt').read_text()
    (tmp_path / 'fail').unlink()
    seeded_runs.run_all(runs, tmp_path, 1, command)
    calls = (tmp_path / 'calls.txt').read_text().split()
    assert sorted(calls[:2]) == ['lookalikes_full_seed4', 'lookalikes_memory_seed4']
    assert calls[2:] == ['lookalikes_no-context_seed4']
    printed = capfd.readouterr().out
    assert '3 trainings, of which 2 are done' in printed and '0 left' in printed
    with pytest.raises(SystemExit, match='is of another config, number of iterations'):
        seeded_runs.run_all([runs[0]._replace(max_iters=9)], tmp_path, 1, command)
    monkeypatch.setattr(seeded_runs, 'digest_of_images', lambda cfg: 'more of them')
    with pytest.raises(SystemExit, match='set of images: move it out of the folder'):
        seeded_runs.run_all(runs, tmp_path, 1, command)


def test_images_that_are_not_there_are_named(tmp_path, monkeypatch, run_tool):
    monkeypatch.chdir(tmp_path)
    missing = (
        'error: data/dsb2018_panoptic/panoptic_train.json is missing: docs/cpu_results.md says'
    )
    with pytest.raises(SystemExit, match=missing):
        run_tool('study', 'ablations', '--data', 'nuclei')
    generate(tmp_path / 'data/dsb2018_panoptic', train=3, val=2, size=96)
    for _ in range(2):  # the second finds them
        seeded_runs.prepare_data('nuclei', 4, 2)
    content = json.loads((tmp_path / 'data/nuclei_tiles/panoptic_train.json').read_text())
    assert [(i['width'], i['height']) for i in content['images']] == [(64, 64)] * 4
    with pytest.raises(SystemExit, match='nuclei_tiles exists and is not the set asked for'):
        seeded_runs.prepare_data('nuclei', 5, 2)
    with pytest.raises(SystemExit, match='has no results: run oneformer study ablations first'):
        run_tool('study', 'report', '--results', tmp_path, '--page', tmp_path / 'page.md')
    with pytest.raises(SystemExit, match='2'):
        run_tool('study', 'ablations', '--jobs', 0)


# the report


def result(variant, seed, pq, **more):
    scores = {'panoptic/PQ': pq, 'instance/AP': 20.0, 'semantic/mIoU': None}
    scores |= {'semantic/confused': 10.0 + seed / 10, **more}
    row = {'panoptic/PQ': pq, 'panoptic/PQ_th': 1.0, 'panoptic/PQ_st': 2.0, 'instance/AP': 20.0}
    other = dict(row, **{'panoptic/PQ_st': -69.7 + seed, 'instance/AP': 20.0})
    return dict(
        data='lookalikes',
        variant=variant,
        seed=seed,
        iterations=500,
        cpu_seconds=1800.0,
        parameters=2_340_000,
        scores=scores,
        tokens=dict(panoptic=row, instance=other, semantic=row),
        digest=f'of {variant}',
        images='the same',
    )


@pytest.fixture
def results(tmp_path):
    """Three seeds of the full model; without text context always 2 worse; one seed of another."""
    folder = tmp_path / 'results'
    folder.mkdir()
    confused = 'semantic/confused: a, b'
    made_up = [result('full', seed, 50.0 + 2 * seed, **{confused: 9.0 + seed}) for seed in range(3)]
    made_up += [result('no-context', seed, pq) for seed, pq in enumerate([48.0, 50.0, 52.0])]
    made_up += [
        result('no-contrastive', seed, pq, **{'semantic/confused': 12.0, confused: 12.0 + seed})
        for seed, pq in enumerate([53.0, 51.0, 54.0])
    ]
    made_up += [result('contrastive-1', seed, pq) for seed, pq in enumerate([51.0, 52.5, 55.0])]
    made_up += [result('mask2former', 2, 60.0, **{confused: 7.0})]
    for content in made_up:
        name = f'lookalikes_{content["variant"]}_seed{content["seed"]}.json'
        (folder / name).write_text(json.dumps(content))
    return folder


def test_differences_are_paired_and_have_students_interval():
    full = {0: 50.0, 1: 52.0, 2: 54.0}
    same = report.difference({0: 48.0, 1: 50.0, 2: 52.0}, full)
    assert same == (-2.0, 0.0, 3) and same.is_seen and str(same) == '-2.0 ± 0.0'
    # 3, -1, 0: mean 2/3, deviation 2.0817, divided by the root of 3, times 4.3027
    loose = report.difference({0: 53.0, 1: 51.0, 2: 54.0, 7: 0.0}, full)
    assert loose.mean == pytest.approx(2 / 3) and loose.half == pytest.approx(5.1712, abs=1e-3)
    assert not loose.is_seen
    alone = report.difference({2: 60.0}, full)
    assert str(alone) == '+6.0 ± ?' and not alone.is_seen
    assert str(report.difference({9: 60.0}, full)) == ''


def test_the_report_fills_the_page_between_its_markers(results, root_dir, tmp_path, run_tool):
    page = tmp_path / 'evidence.md'
    page.write_bytes((root_dir / 'docs/evidence.md').read_bytes())
    run_tool('study', 'report', '--results', results, '--page', page, '--plots', tmp_path / 'plots')
    text = page.read_text()
    assert '| `full`: the full model | 3 | 52.0 ± 2.0 | 20.0 ± 0.0 |' in text
    assert (
        '| `no-context`: no learned text context | 3 | 50.0 ± 2.0 | 20.0 ± 0.0 |  | -2.0 ± 0.0 |'
        in text
    )
    assert '| `no-contrastive`: no contrastive loss | 3 | 52.7 ± 1.5 |' in text
    assert '| +0.7 ± 5.2 (within spread) |' in text
    assert '| +6.0 ± ? | +0.0 ± ? |' in text  # of one seed
    assert '13 trainings, 6.5 CPU hours.' in text
    rows = [line for line in text.splitlines() if line.endswith(' | not run |')]
    assert len(rows) == len(report.CLAIMS)

    def row(*words):
        (found,) = (line for line in rows if all(f'| {word} |' in line for word in words))
        return found

    other = '| -2.0 ± 0.0 |  | confirmed here, in another size | not run |'
    assert row('`no-context`', 'PQ -0.2', 'II, ADE20K, R50').endswith(other)
    assert row('`no-context`', 'PQ -4.5', '4, Cityscapes, Swin-L').endswith(other)
    # between -4.5 and 5.8
    assert row('`no-contrastive`', 'PQ -8.4').endswith('| not seen here | not run |')
    # 1, 0.5 and 1
    assert row('`contrastive-1`', 'PQ -0.8').endswith('| +0.8 ± 0.7 |  | refuted here | not run |')
    assert row('`mask2former`', 'PQ -1.1').endswith('| +6.0 ± ? |  | one seed | not run |')
    assert row('`token-zeros`', 'PQ -0.7').endswith('|  |  | not run | not run |')
    # -71.7 + 0, 1, 2; the interval is 4.3027 / root of 3
    stuff = row('`full`, instance token', 'PQ_st -71.7')
    assert stuff.endswith('| -70.7 ± 2.5 |  | confirmed here | not run |')
    stuff = row('`full`, instance token', 'PQ_st -48.7')
    assert stuff.endswith('| confirmed here, in another size | not run |')
    assert row('confused more').endswith('| +1.9 ± 0.2 |  | confirmed here | not run |')
    instances = row('`full`, semantic token', 'AP -18.4')
    assert instances.endswith('| +0.0 ± 0.0 |  | not seen here | not run |')
    assert '| panoptic | 52.0 ± 2.0 | 1.0 ± 0.0 | 2.0 ± 0.0 | 20.0 ± 0.0 |  |' in text
    for plot in ('ablations', 'confusion'):
        assert (tmp_path / f'plots/{plot}.png').read_bytes()[1:4] == b'PNG'
    assert '| a, b | 10.0 ± 1.0 | 13.0 ± 1.0 | 7.0 ± ? | +3.0 ± 0.0 |' in text
    again = page.read_bytes()
    report.write_report(results, page)
    assert page.read_bytes() == again
    page.write_text(text.replace('<!-- end claims -->', ''))
    with pytest.raises(ValueError, match='has to have <!-- claims --> and <!-- end'):
        report.write_report(results, page)
    more = dict(result('full', 3, 1.0), digest='another')
    file = results / 'lookalikes_full_seed3.json'
    file.write_text(json.dumps(more))
    with pytest.raises(ValueError, match='results of lookalikes, full are of different configs'):
        report.read_results(results)
    file.rename(results / 'lookalikes_full_seed4.json')
    with pytest.raises(ValueError, match='seed4.json is of lookalikes, full, seed 3: move it'):
        report.read_results(results)
    (results / 'lookalikes_full_seed4.json').unlink()
    (results / 'other.json').write_text('[]')
    with pytest.raises(ValueError, match='other.json has no result of oneformer study ablations'):
        report.read_results(results)


def test_the_verdict_follows_the_interval():
    seen, hidden = report.Difference(-1.0, 0.5, 3), report.Difference(-1.0, 1.5, 3)
    assert report.verdict(seen, -1.4) == 'confirmed here'
    assert report.verdict(seen, -0.4) == report.verdict(seen, -8.4)
    assert report.verdict(seen, -0.4) == 'confirmed here, in another size'
    assert report.verdict(seen, 0.4) == 'refuted here'
    assert report.verdict(hidden, -0.4) == 'not seen here'
    assert report.verdict(seen, 0.0) == 'refuted here'
    assert report.verdict(seen, -math.inf) == 'confirmed here'
    assert report.verdict(seen, math.inf) == 'refuted here'
    assert report.verdict(hidden, 0.0) == 'no difference seen here, either'
    assert report.verdict(report.Difference(-1.0, math.inf, 1), -0.4) == 'one seed'
    assert report.verdict(report.Difference(math.nan, math.inf, 0), -0.4) == 'not run'


def test_published_numbers_are_those_of_the_paper():
    """As the tables of arXiv 2211.06220v3 have them: the variant, and the full model."""
    published = [
        ('token-learned', 'PQ', '4', 66.5, 67.2),
        ('token-zeros', 'PQ', '4', 66.5, 67.2),
        ('token-learned', 'AP', '4', 43.3, 45.6),
        ('queries-zeros', 'PQ', '4', 65.8, 67.2),
        ('no-context', 'PQ', '4', 62.7, 67.2),
        ('no-context', 'PQ', 'II', 41.7, 41.9),
        ('no-contrastive', 'PQ', '5', 58.8, 67.2),
        ('no-contrastive', 'PQ', 'III', 51.1, 51.5),
        ('query-classification', 'PQ', '5', 66.4, 67.2),
        ('contrastive-1', 'PQ', 'III', 50.7, 51.5),
        ('text-name', 'PQ', '6', 66.6, 67.2),
        ('text-type', 'PQ', '6', 65.4, 67.2),
        ('mask2former', 'PQ', '7', 48.7, 49.8),
        ('mask2former', 'AP', '7', 33.7, 35.9),
        ('only-panoptic', 'PQ', 'IV', 41.4, 41.9),
        ('only-instance', 'AP', 'IV', 26.7, 27.3),
        ('only-semantic', 'mIoU', 'IV', 47.3, 47.3),
        ('no-contrastive', 'confused', 'Figure 5', math.inf, 0),
        ('full', 'PQ_st', '8', 1.5, 50.2),
        ('full', 'PQ_st', 'V', 0.0, 71.7),
        ('full', 'PQ_th', '8', 35.5, 49.6),
        ('full', 'AP', 'V', 27.2, 45.6),
    ]
    ours = [
        (claim.variant, claim.metric.split('/')[1], claim.source.split(',')[0], *claim.published)
        for claim in report.CLAIMS
    ]
    assert ours == published
    assert {claim.variant for claim in report.CLAIMS} < set(VARIANTS)


# what is stored

STORED = Path(__file__).resolve().parents[1] / 'docs/evidence'


def test_the_page_is_what_the_stored_results_say(root_dir, tmp_path):
    page = tmp_path / 'evidence.md'
    page.write_bytes((root_dir / 'docs/evidence.md').read_bytes())
    report.write_report(STORED, page)
    assert page.read_text() == (root_dir / 'docs/evidence.md').read_text()


@pytest.mark.long
def test_a_stored_training_is_repeated(tmp_path, monkeypatch):
    """On such a processor to the last digit; others add in other order, which training makes grow.

    There it has to be within five deviations of the mean of the stored seeds, or five points.
    """
    runs = report.read_results(STORED)['lookalikes']['third-panoptic']
    monkeypatch.chdir(tmp_path)
    seeded_runs.prepare_data('lookalikes', 480, 120)
    run = Run('lookalikes', 'third-panoptic', 0)
    seeded_runs.run_all([run], tmp_path / 'results', 1)
    repeated, stored = seeded_runs.stored_run(run, tmp_path / 'results'), runs[0]
    assert repeated['images'] == stored['images'] and repeated['digest'] == stored['digest']
    if all(repeated[key] == stored[key] for key in ('processor', 'torch', 'threads')):
        assert repeated['scores'] == stored['scores']
        return
    values = list(report.values_of(runs, 'panoptic/PQ').values())
    distance = abs(repeated['scores']['panoptic/PQ'] - np.mean(values))
    assert distance < 5 * max(1, np.std(values))
