"""Image files made to harm: sizes hidden from readers of headers, animations that end a process."""

import io
import os
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from oneformer.images import reading as images
from oneformer_runtime.headers import read_header
from oneformer_runtime.pixel_limit import ImageTooLargeError
from oneformer_runtime.reading import load_image

LARGE, SMALL = (1500, 1400), (8, 9)


def file_of(size, suffix, *options):
    return cv2.imencode(suffix, np.zeros((*size, 3), np.uint8), options)[1].tobytes()


def jpeg():
    """The large stream lies in what looks like a marker with content, but is garbage to libjpeg."""
    large, small = (file_of(size, '.jpg')[2:] for size in (LARGE, SMALL))
    content = large[:60_000]
    hidden = b'\xff\x00' + struct.pack('>H', len(content) + 2) + content
    return b'\xff\xd8\xff\xe0\0\x02' + hidden + small


def webp(quality):
    """A canvas follows the pixels, of which decoders take the size."""
    large = file_of(LARGE, '.webp', cv2.IMWRITE_WEBP_QUALITY, quality)
    canvas = b'VP8X' + struct.pack('<I', 10) + bytes(4)
    canvas += (SMALL[1] - 1).to_bytes(3, 'little') + (SMALL[0] - 1).to_bytes(3, 'little')
    return large[:4] + struct.pack('<I', len(large) + len(canvas) - 8) + large[8:] + canvas


def tiff():
    """Width and height are given twice, of which decoders take the first."""
    large = file_of(LARGE, '.tiff')
    order = '<' if large[:2] == b'II' else '>'
    (place,) = struct.unpack_from(f'{order}I', large, 4)
    (count,) = struct.unpack_from(f'{order}H', large, place)
    entries = []
    for k in range(count):
        entry = large[place + 2 + 12 * k : place + 14 + 12 * k]
        (tag,) = struct.unpack_from(f'{order}H', entry)
        entries.append(entry)
        if tag in (256, 257):
            entries.append(struct.pack(f'{order}HHIHH', tag, 3, 1, SMALL[257 - tag], 0))
    directory = struct.pack(f'{order}H', len(entries)) + b''.join(entries) + bytes(4)
    return large[:4] + struct.pack(f'{order}I', len(large)) + large[8:] + directory


FILES = dict(jpeg=jpeg(), webp=webp(50), lossless_webp=webp(101), tiff=tiff())


@pytest.mark.parametrize('name', FILES)
def test_a_size_cannot_be_hidden_from_the_limit(tmp_path, monkeypatch, name):
    decoded = cv2.imdecode(np.frombuffer(FILES[name], np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == LARGE  # so it is the size that has to be told
    path = tmp_path / 'image'
    path.write_bytes(FILES[name])
    monkeypatch.setenv('ONEFORMER_MAX_PIXELS', '10000')
    with pytest.raises(ValueError) as error:
        load_image(path)
    assert isinstance(error.value, ImageTooLargeError) or 'is damaged' in str(error.value)


def animated(size=(40, 50)):
    """A PNG of three frames, and the first one."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(3)]
    pictures = [Image.fromarray(frame[..., ::-1]) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, 'PNG', save_all=True, append_images=pictures[1:], duration=50)
    assert b'acTL' in file.getvalue()
    return file.getvalue(), frames[0]


READERS = dict(
    runtime=load_image,
    package=lambda path: images.load_image(str(path), 'image'),
    labels=lambda path: images.decode_image(path.read_bytes(), str(path), 'map'),
)


@pytest.mark.parametrize('reader', READERS)
def test_of_an_animation_the_first_picture_is_read(tmp_path, reader):
    data, first = animated()
    (tmp_path / 'a.png').write_bytes(data)
    found = READERS[reader](tmp_path / 'a.png')
    np.testing.assert_array_equal(getattr(found, 'pixels', found), first)
    if reader != 'labels':
        assert found.pages == 3


@pytest.mark.parametrize('reader', READERS)
def test_a_damaged_animation_does_not_end_the_process(tmp_path, reader):
    """OpenCV 4.12 crashes for it, so it is read by a process of its own."""
    data, _ = animated()
    (length,) = struct.unpack_from('>I', data, data.index(b'IDAT') - 4)
    place = data.index(b'IDAT') + 4
    pixels = bytearray(zlib.decompress(data[place : place + length]))
    pixels[::151] = bytes([7]) * 40  # no filter of a row has this number
    content = b'IDAT' + zlib.compress(bytes(pixels))
    part = struct.pack('>I', len(content) - 4) + content + struct.pack('>I', zlib.crc32(content))
    path = tmp_path / 'a.png'
    path.write_bytes(data[: place - 8] + part + data[place + length + 4 :])
    pid = os.fork()
    if not pid:
        try:
            READERS[reader](path)
        except ValueError:
            os._exit(3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (3, 4)


def test_a_png_begins_with_its_size():
    content = struct.pack('>IIBBBBB', 8, 8, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + b'abCd' + content
    chunk += struct.pack('>I', zlib.crc32(chunk[4:]))
    large = file_of(LARGE, '.png')
    with pytest.raises(ValueError, match='its first chunk is not IHDR'):
        read_header(large[:8] + chunk + large[8:])


def test_a_webp_begins_with_its_size():
    large = file_of(LARGE, '.webp')
    with pytest.raises(ValueError, match='its first chunk has no size'):
        read_header(large[:12] + b'/abc\0\0\0\0' + large[12:])


ENDLESS = [
    b'\xff\xd8\xff' + b'\xff' * (1 << 23),
    b'\xff\xd8' + b'\xff\xd0' * (1 << 22),
    b'\xff\xd8' + b'\xff\xe0\0\x02' * (1 << 21),
    file_of(SMALL, '.png')[:33] + b'\0\0\0\0abCd\0\0\0\0' * (1 << 20),
    file_of(SMALL, '.webp') + b'abcd\0\0\0\0' * (1 << 20),
    b'P6 ' + b'#\n' * (1 << 22),
    b'P6 ' + b'9' * (1 << 23),
]


@pytest.mark.parametrize('number', range(len(ENDLESS)))
def test_endless_headers_are_given_up_soon(number):
    began = time.process_time()
    with pytest.raises(ValueError, match='header is cut short or wrong'):
        read_header(ENDLESS[number])
    assert time.process_time() - began < 1.5
