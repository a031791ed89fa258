/** Predictions by the server of the page: `oneformer serve`, whose API is in docs/serve.md. */
import { Problem } from './problem.js';
import { decodeRuns } from './run_length.js';

const UNREACHABLE = 'Check that it runs and can be reached, then try again.';

async function ask(url, request = {}) {
  let response;
  try {
    response = await fetch(url, request);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The server of this page does not answer.', UNREACHABLE);
  }
  let content;
  try {
    content = await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(`The response of the server is not JSON (status ${response.status}).`, UNREACHABLE);
  }
  if (!response.ok) {
    const wait = response.headers.get('Retry-After');
    const again = wait ? ` Try again in ${wait} s.` : '';
    throw new Problem(
      content.detail ?? `The server answered ${response.status}.`,
      `${content.remedy ?? ''}${again}`,
    );
  }
  return content;
}

function readMap(task, runs, width, height) {
  const map = decodeRuns(runs, width * height);
  if (map) return map;
  throw new Problem(`The server sent a damaged map (${task}).`, 'Try again.');
}

/** The back end of `oneformer serve`. */
export class ServerBackend {
  /**
   * @param {object} page Content of page.json.
   * @param {URL} base The folder of the page.
   */
  constructor(page, base) {
    this.api = new URL(page.api, base);
    this.local = false;
    this.threads = 0;
  }

  async start() {
    this.model = await ask(new URL('model', this.api));
    return { ...this.model, sizes: false };
  }

  /** End the request that is under way. */
  cancel() {
    this.running?.abort();
  }

  /** See `WasmBackend.predict`. The image goes as PNG, so that its pixels are those shown. */
  async predict(canvas, tasks, { scoreThr }) {
    const body = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
    if (!body)
      throw new Problem('This browser could not write the image as PNG.', 'Make it smaller.');
    const most = this.model.limits?.max_bytes;
    if (most && body.size > most) {
      throw new Problem(
        `The image takes ${body.size} bytes as PNG, and the server reads ${most}.`,
        'Make it smaller.',
      );
    }
    const url = new URL('predict', this.api);
    url.search = new URLSearchParams({ tasks: tasks.join(), score_thr: String(scoreThr) });
    this.running = new AbortController();
    const { signal } = this.running;
    const headers = { 'Content-Type': 'image/png', Accept: 'application/json' };
    const found = await ask(url, { method: 'POST', body, headers, signal });
    const { width, height } = found;
    if (width !== canvas.width || height !== canvas.height) {
      throw new Problem(
        `The server predicted ${width} × ${height} pixels, which is not the image.`,
        'Try again.',
      );
    }
    for (const task of ['panoptic', 'semantic']) {
      if (found[task]) found[task].map = readMap(task, found[task].runs, width, height);
    }
    return { notes: [], seconds: 0, ...found };
  }
}
