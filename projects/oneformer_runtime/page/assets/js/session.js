/** The network in onnxruntime-web, by WebAssembly. */
import { TASKS } from './predictor.js';
import { Problem, textOf } from './problem.js';

/**
 * Fetch a file, and tell how much of it has come.
 *
 * @param {URL} url Its address.
 * @param {{bytes: number, sha256: string}} expected Its size, and its hash where one is known.
 * @param {Function} tell `tell(loaded, total)` in bytes.
 * @returns {Promise<Uint8Array>} Its content.
 * @throws {Problem} If it is not there, or another.
 */
export async function download(url, expected, tell) {
  const name = url.pathname.split('/').pop();
  const again =
    'Reload the page. If that does not help, the folder is incomplete: build and upload it again.';
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new Problem(`${name} could not be loaded (${textOf(error)}).`, again);
  }
  if (!response.ok) throw new Problem(`${name} is missing (status ${response.status}).`, again);
  const content = new Uint8Array(expected.bytes);
  let loaded = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (loaded + part.value.length > content.length) {
      loaded = Infinity;
      break;
    }
    content.set(part.value, loaded);
    loaded += part.value.length;
    tell(loaded, content.length);
  }
  if (loaded !== content.length) {
    reader.cancel();
    throw new Problem(
      `${name} does not have the ${content.length} bytes it was built with.`,
      again,
    );
  }
  // only pages of https and of this machine have the function
  if (globalThis.crypto?.subtle && expected.sha256) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', content));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
    if (found !== expected.sha256) throw new Problem(`${name} is damaged.`, again);
  }
  return content;
}

/** What an error of onnxruntime-web means. */
export function explained(error) {
  if (error instanceof Problem) return error;
  const text = textOf(error);
  if (/alloc|memory|out of bounds|array (buffer )?length|^\d+$/i.test(text)) {
    return new Problem(
      `The memory of this page was not enough (${text}).`,
      'Choose a smaller input size, close other pages, or use a device with more memory.',
    );
  }
  if (/SIMD|WebAssembly|wasm/i.test(text)) {
    return new Problem(
      `This browser does not run WebAssembly as the page needs it (${text}).`,
      'Update it, or use another; it may also be switched off, as by a lockdown mode.',
    );
  }
  return new Problem(`The network failed (${text}).`, 'Reload the page, or use another browser.');
}

/** Raise a Problem where WebAssembly is missing or switched off. */
export function checkWebAssembly() {
  if (typeof WebAssembly !== 'object' || typeof WebAssembly.instantiate !== 'function') {
    throw new Problem(
      'This browser does not run WebAssembly.',
      'Update it, or use another; it may also be switched off, as by a lockdown mode.',
    );
  }
}

/**
 * Load onnxruntime-web and a model.
 *
 * @param {object} ort The module of onnxruntime-web.
 * @param {{graph: Uint8Array, wasm: Uint8Array, script: string, threads: number}} parts Contents of
 *   the graph and of the WebAssembly, address of the script that starts it, number of threads.
 * @returns {Promise<object>} The session.
 */
export async function openSession(ort, { graph, wasm, script, threads }) {
  Object.assign(ort.env.wasm, {
    numThreads: threads,
    proxy: false,
    wasmBinary: wasm,
    wasmPaths: { mjs: script },
  });
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ['wasm'],
    enableMemPattern: false, // images have many sizes, of each of which a pattern would be kept
    logSeverityLevel: 3,
  });
  ort.env.wasm.wasmBinary = undefined; // it is compiled
  return session;
}

function checkFinite(values, name) {
  let sum = 0; // in double precision, of what is single: only what is not finite makes it so
  for (let i = 0; i < values.length; i += 1) sum += values[i];
  if (!Number.isFinite(sum)) {
    throw new Problem(
      `The network gives ${name} that are not finite.`,
      'Its weights are damaged: export the model and build the page again.',
    );
  }
}

/**
 * The function that runs a network, see `predict`.
 *
 * @param {object} ort The module of onnxruntime-web.
 * @param {object} session Of `openSession`.
 * @param {object} model Content of model.json.
 */
export function runner(ort, session, model) {
  return async (tensor, [height, width], words) => {
    const numbers = BigInt64Array.from(words, (word) => BigInt(TASKS.indexOf(word)));
    const feeds = {
      image: new ort.Tensor('float32', tensor, [1, 3, height, width]),
      tasks: new ort.Tensor('int64', numbers, [1, words.length]),
    };
    const { class_logits: classes, mask_logits: masks } = await session.run(feeds);
    const found = [...classes.dims.slice(0, 2), ...masks.dims.slice(0, 2)].join();
    const columns = model.classes.length + 1;
    if (found !== [1, words.length, 1, words.length].join() || classes.dims[3] !== columns) {
      throw new Problem(
        `The network gives logits of the shapes [${classes.dims}] and [${masks.dims}].`,
        'It does not fit its model.json: export the model and build the page again.',
      );
    }
    checkFinite(classes.data, 'class_logits');
    checkFinite(masks.data, 'mask_logits');
    return { classes: classes.data, masks: masks.data, Q: classes.dims[2] };
  };
}
