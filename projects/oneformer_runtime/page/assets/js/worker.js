/** The worker: loads the network, checks it, and predicts, so that the page stays responsive. */
import { predict } from './predictor.js';
import { selfCheck } from './self_check.js';
import { checkWebAssembly, download, explained, openSession, runner } from './session.js';

let model;
let run;

function tell(stage, more = {}) {
  self.postMessage({ kind: 'stage', stage, ...more });
}

async function fetchParts(page) {
  const place = (name) => new URL(name, page.base);
  const loaded = { graph: 0, wasm: 0 };
  const total = page.graph.bytes + page.wasm.bytes;
  const part = (name) =>
    download(place(page[name].file), page[name], (bytes) => {
      loaded[name] = bytes;
      tell('download', { loaded: loaded.graph + loaded.wasm, total });
    });
  const [graph, wasm] = await Promise.all([part('graph'), part('wasm')]);
  return { graph, wasm, script: place(page.script).href };
}

async function start({ page, description, check, threads }) {
  checkWebAssembly();
  model = description;
  const parts = await fetchParts(page);
  tell('session');
  const ort = await import(new URL(page.runtime, page.base).href);
  const session = await openSession(ort, { ...parts, threads });
  run = runner(ort, session, model);
  tell('check');
  await selfCheck(check, run);
  tell('ready');
}

/** Large arrays of a prediction, which are handed over and not copied. */
function buffersOf(found) {
  const maps = ['panoptic', 'semantic'].map((task) => found[task]?.map.buffer);
  const masks = new Set((found.instance?.instances ?? []).map(({ mask }) => mask.counts.buffer));
  return [...maps.filter(Boolean), ...masks];
}

self.onmessage = async ({ data }) => {
  try {
    if (data.kind === 'start') {
      await start(data);
    } else {
      const begin = performance.now();
      const found = await predict(data.image, data.tasks, model, data.options, run);
      const seconds = (performance.now() - begin) / 1000;
      self.postMessage({ kind: 'prediction', found, seconds }, buffersOf(found));
    }
  } catch (error) {
    const { what, remedy } = explained(error);
    self.postMessage({ kind: 'problem', what, remedy });
  }
};
