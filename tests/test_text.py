"""Prompts, tokens and the text encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from plain_paths import text_list

from oneformer.metainfo import KNOWN_DATASETS, resolve_metainfo
from oneformer.models.text_mapper import token_ids
from oneformer.tasks import CONTEXT_LENGTH, TASK_TOKEN_IDS, TASKS, Prompts

DATA = Path(__file__).parent / 'data'


@pytest.fixture
def mapper():
    torch.manual_seed(0)
    mapper = MODELS.build(
        dict(type='TextMapper', num_texts=9, num_context=3, embed_dims=64, num_layers=2)
    )
    mapper.init_weights()
    return mapper


def test_task_tokens_are_those_of_the_tokenizer():
    for task in TASKS:
        ids = token_ids(f'The task is {task}')
        assert TASK_TOKEN_IDS[task] == ids + (0,) * (CONTEXT_LENGTH - len(ids))


def test_prompt_tokens_equal_the_originals():
    tokens = json.loads((DATA / 'official_tokens.json').read_text())
    assert len(tokens) > 300
    for text, ids in tokens.items():
        assert list(token_ids(text)) == ids, text


@pytest.mark.parametrize('dataset', KNOWN_DATASETS)
def test_classes_and_things_are_in_the_order_of_the_original(dataset):
    official = json.loads((DATA / 'official_classes.json').read_text())
    official = official[dict(mapillary='mapillary_vistas').get(dataset, dataset)]
    metainfo = resolve_metainfo(dataset)
    assert metainfo['classes'] == tuple(row['name'] for row in official)
    assert set(metainfo['thing_classes']) == {row['name'] for row in official if row['isthing']}
    assert len(metainfo['palette']) == len(official)


def test_queries_without_a_prompt_get_the_filler_and_prompts_too_many_are_dropped(mapper):
    prompts, filler = [f'a photo with a {number}' for number in range(12)], 'a semantic photo'
    for count in (0, 1, 8, 9, 12):
        expected = mapper([text_list(prompts[:count], filler, 9)], [''])
        assert torch.equal(mapper([prompts[:count]], [filler]), expected)


def test_fillers_name_the_task():
    assert Prompts().filler_of('instance') == 'an instance photo'
    assert Prompts().filler_of('panoptic') == 'a panoptic photo'


def test_distinct_and_trimmed_prompts_change_no_feature_and_no_gradient(mapper):
    texts = [['a photo with a cat'] * 2 + ['a photo with a chest of drawers, chest'], []]
    fillers = ['a panoptic photo', 'a semantic photo']
    lists = [text_list(*pair, 9) for pair in zip(texts, fillers)]
    ids = torch.zeros(2, 9, CONTEXT_LENGTH, dtype=torch.long)
    for i, row in enumerate(lists):
        for j, text in enumerate(row):
            ids[i, j, : len(token_ids(text))] = torch.tensor(token_ids(text))
    # every prompt for itself, at full length, as in the original
    plain = mapper.encode(ids.flatten(0, 1)).unflatten(0, (2, 9))
    queries = mapper(texts, fillers)
    assert queries.shape == (2, 12, 64)
    torch.testing.assert_close(queries[:, :9], plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(queries[0, 9:], mapper.context.weight)

    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0))
    parameters = [p for p in mapper.parameters() if p is not mapper.context.weight]
    expected = torch.autograd.grad((plain * weights).sum(), parameters)
    gradients = torch.autograd.grad((queries[:, :9] * weights).sum(), parameters)
    for gradient, reference in zip(gradients, expected):
        torch.testing.assert_close(gradient, reference, atol=1e-4, rtol=1e-4)


def test_texts_of_one_image_do_not_depend_on_the_others(mapper):
    cat = ['a photo with a cat']
    alone = mapper([cat], ['an instance photo'])
    together = mapper([['a photo with a dog'] * 3, cat], ['a semantic photo', 'an instance photo'])
    torch.testing.assert_close(together[1:], alone, atol=1e-6, rtol=0)


def test_an_unknown_task_word_is_named():
    with pytest.raises(ValueError, match="unknown task 'detection'"):
        Prompts().filler_of('detection')


def test_prompts_can_be_worded_otherwise():
    np.random.seed(0)
    prompts = Prompts(
        template='{article} {name} seen from above',
        filler='nothing to see in this {task} picture',
        synonyms=dict(car=['car', 'automobile']),
    )
    classes = ('sky', 'car')
    texts = set(prompts.targets([1] * 20 + [0], classes))
    assert texts == {
        'a sky seen from above',
        'a car seen from above',
        'an automobile seen from above',
    }
    assert prompts.filler_of('panoptic') == 'nothing to see in this panoptic picture'
    # the original's article is "a", also where it is wrong
    assert Prompts().targets([0], ('airplane',)) == ['a photo with a airplane']


def test_wrong_prompts_are_named():
    with pytest.raises(ValueError, match=r'prompts.template must contain \{name\}'):
        Prompts(template='an image')
    with pytest.raises(ValueError, match=r'prompts.filler must contain \{task\}'):
        Prompts(filler='a {colour} {task} photo')
    with pytest.raises(ValueError, match="synonyms of 'car' must be a list"):
        Prompts(synonyms=dict(car='automobile'))
    with pytest.raises(ValueError, match=r"what is not a class: \['cart'\]"):
        Prompts(synonyms=dict(cart=['car'])).targets([], ('car',))
