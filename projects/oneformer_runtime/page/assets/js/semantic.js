/** Semantic map: a label for every pixel, `oneformer_runtime.decoding.semantic_map`. */
import { Buffer, sigmoid, softmax } from './scores.js';

// Queries are left out of a block whose class scores they could change by this much in all.
const NEGLIGIBLE = 4e-6;

/** Queries that matter in a block, ascending. */
function relevant(block, masks, cells, surest) {
  const most = surest.map((weight, q) => weight * sigmoid(block.bounds(masks, q * cells)[1]));
  const order = [...most.keys()].sort((a, b) => most[a] - most[b]);
  let total = 0;
  return order
    .filter((q) => {
      total += most[q];
      return total > NEGLIGIBLE;
    })
    .sort((a, b) => a - b);
}

/** Classes that can have the highest score somewhere in a block, by bounds on all. */
function candidates(classWeights, K, used, ranges) {
  const [low, high] = [new Float64Array(K), new Float64Array(K)];
  used.forEach((q, i) => {
    for (let k = 0; k < K; k += 1) {
      low[k] += ranges[i][0] * classWeights[q * (K + 1) + k];
      high[k] += ranges[i][1] * classWeights[q * (K + 1) + k];
    }
  });
  const certain = low.reduce((most, value) => Math.max(most, value), 0);
  const found = [];
  for (let k = 0; k < K; k += 1) if (high[k] >= certain - 1e-9) found.push(k);
  return found;
}

function rangeOf(values, start, count) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = start; i < start + count; i += 1) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return [low, high];
}

/**
 * Label every pixel; there is no void.
 *
 * @param {{classes: Float32Array, masks: Float32Array, Q: number, K: number}} logits Of shapes
 *   (Q, K + 1) and (Q, h, w).
 * @param {MaskResize} resize From the grid to the prediction.
 * @returns {Uint16Array} Labels, row by row.
 */
export function semanticMap({ classes, masks, Q, K }, resize) {
  const weights = softmax(classes, K + 1);
  const surest = Array.from({ length: Q }, (_, q) => rangeOf(weights, q * (K + 1), K)[1]);
  const [height, width] = resize.size;
  const cells = resize.grid[0] * resize.grid[1];
  const labels = new Uint16Array(height * width);
  const buffer = new Buffer();
  for (const block of resize.blocks()) {
    const used = relevant(block, masks, cells, surest);
    const count = block.pixels;
    const probabilities = buffer.of(used.length * count);
    used.forEach((q, i) => block.interpolate(masks, q * cells, probabilities, i * count));
    for (let i = 0; i < used.length * count; i += 1) probabilities[i] = sigmoid(probabilities[i]);
    const ranges = used.map((_, i) => rangeOf(probabilities, i * count, count));
    const likely = candidates(weights, K, used, ranges);
    labelBlock(block, labels, width, likely, { used, probabilities, weights, K });
  }
  return labels;
}

function labelBlock(block, labels, width, likely, { used, probabilities, weights, K }) {
  const count = block.pixels;
  const best = new Float32Array(count).fill(-1);
  const score = new Float32Array(count);
  const label = new Uint16Array(count);
  for (const k of likely) {
    if (likely.length === 1) {
      label.fill(k);
      break;
    }
    score.fill(0);
    used.forEach((q, i) => {
      const weight = weights[q * (K + 1) + k];
      for (let p = 0; p < count; p += 1) score[p] += weight * probabilities[i * count + p];
    });
    for (let p = 0; p < count; p += 1) {
      if (score[p] > best[p]) [best[p], label[p]] = [score[p], k];
    }
  }
  for (let y = 0; y < block.rows; y += 1) {
    const row = label.subarray(y * block.columns, (y + 1) * block.columns);
    labels.set(row, (block.top + y) * width + block.left);
  }
}
