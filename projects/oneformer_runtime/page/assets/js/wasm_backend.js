/** Predictions by this device: a worker with the network. */
import { pixelsOf } from './decode_image.js';
import { Problem } from './problem.js';

/** Milliseconds that the start with threads may take after the download, then one is used. */
const THREADS_LIMIT = 30_000;
const MOST_THREADS = 4;

async function readJson(url) {
  const again = 'The folder of the page is incomplete: build and upload it again.';
  const name = url.pathname.split('/').pop();
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Problem(`${name} could not be loaded.`, 'Check the connection and reload the page.');
  }
  if (!response.ok) throw new Problem(`${name} is missing (status ${response.status}).`, again);
  try {
    return await response.json();
  } catch {
    throw new Problem(`${name} is damaged.`, again);
  }
}

// under this name a browser keeps that it could not start with threads, until it is another one
const ONE_THREAD = 'oneformer-one-thread';

function isKnownToFail() {
  try {
    return localStorage.getItem(ONE_THREAD) === navigator.userAgent;
  } catch {
    return false; // pages may be forbidden to keep anything
  }
}

function keepFailure() {
  try {
    localStorage.setItem(ONE_THREAD, navigator.userAgent);
  } catch {
    // the next start tries again
  }
}

/** Threads that may be used: more than one only on isolated pages, see docs/page.md. */
export function usableThreads() {
  if (!globalThis.crossOriginIsolated || typeof SharedArrayBuffer === 'undefined') return 1;
  if (isKnownToFail()) return 1;
  return Math.max(1, Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1));
}

/** The back end of a static folder. */
export class WasmBackend {
  /**
   * @param {object} page Content of page.json.
   * @param {URL} base The folder of the page.
   * @param {Function} tell `tell(stage, {loaded, total})` while it starts.
   */
  constructor(page, base, tell) {
    [this.page, this.base, this.tell] = [{ ...page, base: base.href }, base, tell];
    this.local = true;
    this.threads = usableThreads();
    this.worker = null;
  }

  /** Load and check the network; gives the description of the model. */
  async start() {
    this.model = await readJson(new URL(this.page.description, this.base));
    this.check = await readJson(new URL(this.page.check, this.base));
    await this.startWorker();
    return { ...this.model, tasks: this.model.tasks, sizes: !this.model.image.size };
  }

  async startWorker() {
    try {
      await this.ask(this.startMessage(), THREADS_LIMIT);
    } catch (error) {
      if (this.threads === 1 || error.name === 'AbortError') throw error;
      // what goes wrong with threads often goes right without
      const { stage } = this;
      this.threads = 1;
      await this.ask(this.startMessage(), 0);
      if (stage !== 'download') keepFailure();
    }
  }

  startMessage() {
    this.stop();
    this.worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
    const { page, model, check, threads } = this;
    return { kind: 'start', page, description: model, check, threads };
  }

  /** End the worker; the next prediction starts another. */
  stop() {
    this.worker?.terminate();
    this.worker = null;
  }

  /** End a prediction: a network that runs listens to nothing, so its worker ends. */
  cancel() {
    this.stop();
    this.giveUp?.(new DOMException('cancelled', 'AbortError'));
  }

  /** Send a message; gives the answer, or raises its Problem. */
  ask(message, limit = 0, transfer = []) {
    const { worker } = this;
    let timer = 0;
    return new Promise((resolve, reject) => {
      this.giveUp = reject;
      const fail = (what, remedy) => reject(new Problem(what, remedy));
      worker.onmessage = ({ data }) => {
        if (data.kind === 'problem') fail(data.what, data.remedy);
        if (data.kind === 'prediction') resolve(data);
        if (data.kind !== 'stage') return;
        this.stage = data.stage;
        this.tell(data.stage, data);
        if (data.stage === 'ready') resolve(data);
        if (data.stage === 'session' && limit && this.threads > 1) {
          timer = setTimeout(() => fail('Loading with threads takes too long.', ''), limit);
        }
      };
      worker.onerror = (event) => {
        event.preventDefault();
        fail(
          `The worker of the page could not run (${event.message || 'no reason is given'}).`,
          'Update the browser: it has to know workers of modules. Else a file is missing.',
        );
      };
      worker.postMessage(message, transfer);
    })
      .catch((error) => {
        this.stop(); // after an error its memory cannot be trusted
        throw error;
      })
      .finally(() => clearTimeout(timer));
  }

  /**
   * Predict what a canvas shows.
   *
   * @param {HTMLCanvasElement} canvas The image.
   * @param {string[]} tasks Task words.
   * @param {{scoreThr: number, share: number}} options See `predict`.
   */
  async predict(canvas, tasks, options) {
    if (!this.worker) await this.startWorker();
    const image = {
      data: pixelsOf(canvas),
      width: canvas.width,
      height: canvas.height,
      channels: 4,
    };
    const message = { kind: 'predict', image, tasks, options };
    const { found, seconds } = await this.ask(message, 0, [image.data.buffer]);
    return { width: image.width, height: image.height, tasks, notes: [], seconds, ...found };
  }
}
