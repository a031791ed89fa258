"""What the paper reports of its ablations (arXiv 2211.06220v3), claim by claim."""

from typing import NamedTuple

from ..training.evaluate import HEADLINE

METRICS = {'PQ': HEADLINE['panoptic'], 'AP': HEADLINE['instance'], 'mIoU': HEADLINE['semantic']}


class Claim(NamedTuple):
    """What the paper reports of a variant.

    Attributes:
        text: The claim in words.
        variant: One of ``VARIANTS``.
        metric: Key of a score.
        published: Score of the variant and of the full model.
        source: Table, dataset and backbone.
    """

    text: str
    variant: str
    metric: str
    published: tuple[float, float]
    source: str


_CITY, _ADE, _ADE50, _COCO50 = (
    *('Cityscapes, Swin-L', 'ADE20K, Swin-L', 'ADE20K, R50', 'COCO, R50'),
)
# it does not tell what was in the place of the task token
CLAIMS = (
    Claim('the task token helps', 'token-learned', METRICS['PQ'], (66.5, 67.2), f'4, {_CITY}'),
    Claim('the task token helps', 'token-zeros', METRICS['PQ'], (66.5, 67.2), f'4, {_CITY}'),
    Claim('the task token helps AP', 'token-learned', METRICS['AP'], (43.3, 45.6), f'4, {_CITY}'),
    Claim(
        'queries should start from the token',
        'queries-zeros',
        METRICS['PQ'],
        (65.8, 67.2),
        f'4, {_CITY}',
    ),
    Claim('learned text context helps', 'no-context', METRICS['PQ'], (62.7, 67.2), f'4, {_CITY}'),
    Claim('learned text context helps', 'no-context', METRICS['PQ'], (41.7, 41.9), f'II, {_ADE50}'),
    Claim(
        'the contrastive loss helps', 'no-contrastive', METRICS['PQ'], (58.8, 67.2), f'5, {_CITY}'
    ),
    Claim(
        'the contrastive loss helps',
        'no-contrastive',
        METRICS['PQ'],
        (51.1, 51.5),
        f'III, {_COCO50}',
    ),
    Claim(
        'it helps more than classifying queries',
        'query-classification',
        METRICS['PQ'],
        (66.4, 67.2),
        f'5, {_CITY}',
    ),
    Claim(
        'weight 1 of it is too much',
        'contrastive-1',
        METRICS['PQ'],
        (50.7, 51.5),
        f'III, {_COCO50}',
    ),
    Claim(
        'a photo with a {name} beats {name}',
        'text-name',
        METRICS['PQ'],
        (66.6, 67.2),
        f'6, {_CITY}',
    ),
    Claim('the kind in the text harms', 'text-type', METRICS['PQ'], (65.4, 67.2), f'6, {_CITY}'),
    Claim(
        'better than Mask2Former trained jointly',
        'mask2former',
        METRICS['PQ'],
        (48.7, 49.8),
        f'7, {_ADE}',
    ),
    Claim('also in AP', 'mask2former', METRICS['AP'], (33.7, 35.9), f'7, {_ADE}'),
    Claim(
        'joint training beats one for panoptic',
        'only-panoptic',
        METRICS['PQ'],
        (41.4, 41.9),
        f'IV, {_ADE50}',
    ),
    Claim('and one for instance', 'only-instance', METRICS['AP'], (26.7, 27.3), f'IV, {_ADE50}'),
    Claim(
        'and is as good as one for semantic',
        'only-semantic',
        METRICS['mIoU'],
        (47.3, 47.3),
        f'IV, {_ADE50}',
    ),
)
