/** From an image to predictions, given a function that runs the network. Knows no browser. */
import { instances } from './instances.js';
import { MaskResize } from './mask_resize.js';
import { panopticMap } from './panoptic.js';
import { prepare, reduced } from './prepare.js';
import { semanticMap } from './semantic.js';

/** Task words in the order of the graph's numbers. */
export const TASKS = ['panoptic', 'instance', 'semantic'];

function decode(task, logits, resize, isThing, model, options) {
  if (task === 'panoptic') return panopticMap(logits, resize, isThing, model.thresholds);
  if (task === 'semantic') return { map: semanticMap(logits, resize) };
  const { max_per_image: most } = model.thresholds;
  return { instances: instances(logits, resize, isThing, most, options.scoreThr) };
}

/** The task words that the network is asked for: a model may condition all tasks by one word. */
export function wordsOf(tasks, model) {
  return [...new Set(tasks.map((task) => model.token ?? task))];
}

/**
 * Predict an image in one pass.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number, channels: number}} image RGBA.
 * @param {string[]} tasks Task words.
 * @param {object} model Content of model.json.
 * @param {{scoreThr: number, share: number}} options Least score of instances; share of the usual
 *   size of the input.
 * @param {Function} run `run(tensor, [height, width], words)` gives `classes` (T, Q, K + 1),
 *   `masks` (T, Q, h, w) and `Q`.
 * @returns {Promise<object>} For each task `map` and `segments`, `instances`, or `map`.
 */
export async function predict(image, tasks, model, options, run) {
  const input = prepare(image, reduced(model.image, options.share));
  const words = wordsOf(tasks, model);
  const outputs = await run(input.tensor, input.padded, words);
  const grid = input.padded.map((side) => side / 4);
  const resize = new MaskResize(grid, input.padded, input.content, input.size);
  const things = new Set(model.thing_classes);
  const isThing = model.classes.map((name) => things.has(name));
  const [Q, K, cells] = [outputs.Q, model.classes.length, grid[0] * grid[1]];
  const found = {};
  for (const task of tasks) {
    const t = words.indexOf(model.token ?? task);
    const logits = {
      Q,
      K,
      classes: outputs.classes.subarray(t * Q * (K + 1), (t + 1) * Q * (K + 1)),
      masks: outputs.masks.subarray(t * Q * cells, (t + 1) * Q * cells),
    };
    found[task] = decode(task, logits, resize, isThing, model, options);
    for (const entry of found[task].segments ?? found[task].instances ?? []) {
      entry.category = model.classes[entry.label];
    }
  }
  return found;
}
