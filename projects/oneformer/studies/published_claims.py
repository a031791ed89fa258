"""What the paper reports of its ablations (arXiv 2211.06220v3), claim by claim."""

import math
from typing import NamedTuple

from ..training.evaluate import HEADLINE

CONFUSED = 'semantic/confused'
METRICS = {'PQ': HEADLINE['panoptic'], 'AP': HEADLINE['instance'], 'mIoU': HEADLINE['semantic']}


class Claim(NamedTuple):
    """What the paper reports of a variant, or of the full model under the token of another task.

    Attributes:
        text: The claim in words.
        variant: One of ``VARIANTS``.
        metric: Key of a score.
        published: Score of the variant and of the full model, or under that token and the own;
            ``(inf, 0)`` where it is told to be more, without a number.
        source: Table, dataset and backbone.
        token: Task of the token; None for that of the metric.
    """

    text: str
    variant: str
    metric: str
    published: tuple[float, float]
    source: str
    token: str | None = None

    @property
    def difference(self) -> float:
        """Published score minus that of the full model."""
        return self.published[0] - self.published[1]

    @property
    def name(self) -> str:
        """The variant, and its token if that is another task's."""
        return f'`{self.variant}`' + (f', {self.token} token' if self.token else '')


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
    Claim(
        'classes are confused less with the contrastive loss',
        'no-contrastive',
        CONFUSED,
        (math.inf, 0),
        'Figure 5, pictures of Cityscapes, Swin-L',
    ),
    Claim(
        'the instance token asks for no stuff',
        'full',
        'panoptic/PQ_st',
        (1.5, 50.2),
        f'8, {_ADE}',
        'instance',
    ),
    Claim(
        'the instance token asks for no stuff',
        'full',
        'panoptic/PQ_st',
        (0.0, 71.7),
        f'V, {_CITY}',
        'instance',
    ),
    Claim(
        'the semantic token does not separate instances',
        'full',
        'panoptic/PQ_th',
        (35.5, 49.6),
        f'8, {_ADE}',
        'semantic',
    ),
    Claim(
        'the semantic token does not separate instances',
        'full',
        METRICS['AP'],
        (27.2, 45.6),
        f'V, {_CITY}',
        'semantic',
    ),
)
