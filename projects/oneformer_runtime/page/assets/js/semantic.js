/** Semantic map: a label for every pixel, `oneformer_runtime.decoding.semantic_map`. */
import { Buffer, sigmoid, softmax } from './scores.js';

// Queries are left out of a block whose class scores they could change by this much in all.
const NEGLIGIBLE = 4e-6;
// Classes that are scored at every pixel of a block.
const CANDIDATES = 12;
// Sums are rounded.
const MARGIN = 1e-7;

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

/** The classes with a bound on their scores in a block, the most likely first. */
function bounded(weights, K, used, highest) {
  const bounds = new Float64Array(K);
  used.forEach((q, i) => {
    for (let k = 0; k < K; k += 1) bounds[k] += highest[i] * weights[q * (K + 1) + k];
  });
  return [...bounds.keys()].sort((a, b) => bounds[b] - bounds[a]).map((k) => [k, bounds[k]]);
}

function maximum(values, start, count) {
  let high = -Infinity;
  for (let i = start; i < start + count; i += 1) if (values[i] > high) high = values[i];
  return high;
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
  const surest = Array.from({ length: Q }, (_, q) => maximum(weights, q * (K + 1), K));
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
    const highest = used.map((_, i) => maximum(probabilities, i * count, count));
    const order = bounded(weights, K, used, highest);
    const label = labelsOf(count, order, { used, probabilities, weights, K });
    for (let y = 0; y < block.rows; y += 1) {
      const row = label.subarray(y * block.columns, (y + 1) * block.columns);
      labels.set(row, (block.top + y) * width + block.left);
    }
  }
  return labels;
}

/**
 * The class of the highest score at each pixel of a block, the first of equal ones.
 *
 * Few classes occur in a block. The likely ones are scored everywhere, and all others only at
 * pixels where they could win: where a class that had each query's highest weight among them would
 * not have less.
 */
function labelsOf(count, order, scores) {
  const best = new Float32Array(count).fill(-1);
  const label = new Uint16Array(count);
  let least = -1; // of the best scores
  for (const [n, [k, bound]] of order.entries()) {
    if (bound < least - MARGIN) return label; // nor can those behind win anywhere
    if (n === CANDIDATES) {
      scoreRest(
        best,
        label,
        order.slice(n).map(([other]) => other),
        scores,
      );
      return label;
    }
    least = scoreClass(k, best, label, scores);
  }
  return label;
}

/** Score a class at all pixels; returns the least of the best scores. */
function scoreClass(k, best, label, { used, probabilities, weights, K }) {
  const count = best.length;
  const score = new Float32Array(count);
  for (let i = 0; i < used.length; i += 1) {
    const weight = weights[used[i] * (K + 1) + k];
    const start = i * count;
    for (let p = 0; p < count; p += 1) score[p] += weight * probabilities[start + p];
  }
  let least = Infinity;
  for (let p = 0; p < count; p += 1) {
    if (score[p] > best[p] || (score[p] === best[p] && k < label[p])) {
      best[p] = score[p];
      label[p] = k;
    }
    if (best[p] < least) least = best[p];
  }
  return least;
}

/** Score the other classes at the pixels where they could win. */
function scoreRest(best, label, others, { used, probabilities, weights, K }) {
  const count = best.length;
  const most = used.map((q) => Math.max(...others.map((k) => weights[q * (K + 1) + k])));
  const bound = new Float32Array(count);
  for (let i = 0; i < used.length; i += 1) {
    const start = i * count;
    for (let p = 0; p < count; p += 1) bound[p] += most[i] * probabilities[start + p];
  }
  for (let p = 0; p < count; p += 1) {
    if (bound[p] < best[p] - MARGIN) continue;
    for (const k of others) {
      let score = 0;
      for (let i = 0; i < used.length; i += 1) {
        score += weights[used[i] * (K + 1) + k] * probabilities[i * count + p];
      }
      score = Math.fround(score);
      if (score > best[p] || (score === best[p] && k < label[p])) {
        best[p] = score;
        label[p] = k;
      }
    }
  }
}
