"""The ablations: each variant as a difference to the full model.

Numbers of tables are those of the paper (arXiv 2211.06220v3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from ..tasks import TASKS
from ..zoo import ZOO

DATA = ('lookalikes', 'nuclei')


@dataclass(frozen=True)
class Variant:
    """What a variant changes.

    Attributes:
        what: The variant in words.
        model: Dotted keys of the config's model, and their values.
        tasks: Probabilities of the tasks in training; None for equal ones.
        prompts: Arguments of ``Prompts`` as a function of the dataset's metainfo; None for the
            original's.
        share: Iterations as a share of the full model's.
        scored: Tasks that it is trained for, and scored on.
    """

    what: str
    model: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, float] | None = None
    prompts: Any = None
    share: float = 1.0
    scored: tuple[str, ...] = TASKS


_QUERIES = 'panoptic_head.task_queries'
_NO_TEXT = {'text_mapper': None, 'contrastive_loss': None}


def _typed(metainfo: Mapping) -> dict:
    """Synonyms of the classes that name their kind, as in Table 6 ({CLS} {TYPE})."""
    things = metainfo['thing_classes']
    return dict(
        synonyms={
            name: [f'{name} {"thing" if name in things else "stuff"}']
            for name in metainfo['classes']
        }
    )


def _single(task: str, share: float) -> Variant:
    length = 'as long' if share == 1 else 'a third as long'
    return Variant(f'{task} alone, {length}', tasks={task: 1.0}, share=share, scored=(task,))


VARIANTS: dict[str, Variant] = {
    'full': Variant('the full model'),
    'token-zeros': Variant(
        'no task token, zeros in its place',
        {_QUERIES: dict(type='ConstantToken', token='zeros')},
    ),
    'token-learned': Variant(
        'no task token, a learned vector in its place',
        {_QUERIES: dict(type='ConstantToken', token='learned')},
    ),
    'queries-zeros': Variant(
        'task token appended, queries start from zeros', {_QUERIES: dict(type='ZeroStart')}
    ),
    'no-context': Variant('no learned text context', {'text_mapper.num_context': 0}),
    'no-contrastive': Variant('no contrastive loss', _NO_TEXT),
    'query-classification': Variant(
        'query-classification loss in place of the contrastive loss',
        {
            'text_mapper': dict(type='PromptClasses'),
            'contrastive_loss': dict(type='QueryClassificationLoss'),
        },
    ),
    'contrastive-1': Variant(
        'weight 1 of the contrastive loss', {'contrastive_loss.loss_weight': 1.0}
    ),
    'text-name': Variant('text {name}', prompts=lambda metainfo: dict(template='{name}')),
    'text-type': Variant('text a photo with a {name} {type}', prompts=_typed),
    'mask2former': Variant(
        'Mask2Former, joint: learned queries, no task, no text',
        {_QUERIES: dict(type='LearnedQueries'), **_NO_TEXT},
    ),
    **{f'only-{task}': _single(task, 1) for task in TASKS},
    **{f'third-{task}': _single(task, 1 / 3) for task in TASKS},
    'unequal-tasks': Variant(
        'tasks drawn unequally: panoptic 60 %, the others 20 %',
        tasks=dict(panoptic=0.6, instance=0.2, semantic=0.2),
    ),
    'other-texts': Variant(
        'identical texts of a batch are no negatives',
        {'contrastive_loss.negatives': 'other_texts'},
    ),
    'memory': Variant(
        'contrastive loss with a memory of 64 images', {'contrastive_loss.memory': 64}
    ),
}


def ablation_config(data: str, name: str, seed: int, max_iters: int | None = None) -> Config:
    """The config of a training.

    Args:
        data: One of ``DATA``.
        name: One of ``VARIANTS``.
        seed: Its seed.
        max_iters: Iterations of the full model, None for those of the config.
    """
    variant = VARIANTS[name]
    cfg = Config.fromfile(ZOO / f'studies/ablations_{data}.py')
    for key, value in variant.model.items():
        *path, last = key.split('.')
        part = cfg.model
        for step in path:
            part = part[step]
        part[last] = _filled_in(cfg, part.get(last), value)
    if max_iters is not None:
        cfg.train_cfg.max_iters = max_iters
    cfg.train_cfg.max_iters = max(round(cfg.train_cfg.max_iters * variant.share), 1)
    (sample,) = (
        step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'SampleTask'
    )
    if variant.tasks is not None:
        sample.probs = dict(variant.tasks)
    if variant.prompts is not None:
        sample.prompts = variant.prompts(cfg.model.metainfo)
    cfg.model.test_cfg.tasks = variant.scored
    cfg.default_hooks.checkpoint.update(interval=10**9, save_optimizer=False)  # the last alone
    cfg.randomness = dict(seed=seed)
    cfg.experiment_name = f'ablations_{data}_{name}_seed{seed}'
    cfg.work_dir = f'{cfg.work_dir}/{name}_seed{seed}'
    return cfg


def _filled_in(cfg: Config, before: Any, value: Any) -> Any:
    """A part's value, with the sizes that it needs of the model that it is for."""
    if not isinstance(value, dict):
        return value
    head, metainfo = cfg.model.panoptic_head, cfg.model.metainfo
    if value['type'] == 'LearnedQueries':
        return dict(value, num_queries=head.num_queries)
    if value['type'] == 'PromptClasses':
        return dict(
            value, classes=metainfo['classes'], num_context=0, embed_dims=head.feat_channels
        )
    if value['type'] == 'QueryClassificationLoss':
        return dict(value, num_classes=len(metainfo['classes']), embed_dims=head.feat_channels)
    return {**(before or {}), **value}  # another type with the same arguments
