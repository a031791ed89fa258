"""Images that say which classes were looked for in them: how it is read, checked and browsed."""

import json

import numpy as np
import pytest
from coco_scenes import ALL, LOAD, build, config, instances, panoptic
from mmdet.registry import DATASETS
from mmengine.config import Config

from oneformer.datasets.task_sampling import SampleTask
from oneformer.inspection.browsing import draw_targets
from oneformer.inspection.checking import check_config
from oneformer.inspection.summary import summary_text
from oneformer.tasks import Prompts
from oneformer.visualization import class_colors

CATEGORIES = [dict(id=k, name=name) for k, name in enumerate(('cat', 'dog', 'bird', 'cow'), 1)]
FOUR = dict(classes=('cat', 'dog', 'bird', 'cow'), thing_classes=('cat', 'dog', 'bird', 'cow'))
CAT, DOG, BIRD, COW = range(4)


def federated(*images, annotated=(1, 2), categories=CATEGORIES, make=instances):
    """The two images with keys of their own, of which only some categories are annotated."""

    def change(content):
        content['categories'] = categories
        for image, keys in zip(content['images'], images):
            image.update(keys)
        if make is instances:
            kept = [a for a in content['annotations'] if a['category_id'] in annotated]
            content['annotations'] = kept
            return
        for annotation in content['annotations']:
            kept = [s for s in annotation['segments_info'] if s['category_id'] in annotated]
            annotation['segments_info'] = kept

    return make(change)


def labels_of(dataset, index=0):
    """Known labels, and those of them that were searched for; None where nothing is said."""
    info = dataset.get_data_info(index)
    return info['known_labels'], info.get('searched_labels')


# keys of an image with a cat and a dog, labels that are known, those that are searched for
READ = dict(
    nothing=({}, None, None),
    nothing_is_null=(dict(neg_category_ids=None, searched_category_ids=None), None, None),
    negative=(dict(neg_category_ids=[3]), (CAT, DOG, BIRD), (CAT, DOG, BIRD)),
    no_negative=(dict(neg_category_ids=[]), (CAT, DOG), (CAT, DOG)),
    in_part=(
        dict(neg_category_ids=[3], not_exhaustive_category_ids=[1]),
        (CAT, DOG, BIRD),
        (DOG, BIRD),
    ),
    in_part_without_objects=(
        dict(neg_category_ids=[], not_exhaustive_category_ids=[4]),
        (CAT, DOG),
        (CAT, DOG),
    ),
    in_part_alone=(
        dict(not_exhaustive_category_ids=[1, 4]),
        (CAT, DOG, BIRD),
        (DOG, BIRD),
    ),
    searched=(dict(searched_category_ids=[1, 2, 4]), (CAT, DOG, COW), (CAT, DOG, COW)),
    searched_for_less=(dict(searched_category_ids=[1]), (CAT, DOG), (CAT,)),
    searched_for_nothing=(dict(searched_category_ids=[]), (CAT, DOG), ()),
    both=(
        dict(searched_category_ids=[4], neg_category_ids=[3]),
        (CAT, DOG, BIRD, COW),
        (CAT, DOG, BIRD, COW),
    ),
    twice=(dict(neg_category_ids=[3, 3]), (CAT, DOG, BIRD), (CAT, DOG, BIRD)),
    texts=(dict(neg_category_ids=['3', 4.0]), (CAT, DOG, BIRD, COW), (CAT, DOG, BIRD, COW)),
)


@pytest.mark.parametrize('case', READ)
@pytest.mark.parametrize('make', [instances, panoptic])
def test_what_was_searched_for_is_read_of_each_image(make, case, scene):
    keys, known, searched = READ[case]
    content, kind = federated(keys, {}, make=make), make.__name__.removesuffix('s')
    dataset = build(scene, content, kind, metainfo=FOUR)
    assert labels_of(dataset) == (known, searched)
    # of the other image nothing is said, so that everything was looked for
    assert labels_of(dataset, 1) == (None, None)
    # where the set itself annotates less, that is the most that an image can be searched for
    metainfo = dict(classes=(*FOUR['classes'], 'fox'), thing_classes=FOUR['thing_classes'])
    dataset = build(scene, content, kind, metainfo=metainfo)
    assert labels_of(dataset) == ((0, 1, 2, 3) if known is None else known, searched)


def test_a_class_of_several_categories_needs_all_of_them(scene):
    metainfo = dict(
        classes=('cat', 'fox'), thing_classes=('cat', 'fox'), aliases=dict(dog='cat', cow=None)
    )
    categories = [*CATEGORIES[:2], dict(id=3, name='fox'), CATEGORIES[3]]

    def read(keys, annotated):
        content = federated(keys, keys, annotated=annotated, categories=categories)
        return labels_of(build(scene, content, metainfo=metainfo, needs_targets=False))

    assert read(dict(searched_category_ids=[1, 2]), ()) == ((0,), (0,))
    assert read(dict(searched_category_ids=[1, 3]), ()) == ((1,), (1,))
    assert read(dict(searched_category_ids=[1, 3]), (1,)) == ((0, 1), (1,))
    assert read(dict(neg_category_ids=[2, 4]), (1,)) == ((0,), (0,))
    assert read(dict(neg_category_ids=[2], not_exhaustive_category_ids=[2]), (1,)) == ((0,), ())


REFUSED = dict(
    no_list=(3, 'has {key} 3, not a list of category ids'),
    a_dict=({'3': True}, 'not a list of category ids'),
    a_name=(['bird'], "has 'bird' in its {key}, which the JSON does not list as a category"),
    unlisted=([3, 9], r'has 9 in its {key}, .*it lists 4, such as 1, 2, 3.*: add the category'),
    several=([9, 10], r'has \[9, 10\] in its {key}'),
    truth=([True], 'has True in its {key}'),
    nested=([[3]], r'has \[3\] in its {key}'),
    half=([1.5], 'has 1.5 in its {key}'),
)


@pytest.mark.parametrize('key', ['searched_category_ids', 'neg_category_ids'])
@pytest.mark.parametrize('case', REFUSED)
def test_what_is_not_a_list_of_categories_is_refused_with_file_and_image(case, key, scene):
    value, message = REFUSED[case]
    content = federated({}, {key: value})
    with pytest.raises(ValueError, match=f'a.json: image id 2 .*{message.format(key=key)}'):
        build(scene, content, metainfo=FOUR)
    cfg = Config(dict(train_dataloader=dict(dataset=config(scene, metainfo=FOUR))))
    findings = check_config(cfg, ['train'])['train'].findings
    (error,) = [f for f in findings if f.severity == 'error']
    assert (error.id, error.kind in ('wrong value', 'category not listed')) == (2, True)


def test_what_is_written_in_two_ways_is_said(scene, said):
    content = federated(
        dict(neg_category_ids=[2, 3], not_exhaustive_category_ids=[1]),
        dict(searched_category_ids=[1, 3, 4]),
    )
    dataset = build(scene, content, metainfo=FOUR)
    both, other, *_ = said()
    assert 'image id 1 lists categories [2] in neg_category_ids, as absent, and has' in both
    assert 'image id 2 has annotations of categories [2], which its searched_category_ids' in other
    assert labels_of(dataset) == ((CAT, DOG, BIRD), (DOG, BIRD))
    assert labels_of(dataset, 1) == ((CAT, DOG, BIRD, COW), (CAT, BIRD, COW))
    build(scene, federated(dict(neg_category_ids=[3, 4]), {}), metainfo=FOUR)
    mixed, *_ = said()
    assert 'image id 2 has no neg_category_ids, unlike others (so 1 of 2 images)' in mixed
    keys = dict(neg_category_ids=[3, 4])
    build(scene, federated(keys, keys), metainfo=FOUR)
    assert not any('image id' in warning for warning in said())


def found(folder, **options):
    """Findings of the checker, its text, and the summary."""
    cfg = Config(dict(train_dataloader=dict(dataset=config(folder, **options))))
    checked = check_config(cfg, ['train'])
    outcome = checked['train']
    kinds = [(f.severity, f.kind, f.id) for f in outcome.findings]
    return kinds, summary_text(checked), outcome.summary


def test_the_checker_counts_the_images_that_were_searched_for_a_class(scene):
    content = federated(
        dict(neg_category_ids=[3]),
        dict(neg_category_ids=[3], not_exhaustive_category_ids=[1]),
        annotated=(1,),
    )
    (scene / 'a.json').write_text(json.dumps(content))
    kinds, text, summary = found(scene, metainfo=FOUR)
    assert sorted(kinds) == [
        ('warning', 'class not searched', 'dog, cow'),
        ('warning', 'class without target', 'bird'),
    ]
    counts = {n: (c['searched'], c['not_exhaustive']) for n, c in summary['classes'].items()}
    assert counts == dict(cat=(2, 1), dog=(0, 0), bird=(2, 0), cow=(0, 0))
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()]
    assert ['cat', 'thing', '2, searched in 2, not exhaustively in 1'] in rows
    assert ['bird', 'thing', '0, searched in 2'] in rows
    assert not any(row[:1] == ['cow'] for row in rows)
    # a set without the keys says nothing of it
    (scene / 'a.json').write_text(json.dumps(instances()))
    kinds, text, summary = found(scene)
    assert kinds == [] and 'searched' not in text and 'searched' not in str(summary)


def test_an_image_that_teaches_nothing_is_named(scene, said):
    content = federated(dict(neg_category_ids=[3, 4]), dict(searched_category_ids=[]))
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] == 1]
    (scene / 'a.json').write_text(json.dumps(content))
    kinds, *_ = found(scene, metainfo=FOUR)
    assert ('warning', 'nothing searched', 2) in kinds
    assert not any(kind == 'empty image' for _, kind, _ in kinds)
    build(scene, metainfo=FOUR)
    assert any('image id 2 was searched for no class' in warning for warning in said())


def stuff_and_things(make_segments):
    """A sample as it reaches ``SampleTask``: a cat, grass, and void."""
    segments = [
        dict(label=0, isthing=True, iscrowd=False, category='cat'),
        dict(label=2, isthing=False, iscrowd=False, category='grass'),
    ]
    return dict(
        gt_seg_map=np.array([[1, 2, 0]], np.int16),
        segments_info=segments,
        classes=ALL['classes'],
        tasks=('panoptic', 'instance', 'semantic'),
        task_weights=None,
        ignore=(),
        **make_segments,
    )


# classes of which everything is annotated, and the tasks in which void is unknown
@pytest.mark.parametrize(
    'searched, unknown_in',
    [
        (None, set()),
        ((0, 1, 2), set()),
        ((0, 2), set()),
        ((2,), {'semantic'}),
        ((0,), {'semantic', 'panoptic'}),
        ((), {'semantic', 'panoptic'}),
    ],
)
def test_void_is_unknown_to_a_target_of_which_there_may_be_more(searched, unknown_in):
    for task in ('panoptic', 'instance', 'semantic'):
        keys = {} if searched is None else dict(searched_labels=searched, known_labels=(0, 2))
        results = SampleTask(probs={task: 1}).transform(stuff_and_things(keys))
        stuff = 0 if task == 'instance' else 2
        expected = [1, stuff, -1 if task in unknown_in else 0]
        assert results['gt_seg_map'].tolist() == [expected]
        assert ('void' in results['ignore']) == (task in unknown_in)


def test_images_of_a_joint_set_each_know_their_classes(scene):
    grass = [*CATEGORIES[:2], dict(id=3, name='grass')]
    keys = dict(neg_category_ids=[]), dict(searched_category_ids=[2, 3])
    files = dict(
        a=federated(*keys, categories=grass, make=panoptic, annotated=(1, 2, 3)),
        b=panoptic(),
        c=federated(dict(neg_category_ids=[2]), {}, annotated=(1,), categories=CATEGORIES[:2]),
    )
    for name, content in files.items():
        (scene / f'{name}.json').write_text(json.dumps(content))
    pipeline = [
        dict(type='LoadPhoto'),
        dict(type='LoadSegmentMap'),
        dict(type='SampleTask'),
        dict(type='PackSegmentInputs'),
    ]
    kinds = dict(a='panoptic', b='panoptic', c='instance')
    sets = [
        config(scene, kind, metainfo=ALL, ann_file=f'{name}.json', pipeline=pipeline)
        for name, kind in kinds.items()
    ]
    joint = DATASETS.build(dict(type='JointDataset', datasets=sets))
    samples = [joint[index]['data_samples'] for index in range(len(joint))]
    assert [(s.get('known_labels'), s.get('searched_labels')) for s in samples] == [
        ((0, 1, 2), (0, 1, 2)),
        ((0, 1, 2), (1, 2)),
        (None, None),
        (None, None),
        ((0, 1), (0, 1)),
        ((0, 1), None),
    ]


def test_pictures_say_how_many_classes_an_image_annotates(scene, monkeypatch):
    content = federated(dict(neg_category_ids=[3]), dict(neg_category_ids=[]))
    dataset = build(scene, content, metainfo=FOUR, pipeline=LOAD[:2])
    shown = []
    monkeypatch.setattr(
        'oneformer.inspection.browsing.text_below', lambda panels, texts: shown.append(texts[0])
    )
    monkeypatch.setattr('oneformer.inspection.browsing.side_by_side', lambda panels: panels)
    for sample in dataset:
        draw_targets(sample, Prompts(), class_colors(4, None))
    assert [about[2] for about in shown] == [
        'annotates 3 of 4 classes',
        'annotates 2 of 4 classes',
    ]
