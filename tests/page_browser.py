"""A page in a headless Chromium, with notes of all that should not happen there."""

import base64
import json
import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from oneformer_runtime.page.static_server import make_server

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
WAIT = 60  # seconds, on a busy machine
CAMERA = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')


@contextmanager
def served(folder, isolated=True):
    """The address at which a folder is served."""
    with make_server(folder, isolated=isolated) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}/'
        finally:
            server.shutdown()
            thread.join()


class OpenPage:
    """A page that is open in a browser.

    Attributes:
        tab: Playwright's page.
        said: Errors and warnings of the console, and errors that nothing caught.
        asked: Addresses that were requested.
    """

    def __init__(self, tab, address):
        self.tab, self.address = tab, address
        self.said, self.asked = [], []
        tab.on('console', self._hear)
        tab.on('pageerror', lambda error: self.said.append(f'uncaught: {error}'))
        tab.context.on('request', lambda request: self.asked.append(request.url))

    def _hear(self, message):
        if message.type in ('error', 'warning'):
            self.said.append(f'{message.type}: {message.text}')

    def open(self):
        """Open the page, and wait until it is ready or has a problem."""
        self.tab.goto(self.address)
        return self.until('Ready')

    @property
    def status(self):
        return self.tab.inner_text('#status')

    @property
    def problem(self):
        """The text of the problem that is shown, or None."""
        visible = self.tab.is_visible('#problem')
        return self.tab.inner_text('#problem-text') if visible else None

    def until(self, text, seconds=WAIT):
        """Wait until the status has a text; returns it, or None if there is a problem."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.problem is not None:
                return None
            if text in self.status:
                return self.status
            time.sleep(0.02)
        raise AssertionError(f'{text!r} did not come, the status is {self.status!r}')

    def until_problem(self, seconds=WAIT):
        end = time.monotonic() + seconds
        while self.problem is None and time.monotonic() < end:
            time.sleep(0.02)
        return self.problem

    def give(self, *files):
        """Choose a file, and wait for its prediction."""
        self.tab.evaluate("document.getElementById('status').textContent = ''")
        self.tab.set_input_files('#file', list(files))
        return self.until('one pass')

    def show(self, view):
        self.tab.check(f'#views input[value={view}]')

    def save(self, button, folder):
        """The file that a button of the downloads saves."""
        with self.tab.expect_download() as download:
            self.tab.click(f'#save-{button}')
        path = Path(folder) / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def pixels(self, selector='#canvases canvas'):
        """BGRA of a canvas, of shape (height, width, 4), uint8."""
        address = self.tab.evaluate(
            "(selector) => document.querySelector(selector).toDataURL('image/png')", selector
        )
        content = base64.b64decode(address.partition(',')[2])
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)

    def check_silence(self):
        """Nothing was said in the console, and nothing asked for elsewhere."""
        assert self.said == []
        elsewhere = [url for url in self.asked if not url.startswith((self.address, 'blob:'))]
        assert elsewhere == []


@contextmanager
def opened(browser, address, **context):
    """A page, which is checked for silence at the end."""
    with_context = browser.new_context(**context)
    page = OpenPage(with_context.new_page(), address)
    try:
        page.open()
        yield page
        page.check_silence()
    finally:
        with_context.close()


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def memory_of_renderers():
    """Bytes in memory of the renderers below this process, in all."""
    parents, memory = {}, {}
    for entry in Path('/proc').iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / 'cmdline').read_bytes()
            status = (entry / 'status').read_text()
        except OSError:  # it has ended
            continue
        fields = dict(line.split(':', 1) for line in status.splitlines() if ':' in line)
        parents[int(entry.name)] = int(fields['PPid'])
        if b'--type=renderer' in command:
            memory[int(entry.name)] = 1024 * int(fields.get('VmRSS', '0').split()[0])

    def is_ours(number):
        while number > 1:
            if number == os.getpid():
                return True
            number = parents.get(number, 0)
        return False

    return sum(size for number, size in memory.items() if is_ours(number))
