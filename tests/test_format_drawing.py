"""What readers of label formats share: frames, pieces, cutting at edges, names, files."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from tool_labels import corners_of, objects, rectangle, same, write_image

from oneformer.annotation_formats.drawing import Drawing, Piece, clip
from oneformer.annotation_formats.frames import stored_size
from oneformer.annotation_formats.reading import (
    ImageFolder,
    existing_file,
    finite,
    name_problems,
    spelling_problems,
    whole,
)
from oneformer.images.orientation import turn
from oneformer.images.reading import load_image
from oneformer.run_length import decode_mask, encode_mask, encode_part

SIZE = dict(height=12, width=20)


def draw(path, *pieces, **options):
    drawing = Drawing(path, 'labels.json', **options)
    for number, piece in enumerate(pieces):
        drawing.add('cat', [piece], f'shape {number}')
    return drawing.done()


def ring(*box):
    return Piece(corners_of(*box))


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_labels_of_stored_pixels_lie_where_the_loader_turns_the_image(
    tmp_path, suffix, orientation
):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = dict(tiffinfo={0x112: orientation}) if suffix == 'tif' else dict(exif=exif)
    path = write_image(tmp_path / f'1.{suffix}', **SIZE, **options)
    assert stored_size(path) == ((12, 20), orientation)
    loaded = load_image(str(path), 'image').pixels.shape[:2]
    mask = rectangle(2, 1, 7, 4, **SIZE) | rectangle(2, 1, 3, 9, **SIZE)
    shape = [(2, 1), (7, 1), (7, 4), (3, 4), (3, 9), (2, 9)]
    small = mask[1:9, 2:7]
    annotated = draw(path, Piece(shape), Piece(mask=small, corner=(2, 1)), stated=(12, 20))
    assert (annotated.height, annotated.width) == loaded
    sideways = orientation in (5, 6, 7, 8)
    # of the others the size does not tell, and viewers show the image upright
    expected = turn(mask.astype(np.uint8), orientation).astype(bool) if sideways else mask
    same(annotated, [('cat', expected)] * 2)
    assert [loss.kind for loss in annotated.losses] == ['labels turned upright'] * sideways


def test_labels_for_another_size_are_refused(tmp_path):
    path = write_image(tmp_path / '1.png', **SIZE)
    with pytest.raises(ValueError, match=r'labels.json: it is for an image of 12 x 21 pixels'):
        draw(path, stated=(21, 12))
    (tmp_path / '2.png').write_text('no image')
    with pytest.raises(ValueError, match=r'2\.png is not an image'):
        draw(tmp_path / '2.png')
    with pytest.raises(FileNotFoundError, match=r'3\.png does not exist'):
        draw(tmp_path / '3.png')


def test_outlines_are_cut_at_the_edge_where_they_cross_it(tmp_path):
    triangle = np.array([(-10.0, 6.0), (10.0, -4.0), (10.0, 16.0)])
    cut = clip(triangle, 12, 20)
    assert cut.min() >= 0 and cut[:, 1].max() <= 12
    # corners that were moved to the edge instead would give another area
    x, y = cut.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert area == pytest.approx(200 - 50 - 2 * 16, abs=1e-9)
    path = write_image(tmp_path / '1.png', **SIZE)
    annotated = draw(path, ring(15, -3, 30, 4), ring(0, 0, 20.3, 12), ring(30, 3, 40, 4))
    expected = [rectangle(15, 0, 20, 4, **SIZE), rectangle(0, 0, 20, 12, **SIZE)]
    same(annotated, [('cat', mask) for mask in expected])
    told = [(loss.kind, loss.message) for loss in annotated.losses]
    assert told == [
        (
            'outlines cut at the edge',
            'labels.json: shape 0 leaves the image by 10 pixels, and is cut at its edge',
        ),
        (
            'outside of the image',
            'labels.json: shape 2 has no pixel in the image, and is left out',
        ),
    ]


def test_holes_belong_to_their_own_piece(tmp_path):
    path = write_image(tmp_path / '1.png', **SIZE)
    drawing = Drawing(path, 'labels.json')
    outer = Piece(corners_of(1, 1, 10, 10), holes=[corners_of(3, 3, 8, 8), corners_of(9, 2, 12, 4)])
    drawing.add('cat', [outer, ring(4, 4, 6, 6)], 'shape 0')
    expected = rectangle(1, 1, 10, 10, **SIZE) & ~rectangle(3, 3, 8, 8, **SIZE)
    expected &= ~rectangle(9, 2, 12, 4, **SIZE)
    same(drawing.done(), [('cat', expected | rectangle(4, 4, 6, 6, **SIZE))])


def test_masks_are_cut_at_the_edge_and_counted(tmp_path):
    path = write_image(tmp_path / '1.png', **SIZE)
    ones = np.ones((4, 5), bool)
    corners = [(-2, -1), (18, 10), (30, 30), (3, 3)]
    annotated = draw(path, *[Piece(mask=ones, corner=corner) for corner in corners])
    boxes = [(0, 0, 3, 3), (18, 10, 20, 12), (3, 3, 8, 7)]
    same(annotated, [('cat', rectangle(*box, **SIZE)) for box in boxes])
    kinds = [loss.kind for loss in annotated.losses]
    assert kinds == ['masks cut at the edge'] * 2 + ['outside of the image']
    assert 'shape 0 has 11 pixels outside' in annotated.losses[0].message


def test_polygons_stay_polygons_and_masks_become_codes(tmp_path):
    path = write_image(tmp_path / '1.png', **SIZE)
    annotated = draw(path, ring(1, 1, 4, 4), Piece(mask=np.ones((2, 2), bool)))
    assert [region.code is None for region in annotated.regions] == [True, False]
    assert annotated.regions[0].polygons == [[1, 1, 4, 1, 4, 4, 1, 4]]
    assert [mask.sum() for _, mask in objects(annotated)] == [9, 4]


@pytest.mark.parametrize('value', [None, True, '', 'x', 'nan', float('inf'), [1], 10**400])
def test_what_is_not_a_number_is_named(value):
    with pytest.raises(ValueError, match='a point is .*, not a finite number'):
        finite(value, 'a point')


def test_numbers_may_be_texts_and_whole_numbers_floats():
    assert (finite('1.5', ''), finite(2, ''), whole('3', ''), whole(4.0, '')) == (1.5, 2, 3, 4)
    with pytest.raises(ValueError, match='width is 0, not a whole number from 1'):
        whole(0, 'width', 1)


def test_names_of_classes_that_are_empty_or_alike_are_named():
    problems = '\n'.join(name_problems(['cat', '', 'traffic light', 'traffic_Light', None], 'f'))
    for words in ("class 1 has the name ''", 'classes 2 and 3', 'class 4 has the name None'):
        assert words in problems
    assert name_problems(['cat', 'dog'], 'f') == []
    assert len(spelling_problems(['cat', 'Cat', 'dog', 'cat'], 'f')) == 1


def test_images_of_a_folder_are_found_in_other_spellings_if_only_one_fits(tmp_path):
    for name in ('a/1.JPG', 'a/2.png', 'a/2.PNG', 'b/x.jpg', '.hidden/1.jpg', 'a/note.txt'):
        write_image(tmp_path / name) if 'note' not in name else (tmp_path / name).write_text('')
    folder = ImageFolder(tmp_path)
    assert folder.names == ['a/1.JPG', 'a/2.PNG', 'a/2.png', 'b/x.jpg']
    assert folder.named('A\\1.jpg') == 'a/1.JPG'
    assert folder.named('./a/2.png') == 'a/2.png'
    assert folder.named('a/2.Png') is None
    assert folder.of_stem('a/1') == ['a/1.JPG'] and folder.of_stem('b/2') == []
    assert existing_file(tmp_path / 'b/X.JPG') == tmp_path / 'b/x.jpg'
    with pytest.raises(ValueError, match='is not a folder'):
        ImageFolder(tmp_path / 'none')


def test_the_code_of_a_part_is_that_of_the_whole_image():
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(1, 9, 2)
        top, left = rng.integers(0, height), rng.integers(0, width)
        bottom, right = rng.integers(top, height) + 1, rng.integers(left, width) + 1
        part = rng.random((bottom - top, right - left)) < rng.choice([0, 0.5, 1])
        whole = np.zeros((height, width), bool)
        whole[top:bottom, left:right] = part
        code = encode_part(part, (left, top), height, width)
        assert code == encode_mask(whole)
        assert np.array_equal(decode_mask(code), whole)


def test_many_masks_of_a_large_image_need_little_memory_and_time(tmp_path):
    path = tmp_path / '1.png'
    Image.new('1', (4000, 3000)).save(path)
    drawing = Drawing(path, 'labels.json')
    mask = np.random.default_rng(0).random((60, 80)) < 0.7
    tracemalloc.start()
    for number in range(300):
        piece = Piece(mask=mask, corner=(13 * number, 9 * number))
        drawing.add('cat', [piece], f'shape {number}')
    assert tracemalloc.get_traced_memory()[1] < 12e6  # less than one mask of the whole image
    tracemalloc.stop()
    annotated = drawing.done()
    assert len(annotated.regions) == 300
    left, top = 13 * 299, 9 * 299
    last = decode_mask(annotated.regions[-1].code)
    assert np.array_equal(last[top : top + 60, left : left + 80], mask)
