"""The page in a real browser: ``make test-web``.

The network is made by hand, so that a page starts in a second; one test has a network of the
quick start's architecture, from the exporter.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import cv2
import numpy as np
import oneformer_cli
import pytest
import torch
from onnx_graphs import Linear, write_folder
from page_api import running_api
from page_browser import CAMERA, CHROMIUM, change_json, memory_of_renderers, opened, served
from PIL import Image, PngImagePlugin
from pycocotools import mask as mask_utils
from toy_model import decisive, toy_config

from oneformer.inference.settings import read_settings
from oneformer_runtime import OnnxOneFormer
from oneformer_runtime.description import TASKS, ImageSettings, ModelDescription, Thresholds
from oneformer_runtime.model_json import read_description
from oneformer_runtime.page import ASSETS, build_page

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(CHROMIUM is None, reason='Chromium is not installed'),
]
CLASSES = ('ball', 'crate', 'ring', 'sky', 'grass', 'sea')
QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'
SIZE = dict(width=1100, height=800)


@pytest.fixture(scope='module')
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ['--no-sandbox'] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*flags, *CAMERA])
        print(f'\nChromium {browser.version}')
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """An exported model whose masks are colours."""
    description = ModelDescription(
        CLASSES, CLASSES[:3], ImageSettings(96, 200, 32, (127.0, 127.0, 127.0)),
        Thresholds(0.2, 0.05, 20), category_ids=(11, 12, 13, 14, 15, 16), name='colours',
        licence='Apache-2.0',
    )  # fmt: skip
    return write_folder(tmp_path_factory.mktemp('model'), description, Linear.random(6, 12, 4))


@pytest.fixture(scope='module')
def folder(exported, tmp_path_factory):
    return build_page(exported, tmp_path_factory.mktemp('built') / 'page')


@pytest.fixture(scope='module')
def address(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope='module')
def model(exported):
    return OnnxOneFormer(exported)


@pytest.fixture
def page(browser, address):
    with opened(browser, address, viewport=SIZE) as page:
        yield page


@pytest.fixture(scope='module')
def image():
    """Patches of colour, BGR, of 141 x 190 pixels."""
    coarse = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (190, 141), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def path(image, tmp_path):
    cv2.imwrite(str(tmp_path / 'patches.png'), image)
    return tmp_path / 'patches.png'


def saved_ids(page, folder):
    page.show('panoptic')
    rgb = np.asarray(Image.open(page.save('map', folder))).astype(int)
    return rgb @ (1, 256, 65536), json.loads(page.save('data', folder).read_text())


def compare_with_runtime(page, model, image, folder):
    """The three predictions of a page, by its downloads, are those of the runtime."""
    (expected,) = model(image, TASKS, score_thr=0.3)
    ids, data = saved_ids(page, folder)
    assert np.mean(ids == expected.panoptic_map) >= 0.999
    (annotation,) = data['annotations']
    assert len(annotation['segments_info']) == len(expected.segments) > 0
    for own, theirs in zip(annotation['segments_info'], expected.segments):
        assert own['id'] == theirs['id']
        assert own['category_id'] == data['categories'][theirs['label']]['id']
        assert own['score'] == pytest.approx(theirs['score'], abs=1e-3)
        assert own['area'] == pytest.approx(theirs['area'], abs=1e-3 * ids.size)

    page.show('semantic')
    labels = np.asarray(Image.open(page.save('map', folder)))
    assert np.mean(labels == expected.semantic_map) >= 0.999

    page.show('instance')
    found = json.loads(page.save('data', folder).read_text())
    assert len(found) == len(expected.labels) > 0
    for own, label, score, mask in zip(found, expected.labels, expected.scores, expected.masks):
        assert own['category_id'] == data['categories'][label]['id']
        assert own['score'] == pytest.approx(score, abs=1e-3)
        code = own['segmentation']
        decoded = mask_utils.decode(dict(code, counts=code['counts'].encode())).view(bool)
        assert np.mean(decoded == mask) >= 0.999


def test_three_predictions_from_one_pass_are_those_of_the_runtime(
    page, model, image, path, tmp_path
):
    status = page.give(path)
    assert status.startswith('3 tasks from one pass in ')
    compare_with_runtime(page, model, image, tmp_path)
    (expected,) = model(image, TASKS)
    assert len(expected.segments) > 3 and len(np.unique(expected.semantic_map)) > 3
    assert 'colours · 6 classes · Apache-2.0' in page.tab.inner_text('#model')
    assert 'sends nothing' in page.tab.inner_text('#privacy')


def test_the_page_works_by_a_plain_server_of_files_below_a_path(browser, folder, path):
    """That of Python's standard library, which sends none of the headers."""
    command = [sys.executable, '-u', '-m', 'http.server', '0', '-b', '127.0.0.1']
    with subprocess.Popen(
        [*command, '-d', folder.parent],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            address = re.search(r'http://[\d.:]+', server.stdout.readline())[0]
            with opened(browser, f'{address}/{folder.name}/') as page:
                assert page.status == 'Ready, on 1 thread.'
                assert page.give(path) is not None
        finally:
            server.terminate()


@pytest.mark.parametrize('isolated', [True, False])
def test_threads_are_used_where_the_page_is_isolated(browser, folder, path, isolated):
    with (
        served(folder, isolated) as address,
        opened(browser, address, viewport=SIZE) as page,
    ):
        cores = page.tab.evaluate('navigator.hardwareConcurrency')
        threads = min(4, cores) if isolated else 1
        assert f'on {threads} thread' in page.status
        assert page.tab.evaluate('crossOriginIsolated') is isolated
        assert page.give(path) is not None


def test_a_start_with_threads_that_hangs_goes_on_with_one(browser, address, path):
    """The worker of a network with threads never becomes ready."""
    hang = (ASSETS / 'js/session.js').read_text()
    hang = hang.replace(
        'ort.env.logLevel',
        'if (threads > 1) return new Promise(() => {});\n  ort.env.logLevel',
    )
    backend = (ASSETS / 'js/wasm_backend.js').read_text().replace('30_000', '1_000')
    context = browser.new_context()
    for name, text in {'session.js': hang, 'wasm_backend.js': backend}.items():
        answer = dict(body=text, content_type='text/javascript')
        answer['headers'] = {'Cross-Origin-Embedder-Policy': 'require-corp'}
        context.route(f'**/js/{name}', lambda route, _, a=answer: route.fulfill(**a))
    tab = context.new_page()
    tab.goto(address)
    tab.get_by_text('Ready, on 1 thread.').wait_for(timeout=60_000)
    kept = "localStorage.getItem('oneformer-one-thread') === navigator.userAgent"
    assert tab.evaluate(kept)
    begin = tab.evaluate('performance.timeOrigin')
    context.unroute('**/js/wasm_backend.js')  # whose limit is 30 seconds
    tab.reload()
    tab.get_by_text('Ready, on 1 thread.').wait_for(timeout=20_000)
    assert tab.evaluate('performance.timeOrigin') > begin
    context.close()


@pytest.mark.parametrize(
    'name, damage, words',
    [
        ('model/model.onnx', lambda path: path.unlink(), 'model.onnx is missing (status 404)'),
        ('model/model.onnx', lambda path: path.write_bytes(b'x' * 90), 'bytes it was built with'),
        (
            'model/model.onnx',
            lambda path: path.write_bytes(path.read_bytes()[::-1]),
            'model.onnx is damaged',
        ),
        ('model/model.json', lambda path: path.unlink(), 'model.json is missing'),
        ('check.json', lambda path: path.write_text('{'), 'check.json is damaged'),
        ('page.json', lambda path: path.unlink(), 'oneformer page FOLDER --out DIR'),
        ('onnxruntime-web/ort.js', lambda path: path.unlink(), 'ort.js'),
        (
            'check.json',
            lambda path: change_json(path, masks=dict(length=9216, stride=15, values=[5.0] * 615)),
            'computes other numbers',
        ),
    ],
)
def test_what_is_missing_or_damaged_is_named_with_a_remedy(
    browser, folder, tmp_path, name, damage, words
):
    copy = tmp_path / 'page'
    shutil.copytree(folder, copy)
    with served(copy) as address:
        damage(copy / name)
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(address)
        text = tab.locator('#problem-text')
        text.wait_for(timeout=60_000)
        assert words in text.inner_text()
        assert text.inner_text().count('.') >= 2  # what was found, and the remedy
        assert tab.is_disabled('#predict')
        context.close()


def test_a_browser_without_webassembly_is_told(browser, address):
    worker = 'self.WebAssembly = undefined;\n' + (ASSETS / 'js/worker.js').read_text()
    context = browser.new_context()
    headers = {'Cross-Origin-Embedder-Policy': 'require-corp'}
    context.route(
        '**/js/worker.js',
        lambda route: route.fulfill(body=worker, content_type='text/javascript', headers=headers),
    )
    tab = context.new_page()
    tab.goto(address)
    tab.get_by_text('does not run WebAssembly').wait_for(timeout=60_000)
    context.close()


def test_a_page_that_is_opened_from_a_disk_says_how_it_is_served(browser, folder):
    tab = browser.new_page()
    tab.goto((folder / 'index.html').as_uri())
    assert 'python -m http.server' in tab.inner_text('#status')
    tab.close()


def test_a_prediction_is_cancelled_and_the_next_one_begins_anew(page, path):
    page.tab.set_input_files('#file', path)
    page.until('one pass')
    # by the page itself: it may take less time than a message to the browser
    page.tab.evaluate(
        "document.getElementById('predict').click();"
        "setTimeout(() => document.getElementById('cancel').click(), 0)"
    )
    page.until('Cancelled')
    page.tab.click('#predict')
    assert page.until('one pass')


# --- ways in which an image comes


def test_an_image_is_dropped_pasted_and_taken_from_an_example(page, path):
    content = list(path.read_bytes())
    fire = """([content, kind]) => {
      const file = new File([new Uint8Array(content)], 'given.png', { type: 'image/png' });
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(file);
      const event = kind === 'drop'
        ? new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })
        : new ClipboardEvent('paste', { clipboardData: dataTransfer, bubbles: true });
      document.getElementById('viewer').dispatchEvent(event);
    }"""
    for kind, name in (('drop', 'given.png'), ('paste', 'pasted.png')):
        page.tab.evaluate(fire, [content, kind])
        page.until('one pass')
        label = page.tab.get_attribute('#canvases canvas', 'aria-label')
        assert label.startswith(f'{name}, panoptic: ')
    buttons = page.tab.locator('#examples button')
    assert buttons.count() == 4
    buttons.first.click()
    page.tab.get_by_role('img', name='0.jpg, panoptic').wait_for(timeout=60_000)


def test_the_camera_is_seen_taken_and_switched_off(browser, address):
    with opened(browser, address, viewport=SIZE, permissions=['camera']) as page:
        page.tab.click('#camera')
        page.tab.wait_for_timeout(300)
        page.tab.locator('#shoot').wait_for()
        for _ in range(100):
            if page.tab.evaluate("document.getElementById('video').videoWidth"):
                break
            page.tab.wait_for_timeout(50)
        page.tab.click('#shoot')
        page.until('one pass')
        assert page.tab.evaluate("document.getElementById('video').srcObject") is None


def test_a_camera_that_is_not_allowed_is_told(browser, address):
    with opened(browser, address) as page:
        page.tab.evaluate(
            """() => {
              const refused = new DOMException('', 'NotAllowedError');
              navigator.mediaDevices.getUserMedia = () => Promise.reject(refused);
            }"""
        )
        page.tab.click('#camera')
        assert 'Allow it' in page.until_problem()


# --- one decoder: what is shown is what was predicted


def stored(name, tmp_path, image):
    """A file of 141 x 190 pixels, and its pixels as they have to be shown."""
    rgb = image[..., ::-1]
    path = tmp_path / f'{name}.png'
    if name == 'turned':
        exif = Image.Exif()
        exif[0x0112] = 6
        path = tmp_path / 'turned.jpg'
        Image.fromarray(rgb).save(path, exif=exif, quality=100, subsampling=0)
        return path, np.rot90(rgb, -1), 6
    if name == 'broken EXIF':
        path = tmp_path / 'broken.jpg'
        broken = b'Exif\0\0II*\0\xff\xff\xff\x7f'
        Image.fromarray(rgb).save(path, exif=broken, quality=100, subsampling=0)
        return path, rgb, 6
    if name == 'XMP':
        text = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
        )
        info = PngImagePlugin.PngInfo()
        info.add_itxt('XML:com.adobe.xmp', text)
        Image.fromarray(rgb).save(path, pnginfo=info)
        return path, rgb, 0
    if name == 'alpha':
        alpha = np.full(rgb.shape[:2], 255, np.uint8)
        alpha[:70] = 0
        Image.fromarray(np.dstack([rgb, alpha])).save(path)
        return path, np.where(alpha[..., None] == 0, 255, rgb), 0
    if name == 'grey':
        grey = np.ascontiguousarray(rgb[..., 1])
        Image.fromarray(grey).save(path)
        return path, np.repeat(grey[..., None], 3, 2), 0
    cv2.imwrite(str(path), image.astype(np.uint16) * 257)  # 16 bits
    return path, rgb, 0


@pytest.mark.parametrize('name', ['turned', 'broken EXIF', 'XMP', 'alpha', 'grey', '16 bits'])
def test_the_image_is_predicted_as_it_is_shown(page, model, image, tmp_path, name):
    path, expected, tolerance = stored(name, tmp_path, image)
    page.give(path)
    shown = page.pixels()
    assert shown.shape[:2] == expected.shape[:2]
    assert np.abs(shown[..., 2::-1].astype(int) - expected).max() <= tolerance
    assert (shown[..., 3] == 255).all()
    compare_with_runtime(page, model, np.ascontiguousarray(shown[..., :3]), tmp_path)
    notes = page.tab.inner_text('#notes') if page.tab.is_visible('#notes') else ''
    assert ('are transparent' in notes) == (name == 'alpha')
    assert ('16 bits per colour' in notes) == (name == '16 bits')


@pytest.mark.parametrize(
    'name, content, words',
    [
        ('empty.png', b'', 'empty.png is empty'),
        ('text.png', b'this is a text', 'cannot be read as an image'),
        ('cut.png', None, 'cannot be read as an image'),
        ('huge.png', 60000, '60000 × 60000 pixels'),
    ],
)
def test_what_is_not_an_image_is_told_and_the_page_goes_on(
    page, path, tmp_path, name, content, words
):
    if content is None:
        content = path.read_bytes()[:40]
    elif isinstance(content, int):
        data = bytearray(path.read_bytes())
        data[16:24] = content.to_bytes(4, 'big') * 2
        content = bytes(data)
    (tmp_path / name).write_bytes(content)
    page.tab.set_input_files('#file', tmp_path / name)
    assert words in page.until_problem()
    assert page.give(path) is not None


def test_a_large_image_is_made_smaller_and_that_is_said(page, tmp_path):
    path = tmp_path / 'large.jpg'
    cv2.imwrite(str(path), np.full((4000, 6000, 3), 99, np.uint8))
    page.give(path)
    size, _ = page.tab.evaluate(
        "(() => { const c = document.querySelector('#canvases canvas'); "
        'return [[c.width, c.height], 0]; })()'
    )
    assert np.prod(size) <= 12_000_000 and size[0] / size[1] == pytest.approx(1.5, abs=1e-3)
    assert '6000 × 4000 pixels' in page.tab.inner_text('#notes')


# --- looking at predictions


def test_the_pointer_names_a_region_with_its_score_and_lights_it_up(page, model, image, path):
    page.give(path)
    (expected,) = model(image, TASKS)
    box = page.tab.locator('#canvases').bounding_box()
    scale = box['width'] / image.shape[1]
    segment = max(expected.segments, key=lambda segment: segment['area'])
    inside = cv2.distanceTransform(np.uint8(expected.panoptic_map == segment['id']), cv2.DIST_L2, 5)
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    page.tab.mouse.move(box['x'] + (x + 0.5) * scale, box['y'] + (y + 0.5) * scale)
    score = int(100 * segment['score'])
    assert page.tab.inner_text('#tip').startswith(f'{segment["category"]} {score} %, ')
    light = page.pixels('#highlight')[..., 3] > 0
    assert np.mean(light == (expected.panoptic_map == segment['id'])) > 0.999
    current = page.tab.locator('.regions button.current')
    assert current.get_attribute('aria-label').startswith(segment['category'])
    page.tab.mouse.move(5, 5)
    assert not page.tab.is_visible('#tip')


def test_classes_opacity_and_scores_change_what_is_seen(page, path):
    page.give(path)

    def coloured():
        return np.count_nonzero(page.pixels('#overlay')[..., 3])

    everything = coloured()
    page.tab.locator('#classes input').first.uncheck()
    assert 0 < coloured() < everything
    page.tab.click('#none')
    assert coloured() == 0
    page.tab.click('#all')
    assert coloured() == everything

    page.tab.fill('#opacity', '25')
    assert page.tab.evaluate("document.getElementById('overlay').style.opacity") == '0.25'
    page.show('instance')
    many = page.tab.locator('.regions button').count()
    page.tab.fill('#score', '95')
    assert page.tab.locator('.regions button').count() < many
    page.show('image')
    assert coloured() == 0


def test_the_saved_picture_is_what_is_seen(page, image, path, tmp_path):
    page.give(path)
    page.tab.fill('#opacity', '100')
    saved = page.save('picture', tmp_path)
    assert saved.name == 'patches_panoptic_picture.png'
    overlay = page.pixels('#overlay')
    expected = np.where(overlay[..., 3:] > 0, overlay[..., :3], image)
    np.testing.assert_array_equal(cv2.imread(str(saved)), expected)


def test_only_the_chosen_tasks_are_predicted(page, path):
    for task in ('panoptic', 'semantic'):
        page.tab.uncheck(f'#tasks input[value={task}]')
    assert page.give(path).startswith('1 task from one pass')
    views = page.tab.locator('#views input').evaluate_all('all => all.map(i => i.value)')
    assert views == ['instance', 'image']
    page.tab.uncheck('#tasks input[value=instance]')
    assert page.tab.is_disabled('#predict')


def test_a_smaller_input_is_a_smaller_input(page, path):
    page.give(path)
    first = page.tab.evaluate("document.querySelector('#overlay').toDataURL()")
    page.tab.select_option('#size', '0.5')
    page.tab.evaluate("document.getElementById('status').textContent = ''")
    page.tab.click('#predict')
    page.until('one pass')
    assert page.tab.evaluate("document.querySelector('#overlay').toDataURL()") != first


# --- people


def test_the_page_is_used_by_the_keyboard_alone(page):
    tab, reached = page.tab, []
    focused = """(() => {
      const found = document.activeElement;
      const shown = getComputedStyle(found).outlineStyle;
      return [found.id || found.className || found.tagName, found.type ?? '', shown];
    })()"""

    def press_until(wanted, most=60):
        for _ in range(most):
            tab.keyboard.press('Tab')
            name, kind, outline = tab.evaluate(focused)
            reached.append(name)
            if name not in ('file', 'BODY'):  # its label shows it; and behind the last
                assert outline != 'none', f'the focus on {name} is not seen'
            if wanted(name, kind):
                return
        raise AssertionError(f'not reached, but {reached}')

    press_until(lambda name, _: name == 'file')
    press_until(lambda name, _: name == 'paste')
    tab.keyboard.press('Tab')  # the first example
    tab.keyboard.press('Enter')
    page.until('one pass')
    tab.evaluate('document.activeElement.blur()')
    press_until(lambda _, kind: kind == 'radio')
    tab.keyboard.press('ArrowRight')
    assert tab.is_checked('#views input[value=instance]')
    tab.keyboard.press('ArrowRight')
    assert tab.is_checked('#views input[value=semantic]')
    press_until(lambda name, _: name == 'opacity')
    before = tab.input_value('#opacity')
    tab.keyboard.press('ArrowLeft')
    assert tab.input_value('#opacity') != before
    press_until(lambda name, kind: kind == 'checkbox')
    tab.keyboard.press('Space')
    assert not tab.locator('#classes input').first.is_checked()
    tab.keyboard.press('Space')
    press_until(lambda _, kind: kind == 'button')  # a region of the class
    assert tab.is_visible('#tip') and '% of the image' in tab.inner_text('#tip')
    press_until(lambda name, _: name == 'save-data')


def test_every_control_has_a_name_and_messages_are_announced(page, path):
    page.give(path)
    page.show('instance')
    unnamed = page.tab.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas[role], video')]
          .filter((e) => e.offsetParent && !(e.textContent.trim() || e.labels?.length ||
            e.getAttribute('aria-label') || e.querySelector('img[alt]'))).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    assert page.tab.get_attribute('#status', 'aria-live') == 'polite'
    assert page.tab.get_attribute('#problem', 'role') == 'alert'
    assert page.tab.get_attribute('html', 'lang') == 'en'


def contrast(one, other):
    def luminance(text):
        values = [float(part) / 255 for part in text[text.index('(') + 1 : -1].split(',')[:3]]
        values = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return np.dot(values, (0.2126, 0.7152, 0.0722))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_texts_have_enough_contrast(browser, address, path, scheme):
    with opened(browser, address, viewport=SIZE, color_scheme=scheme) as page:
        page.give(path)
        found = page.tab.evaluate(
            """() => [...document.querySelectorAll('body *')]
              .filter((e) => e.offsetParent && [...e.childNodes].some(
                (n) => n.nodeType === 3 && n.textContent.trim()))
              .map((e) => {
                let below = e;
                const clear = 'rgba(0, 0, 0, 0)';
                while (below && getComputedStyle(below).backgroundColor === clear) {
                  below = below.parentElement;
                }
                const behind = getComputedStyle(below ?? document.body).backgroundColor;
                return [e.outerHTML.slice(0, 80), getComputedStyle(e).color, behind];
              })"""
        )
        assert len(found) > 20
        for html, colour, behind in found:
            assert contrast(colour, behind) >= 4.5, (html, colour, behind)


@pytest.mark.parametrize('width', [320, 360, 768])
def test_a_narrow_screen_needs_no_scrolling_to_the_side_and_a_touch_names_a_region(
    browser, address, path, width
):
    screen = dict(width=width, height=700)
    with opened(browser, address, viewport=screen, has_touch=True, is_mobile=True) as page:
        page.give(path)
        for view in (*TASKS, 'image', 'panoptic'):
            page.show(view)
            inner = page.tab.evaluate('document.documentElement.scrollWidth')
            assert inner <= width
        page.tab.locator('#canvases').scroll_into_view_if_needed()
        box = page.tab.locator('#canvases').bounding_box()
        page.tab.touchscreen.tap(box['x'] + box['width'] / 2, box['y'] + box['height'] / 3)
        assert page.tab.is_visible('#tip')
        heights = page.tab.evaluate(
            """() => [...document.querySelectorAll('button, .button, label')]
              .filter((e) => e.offsetParent)
              .map((e) => [e.outerHTML.slice(0, 60), e.offsetHeight])"""
        )
        assert [html for html, height in heights if height < 24] == []  # WCAG 2.2, 2.5.8


def test_fifty_predictions_need_no_more_memory_than_ten(browser, exported, tmp_path):
    """Inputs, logits and images of all of them, if they were kept, would be 200 MB."""
    description = read_description(exported)
    larger = replace(description.image, short_edge=384, max_size=600)
    folder = write_folder(tmp_path / 'model', description, Linear.random(6, 12, 4), image=larger)
    out = build_page(folder, tmp_path / 'page')
    rng, files = np.random.default_rng(0), []
    for n in range(5):
        coarse = rng.integers(0, 256, (6, 6 + n, 3), np.uint8)
        files.append(tmp_path / f'{n}.png')
        cv2.imwrite(str(files[-1]), cv2.resize(coarse, (760 + 20 * n, 560)))
    with served(out) as address, opened(browser, address) as page:
        for task in ('panoptic', 'instance'):  # which take time
            page.tab.uncheck(f'#tasks input[value={task}]')
        for n in range(10):
            page.give(files[n % 5])
        before = memory_of_renderers()
        for n in range(50):
            page.give(files[n % 5])
        grown = memory_of_renderers() - before
    print(f'\n50 predictions: {before / 1e6:.0f} MB, then {grown / 1e6:+.0f} MB')
    assert before > 50e6
    assert grown < 50e6


# --- a network of the exporter


def export_toy(folder, config_dir, tiny_set):
    """The quick start's network, small and untrained, whose queries are sure of an example."""
    from oneformer.deploy.exporting import export_model

    image = cv2.imread(str(ASSETS / 'examples/0.jpg'))[..., ::-1].copy()
    model = decisive(
        toy_config(config_dir, tiny_set).model, torch.from_numpy(image).permute(2, 0, 1).float()
    )
    pipeline = read_settings(QUICKSTART).pipeline
    export_model(model, pipeline, model.metainfo, folder, name='untrained')
    described = json.loads((folder / 'model.json').read_text())
    limits = dict(object_mask_thr=0.1, iou_thr=0, max_per_image=30)  # chance has no clear shapes
    change_json(folder / 'model.json', thresholds={**described['thresholds'], **limits})
    return folder


@pytest.fixture(scope='module')
def real(root_dir, config_dir, tiny_set, tmp_path_factory):
    """What ``make web`` has exported, else a network that nothing has trained."""
    given = root_dir / 'work_dirs/quickstart/exported'
    if (given / 'model.json').is_file():
        return given
    if 'export' not in oneformer_cli.COMMANDS:
        pytest.skip('this checkout has no exporter')
    return export_toy(tmp_path_factory.mktemp('real') / 'exported', config_dir, tiny_set)


def test_a_real_network_predicts_as_in_the_runtime_and_the_page_stays_responsive(
    browser, real, tmp_path, root_dir
):
    out = build_page(real, tmp_path / 'page')
    with served(out) as address, opened(browser, address, viewport=SIZE) as page:
        for name in ('0.jpg', '3.jpg'):
            page.tab.evaluate(TICKS)
            page.give(out / 'examples' / name)
            assert max(page.tab.evaluate('window.gaps')) < 1000  # milliseconds
            shown = np.ascontiguousarray(page.pixels()[..., :3])
            compare_with_runtime(page, OnnxOneFormer(real), shown, tmp_path)
            page.show('panoptic')
        save_screenshots(page, out / 'examples/0.jpg', root_dir / 'work_dirs/page')


TICKS = """() => {
  window.gaps = [0];
  let before = performance.now();
  clearInterval(window.ticking);
  window.ticking = setInterval(() => {
    const now = performance.now();
    window.gaps.push(now - before);
    before = now;
  }, 10);
}"""


def save_screenshots(page, path, folder):
    """Pictures of the page, of which docs/images has copies."""
    folder.mkdir(parents=True, exist_ok=True)
    page.give(path)
    box = page.tab.locator('#canvases').bounding_box()
    page.tab.mouse.move(box['x'] + 0.38 * box['width'], box['y'] + 0.5 * box['height'])
    shots = {'page': (1100, 880), 'page_narrow': (360, 740)}
    for name, (width, height) in shots.items():
        page.tab.set_viewport_size(dict(width=width, height=height))
        content = page.tab.screenshot()
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        done, content = cv2.imencode('.webp', picture, [cv2.IMWRITE_WEBP_QUALITY, 80])
        assert done
        (folder / f'{name}.webp').write_bytes(content.tobytes())
        page.show('instance')


# --- the page of a server


@pytest.fixture
def api(model):
    with running_api(model) as server:
        yield server


def test_a_server_predicts_the_very_pixels_that_are_shown(browser, api, model, image, tmp_path):
    path, *_ = stored('turned', tmp_path, image)
    with opened(browser, f'http://127.0.0.1:{api.server_address[1]}/', viewport=SIZE) as page:
        assert 'sent to the server' in page.tab.inner_text('#privacy')
        page.give(path)
        np.testing.assert_array_equal(api.seen, page.pixels()[..., :3])
        compare_with_runtime(page, model, api.seen, tmp_path)
        assert 'A note.' in page.tab.inner_text('#notes')
        assert not any('onnx' in url for url in page.asked)


@pytest.mark.skipif(
    find_spec('oneformer_runtime.serving') is None, reason='this checkout has no server'
)
def test_the_server_of_the_project_predicts_for_the_page(
    browser, exported, model, image, path, tmp_path
):
    words = [sys.executable, '-m', 'oneformer_runtime.serving', exported, '--port', '0']
    environment = {**os.environ, 'PYTHONPATH': str(ASSETS.parents[2])}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            said = ''
            while not (found := re.search(r'http://[\d.]+:\d+/', said)):
                line = server.stdout.readline()
                assert line, said
                said += line
            with opened(browser, found[0], viewport=SIZE) as page:
                page.give(path)
                compare_with_runtime(page, model, image, tmp_path)
        finally:
            server.terminate()
            server.stdout.close()


def test_a_server_that_refuses_or_is_gone_is_told(browser, api, path):
    with opened(browser, f'http://127.0.0.1:{api.server_address[1]}/') as page:
        api.full = True
        page.tab.set_input_files('#file', path)
        assert page.until_problem() == '16 images wait. Try again later.'
        page.tab.click('#problem-close')
        page.tab.context.set_offline(True)
        page.tab.click('#predict')
        assert 'does not answer' in page.until_problem()
        page.tab.context.set_offline(False)
        page.said.clear()  # the browser says itself that both requests failed
        api.full = False
        page.tab.click('#predict')
        page.until('one pass')
