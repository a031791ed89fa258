"""Checkpoints of the original and of Hugging Face are converted completely, or not at all."""

import json
import os
import pickle

import pytest
import torch
from converting import convert
from dinat_peer import TINY, over_slow_loops, tiny_peer_config
from hf_peer import peer_and_ours, peer_with, small_swin_config
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub

from oneformer.host.errors import CheckpointError
from oneformer.metainfo import KNOWN_DATASETS
from oneformer.tasks import TASK_TOKEN_IDS
from oneformer.weights.huggingface_config import backbone_options_in
from oneformer.weights.meta_models import meta_model
from oneformer.weights.names import LAYOUTS

# what the original keeps beside the tensors that its function depends on
DERIVED = ('relative_position_index', 'criterion.empty_weight')


def original_tensors(root_dir, name):
    """Tensors with the names and shapes of the original, each another part of one random row."""
    lines = (root_dir / 'tests' / 'data' / f'original_{name}.txt').read_text().splitlines()
    shapes = {key: torch.Size(json.loads(shape)) for key, shape in map(split_tab, lines)}
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(max(s.numel() for s in shapes.values()) + len(shapes), generator=generator)
    return {
        key: row[n : n + shape.numel()].view(shape) for n, (key, shape) in enumerate(shapes.items())
    }


def split_tab(line):
    return line.split('\t')


@pytest.mark.parametrize(
    ('name', 'described', 'config'),
    [
        ('swin-l', '(192, (2, 2, 18, 2), 12)', 'oneformer_swin-l_ade20k.py'),
        ('r50', '(50)', 'oneformer_r50_coco.py'),
        ('convnext-l', '(large)', 'oneformer_convnext-l_ade20k.py'),
        ('dinat-l', '(192, [3, 4, 18, 5], 11)', 'oneformer_dinat-l_ade20k.py'),
    ],
)
def test_every_key_of_the_original_is_used_and_comes_back(
    run_tool, root_dir, config_dir, tmp_path, name, described, config
):
    source = original_tensors(root_dir, f'{name}_ade20k')
    counters = {
        key.replace('running_mean', 'num_batches_tracked'): torch.tensor(9)
        for key in source
        if key.endswith('running_mean')
    }  # which SyncBN has, and a frozen norm has not
    torch.save(dict(model=source | counters, iteration=160000), tmp_path / 'original.pth')
    printed = run_tool('convert_checkpoint', 'original.pth', 'ours.pth')
    assert '150 classes' in printed and 'with text branch' in printed and described in printed
    assert all(key in printed for key in [*counters, 'criterion.empty_weight'])

    ours = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert ours['meta']['dataset_meta']['classes'] == KNOWN_DATASETS['ade20k']['classes']
    model = Config.fromfile(config_dir / config).model
    model.metainfo = 'ade20k'
    meta_model(model).load_state_dict(ours['state_dict'], strict=True, assign=True)
    del ours

    run_tool('convert_checkpoint', 'ours.pth', 'back.pth', '--to', 'shi-labs')
    back = torch.load(tmp_path / 'back.pth', weights_only=True)['model']
    assert back.keys() == source.keys()
    for key, tensor in source.items():
        if not key.endswith(DERIVED):
            assert torch.equal(back[key], tensor) and back[key].dtype == tensor.dtype, key
    assert back['criterion.empty_weight'].tolist() == [1.0] * 150 + [pytest.approx(0.1)]


@pytest.fixture
def original_dinat(root_dir, tmp_path):
    """Path of a DiNAT-L of the original with a kernel of this size."""

    def write(kernel_size):
        source = original_tensors(root_dir, 'dinat-l_ade20k')
        size = 2 * kernel_size - 1
        for key in source:
            if key.endswith('.rpb'):
                source[key] = source[key][:, :size, :size].contiguous()
        torch.save(dict(model=source), tmp_path / 'original.pth')
        return tmp_path / 'original.pth'

    return write


def meta_of(path):
    return torch.load(path, weights_only=True)['meta']


@pytest.mark.parametrize(('kernel_size', 'base'), [(11, 'dinat-l'), (7, 'dinat-l-k7')])
def test_dilations_of_the_original_are_the_published_ones(
    original_dinat, config_dir, tmp_path, kernel_size, base
):
    report = convert(original_dinat(kernel_size), tmp_path / 'ours.pth')
    backbone = report.model['backbone']
    published = Config.fromfile(config_dir / '_base_/models' / f'oneformer_{base}.py').model
    assert backbone['dilations'] == published.backbone.dilations
    (note,) = report.notes
    assert 'not in the weights' in note and note in str(report)
    assert ('1280 px' in note) == (kernel_size == 11)


def test_dilations_that_were_assumed_are_not_taken_for_said(original_dinat, config_dir, tmp_path):
    ours, wide = tmp_path / 'ours.pth', str(config_dir / 'oneformer_dinat-l_ade20k-1280.py')
    convert(original_dinat(11), ours)
    assert meta_of(ours)['backbone'] == {}
    with pytest.raises(CheckpointError, match='config.json has to say .* dilations .*--config'):
        convert(ours, tmp_path / 'folder', target='huggingface')
    report = convert(ours, tmp_path / 'back.pth', target='shi-labs', config=wide)
    assert not report.notes
    report = convert(tmp_path / 'back.pth', tmp_path / 'wide.pth', config=wide)
    assert not report.notes
    said = meta_of(tmp_path / 'wide.pth')['backbone']
    assert said['dilations'] == Config.fromfile(wide).model.backbone.dilations
    # our file says them itself from now on
    again = convert(tmp_path / 'wide.pth', tmp_path / 'back2.pth', target='shi-labs')
    assert again.model['backbone']['dilations'] == said['dilations'] and not again.notes
    narrow = str(config_dir / 'oneformer_dinat-l_ade20k.py')
    with pytest.raises(
        CheckpointError, match=r'dilations .*\[1, 28, 1\].*\[1, 20, 1\].* the config'
    ):
        convert(tmp_path / 'wide.pth', tmp_path / 'back3.pth', target='shi-labs', config=narrow)


def test_the_window_index_is_the_one_of_mmdet(config_dir, tmp_path, small):
    model = MODELS.build(small_swin_config(config_dir))
    state_dict = torch.load(small / 'ours.pth', weights_only=True)['state_dict']
    index = 'backbone.stages.0.blocks.0.attn.w_msa.relative_position_index'
    assert torch.equal(state_dict[index], model.state_dict()[index])


@pytest.fixture(scope='module')
def small(config_dir, tmp_path_factory):
    """A small model of Hugging Face in ``peer``, converted to ``ours.pth``."""
    pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')
    folder = tmp_path_factory.mktemp('small')
    peer_and_ours(config_dir)[0].save_pretrained(folder / 'peer')
    classes = dict(classes=list('abcdefg'), thing_classes=['a', 'c', 'f'])
    (folder / 'classes.json').write_text(json.dumps(classes))
    convert(folder / 'peer', folder / 'ours.pth', metainfo=str(folder / 'classes.json'))
    return folder


def logits(model, image):
    """Class and mask logits of either side."""
    task = 'semantic'
    with torch.no_grad():
        if hasattr(model, 'panoptic_head'):
            prediction = model(image, [DetDataSample(metainfo=dict(task=task))], mode='tensor')
            return prediction['cls_scores'], prediction['mask_preds']
        prediction = model(image, task_inputs=torch.tensor([TASK_TOKEN_IDS[task]]))
    return prediction.class_queries_logits, prediction.masks_queries_logits


def from_pretrained(folder, **options):
    from transformers import OneFormerForUniversalSegmentation

    return OneFormerForUniversalSegmentation.from_pretrained(
        folder, output_loading_info=True, **options
    )


def test_hugging_face_and_ours_give_the_same_logits_both_ways(small, config_dir, tmp_path):
    ours = MODELS.build(small_swin_config(config_dir)).eval()
    checkpoint = torch.load(small / 'ours.pth', weights_only=True)
    ours.load_state_dict(checkpoint['state_dict'], strict=True)
    convert(small / 'ours.pth', tmp_path / 'back', target='huggingface', drop_text_branch=True)
    back, loading = from_pretrained(tmp_path / 'back')
    assert not any(loading.values()), loading
    assert back.config.id2label == dict(enumerate('abcdefg'))

    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    peer, _ = from_pretrained(small / 'peer', is_training=False)
    expected = logits(peer.eval(), image)
    assert min(part.std() for part in expected) > 0.1
    for model in (ours, back.eval()):
        for part, reference in zip(logits(model, image), expected):
            torch.testing.assert_close(part, reference, atol=1e-4, rtol=0)


def test_a_folder_of_hugging_face_comes_back_bit_by_bit(small, tmp_path):
    report = convert(small / 'ours.pth', tmp_path / 'back', target='huggingface')
    _, loading = from_pretrained(tmp_path / 'back', is_training=True)
    assert not any(loading.values()), loading
    before, after = read(small / 'peer'), read(tmp_path / 'back')
    assert before.keys() == after.keys()
    norm = 'model.pixel_level_module.encoder.swin.layernorm'
    assert set(report.rebuilt) == {f'{norm}.weight', f'{norm}.bias', 'criterion.empty_weight'}
    for key in before.keys() - set(report.rebuilt):
        assert torch.equal(before[key], after[key]), key


def read(folder):
    from safetensors.torch import load_file

    return load_file(folder / 'model.safetensors')


def test_a_model_for_inference_has_no_text_branch(small, config_dir, tmp_path):
    report = convert(
        small / 'ours.pth', tmp_path / 'slim', target='huggingface', drop_text_branch=True
    )
    assert 'text_mapper.context.weight' in report.dropped
    assert not [key for key in read(tmp_path / 'slim') if 'text' in key]
    report = convert(tmp_path / 'slim', tmp_path / 'slim.pth', metainfo=str(small / 'classes.json'))
    assert report.dropped == ['criterion.logit_scale']
    model = small_swin_config(config_dir)
    model.update(text_mapper=None, contrastive_loss=None)
    state_dict = torch.load(tmp_path / 'slim.pth', weights_only=True)['state_dict']
    meta_model(model).load_state_dict(state_dict, strict=True, assign=True)


def test_a_config_is_checked_and_gives_the_classes(small, config_dir, tmp_path):
    model = small_swin_config(config_dir)
    Config(dict(model=model)).dump(tmp_path / 'small.py')
    convert(small / 'peer', tmp_path / 'ours.pth', config=str(tmp_path / 'small.py'))
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert meta['dataset_meta'] == dict(model.metainfo)
    model.panoptic_head.task_queries.num_layers = 3
    Config(dict(model=model)).dump(tmp_path / 'deeper.py')
    with pytest.raises(CheckpointError, match='query_transformer.decoder.layers.2.linear1.weight'):
        convert(small / 'peer', tmp_path / 'deeper.pth', config=str(tmp_path / 'deeper.py'))


@pytest.fixture(scope='module')
def small_dinat(small, tmp_path_factory):
    """A small DiNAT model of Hugging Face in ``peer``, converted to ``ours.pth``."""
    folder = tmp_path_factory.mktemp('small_dinat')
    with over_slow_loops():
        peer_with(tiny_peer_config()).save_pretrained(folder / 'peer')
    convert(folder / 'peer', folder / 'ours.pth', metainfo=str(small / 'classes.json'))
    return folder


def test_a_dinat_comes_back_with_its_dilations_and_gives_the_same_logits(
    small_dinat, config_dir, tmp_path
):
    report = convert(small_dinat / 'ours.pth', tmp_path / 'back', target='huggingface')
    assert report.rebuilt == ['criterion.empty_weight'] and not report.notes
    before, after = read(small_dinat / 'peer'), read(tmp_path / 'back')
    assert before.keys() == after.keys()
    for key in before.keys() - {'criterion.empty_weight'}:
        assert torch.equal(before[key], after[key]), key

    model = small_swin_config(config_dir)
    model.backbone = TINY
    model.panoptic_head.in_channels = [16, 32, 64, 128]
    ours = MODELS.build(model).eval()
    checkpoint = torch.load(small_dinat / 'ours.pth', weights_only=True)
    ours.load_state_dict(checkpoint['state_dict'], strict=True)
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with over_slow_loops():
        back, loading = from_pretrained(tmp_path / 'back', is_training=False)
        expected = logits(back.eval(), image)
    assert not any(key for name, key in loading.items() if name != 'unexpected_keys'), loading
    assert min(part.std() for part in expected) > 0.1
    for part, reference in zip(logits(ours, image), expected):
        torch.testing.assert_close(part, reference, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ('model', 'part', 'option', 'value'),
    [
        *(
            (model, 'backbone_config', option, value)
            for model, options in (
                ('small', dict(use_absolute_embeddings=True)),
                ('small_dinat', dict(layer_scale_init_value=0.1)),
            )
            for option, value in dict(
                options, hidden_act='relu', layer_norm_eps=1e-6, qkv_bias=False
            ).items()
        ),
        ('small', None, 'use_task_norm', False),
        ('small', None, 'pre_norm', True),
        ('small', None, 'enforce_input_proj', True),
    ],
)
def test_a_model_of_another_function_is_refused(request, tmp_path, model, part, option, value):
    source = request.getfixturevalue(model) / 'peer'
    config = json.loads((source / 'config.json').read_text())
    changed = {part: config[part] | {option: value}} if part else {option: value}
    peer = folder_with(source, tmp_path / 'peer', **changed)
    with pytest.raises(
        CheckpointError, match=f'cannot compute(.|\n)*{option} = {value!r}, expected'
    ):
        convert(peer, tmp_path / 'ours.pth')


def test_dilations_that_config_json_leaves_out_are_the_default():
    from transformers import DinatConfig

    config = dict(backbone_config=dict(model_type='dinat'))
    assert backbone_options_in(config)['dilations'] == DinatConfig().dilations


def test_a_config_with_other_dilations_is_refused(small_dinat, config_dir, tmp_path):
    model = small_swin_config(config_dir)
    model.backbone = dict(TINY, dilations=[[1, 5], [2], [3, 2], [1]])
    model.panoptic_head.in_channels = [16, 32, 64, 128]
    Config(dict(model=model)).dump(tmp_path / 'other.py')
    for source in ('peer', 'ours.pth'):
        with pytest.raises(CheckpointError, match=r'dilations .*\[3, 1\].*\[3, 2\].* the config'):
            convert(
                small_dinat / source,
                tmp_path / 'any',
                target='shi-labs',
                config=tmp_path / 'other.py',
            )


def test_dilations_that_nothing_tells_are_asked_for(small_dinat, tmp_path):
    torch.save(read(small_dinat / 'peer'), tmp_path / 'without_config.pth')
    with pytest.raises(
        CheckpointError, match=r'kernel 3 and \(2, 1, 2, 1\) blocks .* give the config'
    ):
        convert(tmp_path / 'without_config.pth', tmp_path / 'ours.pth')


def test_hugging_face_has_no_resnet():
    with pytest.raises(CheckpointError, match='no names for this backbone, only for Swin'):
        LAYOUTS['huggingface'].to_foreign({'backbone.conv1.weight': torch.zeros(64, 3, 7, 7)})


def test_missing_unknown_and_misshapen_tensors_are_listed(small, tmp_path):
    tensors = read(small / 'peer')
    decoder = 'model.transformer_module.decoder.'
    lost = f'{decoder}layers.3.self_attn.self_attn.k_proj.weight', f'{decoder}decoder_norm.bias'
    for key in lost:
        del tensors[key]
    tensors['model.spare.weight'] = torch.zeros(2)
    tensors[f'{decoder}class_embed.weight'] = torch.zeros(8, 63)
    torch.save(tensors, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / 'damaged.pth', tmp_path / 'ours.pth')
    unknown, missing, wrong = str(caught.value).split('(huggingface)')[1].split('):\n')[1:]
    assert all(key in missing for key in lost) and 'q_proj' not in missing
    assert 'model.spare.weight' in unknown
    assert f'{decoder}class_embed.weight: (8, 63) in the checkpoint, (8, 64) in the model' in wrong
    assert not (tmp_path / 'ours.pth').exists()


def test_a_tensor_that_tells_the_architecture_can_be_the_missing_one(small, tmp_path):
    tensors = read(small / 'peer')
    del tensors['model.transformer_module.queries_embedder.weight']
    torch.save(tensors, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError, match='missing.*\n.*queries_embedder.weight'):
        convert(tmp_path / 'damaged.pth', tmp_path / 'ours.pth')


@pytest.mark.parametrize('shape', [(20,), (20, 63)])
def test_a_tensor_that_tells_the_architecture_can_be_misshapen(small, config_dir, tmp_path, shape):
    tensors = read(small / 'peer')
    key = 'model.transformer_module.queries_embedder.weight'
    torch.save({**tensors, key: torch.zeros(shape)}, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError, match='--config tells'):
        convert(tmp_path / 'damaged.pth', tmp_path / 'ours.pth')
    Config(dict(model=small_swin_config(config_dir))).dump(tmp_path / 'small.py')
    with pytest.raises(CheckpointError, match=f'another shape.*\n.*{key}: .* .20, 64. in the'):
        convert(tmp_path / 'damaged.pth', tmp_path / 'ours.pth', config=tmp_path / 'small.py')


def test_the_model_is_checked_against_config_json(small, tmp_path):
    (tmp_path / 'peer').mkdir()
    config = json.loads((small / 'peer' / 'config.json').read_text())
    config.update(decoder_layers=11, num_queries=30)
    (tmp_path / 'peer' / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'peer' / 'model.safetensors').symlink_to(small / 'peer' / 'model.safetensors')
    classes = str(small / 'classes.json')
    with pytest.raises(
        CheckpointError, match='num_queries = 30(.|\n)*decoder_layers = 11, expected 10'
    ):
        convert(tmp_path / 'peer', tmp_path / 'ours.pth', metainfo=classes)


def test_classes_that_are_of_no_known_dataset_have_to_be_named(small, tmp_path):
    with pytest.raises(CheckpointError, match='7 classes, which are not those of a.*--metainfo'):
        convert(small / 'peer', tmp_path / 'ours.pth')
    with pytest.raises(CheckpointError, match='7 classes, but 19 are named'):
        convert(small / 'peer', tmp_path / 'ours.pth', metainfo='cityscapes')


def test_a_checkpoint_of_a_run_needs_no_trust(small, tmp_path):
    hub = MessageHub.get_instance('test_conversion')
    hub.update_scalar('train/loss', torch.tensor(0.5))
    content = torch.load(small / 'ours.pth', weights_only=True)
    torch.save(dict(content, message_hub=hub.state_dict()), tmp_path / 'iter_1.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'iter_1.pth', weights_only=True)
    report = convert(tmp_path / 'iter_1.pth', tmp_path / 'original.pth', target='shi-labs')
    assert report.used == len(content['state_dict']) - len(report.unused)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    'save', [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))]
)
def test_a_pickle_is_not_run_unless_trusted(tmp_path, save):
    save({'model': {}, 'extra': Malicious(tmp_path / 'victim')}, tmp_path / 'evil.pkl')
    with pytest.raises(CheckpointError, match='--trust-pickle'):
        convert(tmp_path / 'evil.pkl', tmp_path / 'ours.pth')
    assert not (tmp_path / 'victim').exists()
    with pytest.raises(CheckpointError, match='not of a OneFormer'):
        convert(tmp_path / 'evil.pkl', tmp_path / 'ours.pth', trust_pickle=True)
    assert (tmp_path / 'victim').exists()


def folder_with(source, folder, **changes):
    """A folder of Hugging Face with other options in its config.json."""
    folder.mkdir()
    config = json.loads((source / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | changes))
    (folder / 'model.safetensors').symlink_to(source / 'model.safetensors')
    return folder


def id2label(names):
    return {str(label): name for label, name in enumerate(names)}


def test_labels_of_hugging_face_are_the_classes(small, tmp_path, config_dir):
    named = folder_with(small / 'peer', tmp_path / 'named', id2label=id2label('gfedcba'))
    with pytest.raises(CheckpointError, match='not which are things: .*"thing_classes"'):
        convert(named, tmp_path / 'ours.pth')
    (tmp_path / 'things.json').write_text('{"thing_classes": ["c"]}')
    convert(named, tmp_path / 'ours.pth', metainfo=str(tmp_path / 'things.json'))
    names = meta_of(tmp_path / 'ours.pth')['dataset_meta']
    assert names == dict(classes=tuple('gfedcba'), thing_classes=('c',))
    Config(dict(model=small_swin_config(config_dir))).dump(tmp_path / 'small.py')
    with pytest.raises(CheckpointError, match=r"class 0 is 'g' in the checkpoint(.|\n)*--metainfo"):
        convert(named, tmp_path / 'other.pth', config=str(tmp_path / 'small.py'))
    convert(named, tmp_path / 'other.pth', metainfo=str(small / 'classes.json'))
    assert meta_of(tmp_path / 'other.pth')['dataset_meta']['classes'] == tuple('abcdefg')


def test_labels_of_hugging_face_that_are_those_of_a_dataset_need_no_more(
    small, config_dir, tmp_path
):
    model = small_swin_config(config_dir)
    model.metainfo = 'cityscapes'
    torch.save(dict(state_dict=MODELS.build(model).state_dict()), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'peer', target='huggingface')
    config = json.loads((tmp_path / 'peer/config.json').read_text())
    names = [name.title() for name in config['id2label'].values()]
    plain = folder_with(
        tmp_path / 'peer', tmp_path / 'plain', id2label=id2label(names), metainfo={}
    )
    convert(plain, tmp_path / 'again.pth')
    classes = KNOWN_DATASETS['cityscapes']['classes']
    assert meta_of(tmp_path / 'again.pth')['dataset_meta']['classes'] == tuple(classes)
    turned = folder_with(
        tmp_path / 'peer', tmp_path / 'turned', id2label=id2label(names[::-1]), metainfo={}
    )
    with pytest.raises(CheckpointError, match='name these with --metainfo'):
        convert(turned, tmp_path / 'turned.pth')


def test_own_classes_survive_the_way_over_hugging_face(small, tmp_path):
    names = dict(
        classes=list('abcdefg'),
        thing_classes=['b'],
        aliases={'other': 'a', 'void': None},
        palette=[[k, 2, 3] for k in range(7)],
    )
    (tmp_path / 'own.json').write_text(json.dumps(names))
    convert(small / 'peer', tmp_path / 'ours.pth', metainfo=str(tmp_path / 'own.json'))
    convert(tmp_path / 'ours.pth', tmp_path / 'folder', target='huggingface')
    convert(tmp_path / 'folder', tmp_path / 'back.pth')
    before, after = (meta_of(tmp_path / name)['dataset_meta'] for name in ('ours.pth', 'back.pth'))
    assert before == after and after['thing_classes'] == ('b',)


def test_prefixes_of_a_model_in_several_processes_are_dropped(small, tmp_path):
    content = torch.load(small / 'ours.pth', weights_only=True)
    tensors = content['state_dict']
    content['state_dict'] = {f'module.{key}': tensor for key, tensor in tensors.items()}
    torch.save(content, tmp_path / 'parallel.pth')
    report = convert(tmp_path / 'parallel.pth', tmp_path / 'original.pth', target='shi-labs')
    assert report.source == 'plugin' and report.used + len(report.unused) == len(tensors)
    content['state_dict'] = {f'model.{key}': tensor for key, tensor in tensors.items()}
    torch.save(content, tmp_path / 'wrapped.pth')
    again = convert(tmp_path / 'wrapped.pth', tmp_path / 'any.pth', target='shi-labs')
    assert again.used == report.used


def test_nothing_is_overwritten_without_leave(small, tmp_path, run_tool):
    source = tmp_path / 'source.pth'
    source.write_bytes((small / 'ours.pth').read_bytes())
    (tmp_path / 'link.pth').symlink_to(source)
    for same in (source, tmp_path / 'link.pth'):
        with pytest.raises(CheckpointError, match='is the source'):
            convert(source, same, target='shi-labs', overwrite=True)
    assert source.read_bytes() == (small / 'ours.pth').read_bytes()
    (tmp_path / 'original.pth').write_text('mine')
    with pytest.raises(SystemExit, match='original.pth exists: give another path, or --overwrite'):
        run_tool('convert_checkpoint', source, 'original.pth', '--to', 'shi-labs')
    assert (tmp_path / 'original.pth').read_text() == 'mine'
    run_tool('convert_checkpoint', source, 'original.pth', '--to', 'shi-labs', '--overwrite')
    assert 'model' in torch.load(tmp_path / 'original.pth', weights_only=True)


def test_a_folder_is_replaced_whole_and_only_if_it_is_of_a_model(small, tmp_path, monkeypatch):
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'model-00001-of-00002.safetensors').write_text('stale')

    def to_folder(**options):
        convert(small / 'ours.pth', folder, target='huggingface', **options)

    with pytest.raises(CheckpointError, match='has files: give a new folder, or --overwrite'):
        to_folder()
    monkeypatch.setattr('oneformer.weights.files.write_json', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_folder(overwrite=True)
    assert [path.name for path in folder.iterdir()] == ['model-00001-of-00002.safetensors']
    monkeypatch.undo()
    to_folder(overwrite=True)
    names = ['config.json', 'model.safetensors']
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in tmp_path.iterdir()] == ['folder']
    (folder / 'notes.txt').write_text('mine')
    with pytest.raises(CheckpointError, match='other files .notes.txt.'):
        to_folder(overwrite=True)


def test_shards_are_those_of_the_index(small, tmp_path):
    from safetensors.torch import save_file

    tensors = read(small / 'peer')
    folder = tmp_path / 'peer'
    folder.mkdir()
    (folder / 'config.json').write_bytes((small / 'peer/config.json').read_bytes())
    parts = {f'model-{n}.safetensors': list(tensors)[n::2] for n in range(2)}
    for name, keys in parts.items():
        save_file({key: tensors[key] for key in keys}, folder / name)
    save_file({'stale': torch.zeros(1)}, folder / 'model-2.safetensors')
    with pytest.raises(CheckpointError, match='are a folder: give .* a folder of Hugging Face'):
        convert(folder, tmp_path / 'ours.pth')
    index = dict(weight_map={key: name for name, keys in parts.items() for key in keys})
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    convert(folder, tmp_path / 'ours.pth', metainfo=str(small / 'classes.json'))
    before, after = (
        torch.load(path, weights_only=True)['state_dict']
        for path in (small / 'ours.pth', tmp_path / 'ours.pth')
    )
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'just text\n', 'is broken'),
        (b'', 'is broken'),
        (torch.zeros(2), 'holds a Tensor'),
        ([1], 'holds a list'),
        (dict(meta='x', state_dict={}), 'meta.dataset_meta of .* is a str'),
        (dict(meta=dict(backbone='x'), state_dict={}), 'meta.backbone of .* is a str'),
        (dict(meta=None, state_dict={3: torch.zeros(1)}), 'not of a OneFormer'),
    ],
)
@pytest.mark.parametrize('trust', [[], ['--trust-pickle']])
def test_what_is_not_a_checkpoint_is_an_error_of_one_line(
    run_tool, tmp_path, content, message, trust
):
    if isinstance(content, bytes):
        (tmp_path / 'file.pth').write_bytes(content)
    else:
        torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(SystemExit, match=f'error: [^\n]*{message}'):
        run_tool('convert_checkpoint', 'file.pth', 'ours.pth', *trust)
    assert not (tmp_path / 'ours.pth').exists()


def test_values_that_are_not_numbers_are_refused(small, tmp_path):
    content = torch.load(small / 'ours.pth', weights_only=True)
    content['state_dict']['panoptic_head.query_embed.weight'][0, 0] = torch.nan
    torch.save(content, tmp_path / 'diverged.pth')
    refused = r'nan or infinite \(1\):\n  panoptic_head.query_embed.weight'
    with pytest.raises(CheckpointError, match=refused):
        convert(tmp_path / 'diverged.pth', tmp_path / 'original.pth', target='shi-labs')


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (dict(classes=None), 'metainfo.classes is not a list of texts: None'),
        (dict(classes=list(range(7))), 'metainfo.classes is not a list of texts'),
        (dict(classes=[], thing_classes=[]), 'metainfo.classes is empty'),
        (dict(aliases=None), 'metainfo.aliases is not a dict'),
        ([], 'holds a list, not an object'),
    ],
)
def test_metainfo_of_other_types_is_refused(small, run_tool, tmp_path, names, message):
    whole = dict(classes=list('abcdefg'), thing_classes=[])
    content = whole | names if isinstance(names, dict) else names
    (tmp_path / 'names.json').write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=message):
        run_tool('convert_checkpoint', small / 'peer', 'ours.pth', '--metainfo', 'names.json')


def test_a_config_without_a_oneformer_is_refused(small, run_tool, config_dir):
    optimizer = next((config_dir / '_base_').glob('schedule*.py'))
    with pytest.raises(SystemExit, match='has no model that is a OneFormer'):
        run_tool('convert_checkpoint', small / 'peer', 'ours.pth', '--config', optimizer)
