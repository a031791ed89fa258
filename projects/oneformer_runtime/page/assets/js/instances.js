/** Instances, which may overlap, from the best: `oneformer_runtime.decoding.instances`. */
import { encodeRange } from './run_length.js';
import { Buffer, sigmoid, softmax } from './scores.js';

/** The best pairs of query and class; of stuff they are dropped afterwards, as in the original. */
function topPairs({ classes, Q, K }, isThing, maxPerImage) {
  const probabilities = softmax(classes, K + 1);
  const pairs = [];
  for (let q = 0; q < Q; q += 1) {
    for (let label = 0; label < K; label += 1) {
      pairs.push({ q, label, score: probabilities[q * (K + 1) + label] });
    }
  }
  pairs.sort((a, b) => b.score - a.score);
  return pairs.slice(0, maxPerImage).filter(({ label }) => isThing[label]);
}

/** Finds the masks of queries, one after the other, in one piece of memory. */
class MaskFinder {
  constructor(masks, resize) {
    [this.masks, this.resize] = [masks, resize];
    this.blocks = [...resize.blocks()];
    this.buffer = new Buffer().of(resize.constructor.blockPixels);
    this.columns = new Uint8Array(resize.size[0] * resize.size[1]); // column by column
  }

  /**
   * @param {number} q The query.
   * @returns {{mask: object, area: number, bbox: number[], quality: number}} Its run lengths,
   *   pixels, box and the mean probability inside.
   */
  find(q) {
    const { masks, buffer, columns } = this;
    const [height, width] = this.resize.size;
    const start = q * this.resize.grid[0] * this.resize.grid[1];
    let [inside, area] = [0, 0];
    let [x0, y0, x1, y1] = [width, height, 0, 0];
    for (const block of this.blocks) {
      if (!(block.bounds(masks, start)[1] > 0)) continue;
      block.interpolate(masks, start, buffer, 0);
      for (let p = 0; p < block.pixels; p += 1) {
        if (!(buffer[p] > 0)) continue;
        const x = block.left + (p % block.columns);
        const y = block.top + Math.trunc(p / block.columns);
        columns[x * height + y] = 1;
        area += 1;
        inside += sigmoid(buffer[p]);
        if (x < x0) x0 = x;
        if (x >= x1) x1 = x + 1;
        if (y < y0) y0 = y;
        if (y >= y1) y1 = y + 1;
      }
    }
    const counts = encodeRange(columns, x0 * height, x1 * height);
    if (area) columns.fill(0, x0 * height, x1 * height);
    const bbox = area ? [x0, y0, x1 - x0, y1 - y0] : [0, 0, 0, 0];
    return { mask: { size: [height, width], counts }, area, bbox, quality: inside / (area + 1e-6) };
  }
}

/**
 * The best instances.
 *
 * @param {object} logits See `semanticMap`.
 * @param {MaskResize} resize From the grid to the prediction.
 * @param {boolean[]} isThing Of each class.
 * @param {number} maxPerImage Pairs of query and class to take, stuff among them.
 * @param {number} scoreThr Instances that score less are left out.
 * @returns {object[]} From the best: `label`, `score` (class probability times mean mask
 *   probability inside the mask), `area`, `bbox` and `mask`, COCO's run lengths, column by column.
 */
export function instances(logits, resize, isThing, maxPerImage, scoreThr) {
  const finder = new MaskFinder(logits.masks, resize);
  const found = new Map();
  const least = Math.fround(scoreThr);
  return topPairs(logits, isThing, maxPerImage)
    .filter(({ score }) => score >= least)
    .map(({ q, label, score }) => {
      if (!found.has(q)) found.set(q, finder.find(q));
      const { quality, ...rest } = found.get(q);
      return { label, score: Math.fround(score * Math.fround(quality)), ...rest };
    })
    .filter(({ score }) => score >= least)
    .sort((a, b) => b.score - a.score);
}
