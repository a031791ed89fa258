"""Tables of ablations from stored results, and a verdict on each claim of the paper.

A difference to the full model is paired: of trainings with the same seed. Its interval holds 95 %
by Student's t over the seeds, so two seeds say little, and one says nothing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from ..host.safe_io import write_bytes
from ..tasks import TASKS
from .ablations import DATA, VARIANTS
from .published_claims import CLAIMS, CONFUSED, METRICS, Claim

WITH_AND_WITHOUT = ('full', 'no-contrastive', 'mask2former')  # the contrastive loss


class Difference(NamedTuple):
    """A variant against the full model, with the same seeds.

    Attributes:
        mean: Mean of the differences, nan without a pair.
        half: Half of the interval, infinite with fewer than two pairs.
        pairs: Number of pairs.
    """

    mean: float
    half: float
    pairs: int

    @property
    def is_seen(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        if not self.pairs:
            return ''
        half = '?' if math.isinf(self.half) else f'{self.half:.1f}'
        return f'{self.mean:+.1f} ± {half}'


def read_results(folder: Path) -> dict[str, dict[str, dict[int, dict]]]:
    """Results by data, variant and seed.

    Raises:
        ValueError: If a file is not one of these, has another name than its content, or if runs of
            a variant have other iterations or other images than the rest.
    """
    found: dict[str, dict[str, dict[int, dict]]] = {}
    for file in sorted(folder.glob('*.json')):
        content = json.loads(file.read_text())
        try:
            data, variant, seed = (content[key] for key in ('data', 'variant', 'seed'))
        except (KeyError, TypeError):
            raise ValueError(f'{file} has no result of oneformer study ablations') from None
        if file.stem != f'{data}_{variant}_seed{seed}':
            raise ValueError(f'{file} is of {data}, {variant}, seed {seed}: move it to that name')
        found.setdefault(data, {}).setdefault(variant, {})[seed] = content
    for data, of_data in found.items():
        _check_same(data, [run['images'] for runs in of_data.values() for run in runs.values()])
        for variant, runs in of_data.items():
            _check_same(f'{data}, {variant}', [run['digest'] for run in runs.values()])
    return found


def _check_same(what: str, values: Sequence[str]) -> None:
    if len(set(values)) > 1:
        raise ValueError(
            f'results of {what} are of different configs or images, and cannot be compared: '
            'keep those of one in the folder'
        )


def values_of(runs: Mapping[int, dict], metric: str) -> dict[int, float]:
    """A score by seed, where there is one."""
    scores = {seed: run['scores'].get(metric) for seed, run in runs.items()}
    return {seed: score for seed, score in scores.items() if score is not None}


def values_under(runs: Mapping[int, dict], metric: str, token: str) -> dict[int, float]:
    """A score by seed under the token of any task."""
    scores = {seed: run['tokens'][token].get(metric) for seed, run in runs.items()}
    return {seed: score for seed, score in scores.items() if score is not None}


def difference(ours: Mapping[int, float], full: Mapping[int, float]) -> Difference:
    """Paired difference of scores by seed."""
    pairs = [ours[seed] - full[seed] for seed in sorted(set(ours) & set(full))]
    if not pairs:
        return Difference(float('nan'), math.inf, 0)
    if len(pairs) == 1:
        return Difference(pairs[0], math.inf, 1)
    quantile = stats.t.ppf(0.975, len(pairs) - 1)
    half = quantile * np.std(pairs, ddof=1) / math.sqrt(len(pairs))
    return Difference(float(np.mean(pairs)), float(half), len(pairs))


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of a sample."""
    if not values:
        return ''
    deviation = f'{np.std(values, ddof=1):.1f}' if len(values) > 1 else '?'
    return f'{np.mean(values):.1f} ± {deviation}'


def _row(cells: Sequence[object]) -> str:
    return '| ' + ' | '.join(map(str, cells)) + ' |'


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(['---'] * len(cells))]


def variants_table(results: Mapping[str, Mapping[int, dict]]) -> str:
    """Scores of each variant, and their differences to the full model."""
    names = list(METRICS)
    lines = _head(
        ['variant', 'seeds', *names, *(f'{name} to full' for name in names), 'confused, %']
        + ['iterations', 'CPU s', 'parameters, M']
    )
    full = results.get('full', {})
    for name, variant in VARIANTS.items():
        if not (runs := results.get(name)):
            continue
        own = {metric: values_of(runs, key) for metric, key in METRICS.items()}
        cells = [
            f'`{name}`: {variant.what}',
            len(runs),
            *(spread(list(own[metric].values())) for metric in names),
        ]
        for metric, key in METRICS.items():
            change = difference(own[metric], values_of(full, key))
            note = ' (within spread)' if change.pairs > 1 and not change.is_seen else ''
            cells.append(f'{change}{note}' if name != 'full' else '')
        cells.append(spread(list(values_of(runs, CONFUSED).values())))
        some = list(runs.values())
        cells.append(some[0]['iterations'])
        cells.append(round(np.mean([run['cpu_seconds'] for run in some])))
        cells.append(f'{some[0]["parameters"] / 1e6:.2f}')
        lines.append(_row(cells))
    return '\n'.join(lines)


def tokens_table(results: Mapping[str, Mapping[int, dict]]) -> str:
    """The full model under each task token (Tables 8 and V)."""
    keys = [METRICS['PQ'], 'panoptic/PQ_th', 'panoptic/PQ_st', METRICS['AP'], METRICS['mIoU']]
    lines = _head(['task token', *(key.partition('/')[2] for key in keys)])
    matrices = [run['tokens'] for run in results.get('full', {}).values()]
    for token in TASKS:
        rows = [matrix[token] for matrix in matrices]
        cells = [[row[key] for row in rows if row.get(key) is not None] for key in keys]
        lines.append(_row([token, *map(spread, cells)]))
    return '\n'.join(lines)


def pairs_of(results: Mapping[str, Mapping[int, dict]]) -> list[str]:
    """Pairs of classes of which the confusion was measured, as ``'A, B'``."""
    some = next(iter(results.get('full', {}).values()), dict(scores={}))
    start = f'{CONFUSED}: '
    return [key.removeprefix(start) for key in some['scores'] if key.startswith(start)]


def pairs_table(results: Mapping[str, Mapping[int, dict]]) -> str:
    """Confusion of each pair of classes with and without the contrastive loss."""
    kinds = WITH_AND_WITHOUT
    lines = _head(['look-alikes', *(VARIANTS[kind].what for kind in kinds), 'without it'])
    for pair in pairs_of(results):
        of_kind = [values_of(results.get(kind, {}), f'{CONFUSED}: {pair}') for kind in kinds]
        cells = [spread(list(values.values())) for values in of_kind]
        lines.append(_row([pair, *cells, difference(of_kind[1], of_kind[0])]))
    return '\n'.join(lines)


def verdict(change: Difference, published: float) -> str:
    """What our difference says of a published one: its direction, and then its size.

    Args:
        change: Ours.
        published: Theirs; infinite if they tell the direction alone.
    """
    if change.pairs < 2:
        return 'one seed' if change.pairs else 'not run'
    if published == 0:
        return 'refuted here' if change.is_seen else 'no difference seen here, either'
    if not change.is_seen:
        return 'not seen here'
    if change.mean * published < 0:
        return 'refuted here'
    within = math.isinf(published) or abs(change.mean - published) <= change.half
    return 'confirmed here' if within else 'confirmed here, in another size'


def change_of(claim: Claim, results: Mapping[str, Mapping[int, dict]]) -> Difference:
    """Our difference for a claim, from the results of a data."""
    full, variant = results.get('full', {}), results.get(claim.variant, {})
    if claim.token is None:
        return difference(values_of(variant, claim.metric), values_of(full, claim.metric))
    own = claim.metric.partition('/')[0]
    return difference(
        values_under(variant, claim.metric, claim.token), values_under(full, claim.metric, own)
    )


def claims_table(results: Mapping[str, Mapping[str, Mapping[int, dict]]]) -> str:
    """For each claim: what they report, what we found, and a verdict, for each data.

    Differences are those of the variant to the full model.
    """
    lines = _head(
        ['claim', 'variant', 'theirs', 'table', *(f'ours, {data}' for data in DATA)]
        + [f'verdict, {data}' for data in DATA]
    )
    for claim in CLAIMS:
        changes = [change_of(claim, results.get(data, {})) for data in DATA]
        size = 'more' if math.isinf(claim.difference) else f'{claim.difference:+.1f}'
        theirs = f'{claim.metric.partition("/")[2]} {size}'
        verdicts = [verdict(change, claim.difference) for change in changes]
        lines.append(_row([claim.text, claim.name, theirs, claim.source, *changes, *verdicts]))
    return '\n'.join(lines)


def hours(results: Mapping[str, Mapping[str, Mapping[int, dict]]]) -> float:
    """CPU hours of all trainings."""
    runs = [
        run for data in results.values() for variant in data.values() for run in variant.values()
    ]
    return sum(run['cpu_seconds'] for run in runs) / 3600


def tables(results: Mapping[str, Mapping[str, Mapping[int, dict]]]) -> dict[str, str]:
    """All tables by the name of their place in the page."""
    found = {'claims': claims_table(results)}
    for data in DATA:
        of_data = results.get(data, {})
        found[f'variants:{data}'] = variants_table(of_data)
        found[f'tokens:{data}'] = tokens_table(of_data)
        found[f'pairs:{data}'] = pairs_table(of_data)
    count = sum(len(seeds) for data in results.values() for seeds in data.values())
    found['cost'] = f'{count} trainings, {hours(results):.1f} CPU hours.'
    return found


def fill_in(page: str, parts: Mapping[str, str]) -> str:
    """A page with parts between their markers, ``<!-- NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        ValueError: If a marker is missing, or in the page twice.
    """
    for name, text in parts.items():
        start, end = f'<!-- {name} -->', f'<!-- end {name} -->'
        if page.count(start) != 1 or page.count(end) != 1 or page.index(start) > page.index(end):
            raise ValueError(f'the page has to have {start} and {end} once, in this order')
        before, _, rest = page.partition(start)
        after = rest.partition(end)[2]
        page = f'{before}{start}\n\n{text}\n\n{end}{after}'
    return page


def write_report(folder: Path, page: Path) -> None:
    """Write the tables of stored results into a page.

    Raises:
        FileNotFoundError: If there are no results.
        ValueError: If a marker is missing.
    """
    results = read_results(folder)
    if not results:
        raise FileNotFoundError(f'{folder} has no results: run oneformer study ablations first')
    write_bytes(page, fill_in(page.read_text(), tables(results)).encode())
