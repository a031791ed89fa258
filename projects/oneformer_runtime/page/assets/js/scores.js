/** Class probabilities and their best. Shapes: Q queries, K classes; "no object" is class K. */

/** Logistic function. */
export function sigmoid(value) {
  return 1 / (1 + Math.exp(-value));
}

/**
 * Softmax of the rows of (Q, K + 1).
 *
 * @param {Float32Array} logits Class logits.
 * @param {number} columns K + 1.
 * @returns {Float32Array} Probabilities.
 */
export function softmax(logits, columns) {
  const values = new Float32Array(logits.length);
  for (let start = 0; start < logits.length; start += columns) {
    let most = -Infinity;
    for (let i = start; i < start + columns; i += 1) most = Math.max(most, logits[i]);
    let total = 0;
    for (let i = start; i < start + columns; i += 1) total += Math.exp(logits[i] - most);
    for (let i = start; i < start + columns; i += 1) values[i] = Math.exp(logits[i] - most) / total;
  }
  return values;
}

/** Position of the greatest of `values[start .. start + count]`, counted from start. */
export function argmax(values, start, count) {
  let best = 0;
  for (let i = 1; i < count; i += 1) if (values[start + i] > values[start + best]) best = i;
  return best;
}

/** A buffer for `count` numbers that grows and is used again. */
export class Buffer {
  constructor() {
    this.values = new Float32Array(0);
  }

  of(count) {
    if (this.values.length < count) this.values = new Float32Array(count);
    return this.values;
  }
}
