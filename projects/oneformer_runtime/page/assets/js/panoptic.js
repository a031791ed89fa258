/** Panoptic map and segments: `oneformer_runtime.decoding.panoptic_map`. */
import { argmax, Buffer, sigmoid, softmax } from './scores.js';

/** Confident queries, with their labels and scores. */
function confident({ classes, Q, K }, threshold) {
  const probabilities = softmax(classes, K + 1);
  const found = [];
  for (let q = 0; q < Q; q += 1) {
    const label = argmax(probabilities, q * (K + 1), K + 1);
    const score = probabilities[q * (K + 1) + label];
    if (label !== K && score > Math.fround(threshold)) found.push({ q, label, score });
  }
  return found;
}

/** Which of the kept queries can win a pixel of a block, or have a mask there. */
function present(block, masks, cells, kept) {
  const bounds = kept.map(({ q }) => block.bounds(masks, q * cells));
  const sure = kept.reduce(
    (most, { score }, i) => Math.max(most, score * sigmoid(bounds[i][0])),
    0,
  );
  return [...kept.keys()].filter(
    (i) => bounds[i][1] >= 0 || kept[i].score * sigmoid(bounds[i][1]) >= sure - 1e-12,
  );
}

/**
 * Which query has each pixel, plus the number of queries where its mask is below 0.5; the sizes of
 * all masks.
 */
function owners(masks, kept, resize) {
  const [height, width] = resize.size;
  const cells = resize.grid[0] * resize.grid[1];
  const owner = new Uint16Array(height * width);
  const covered = new Float64Array(kept.length);
  const buffer = new Buffer();
  for (const block of resize.blocks()) {
    const used = present(block, masks, cells, kept);
    const count = block.pixels;
    const logits = buffer.of(used.length * count);
    used.forEach((i, n) => block.interpolate(masks, kept[i].q * cells, logits, n * count));
    const best = new Float32Array(count).fill(-1);
    const winner = new Uint16Array(count);
    used.forEach((i, n) => {
      const { score } = kept[i];
      for (let p = 0; p < count; p += 1) {
        const logit = logits[n * count + p];
        if (logit >= 0) covered[i] += 1;
        const value = Math.fround(score * Math.fround(sigmoid(logit)));
        if (value > best[p]) {
          best[p] = value;
          winner[p] = logit < 0 ? i + kept.length : i;
        }
      }
    });
    for (let y = 0; y < block.rows; y += 1) {
      const row = winner.subarray(y * block.columns, (y + 1) * block.columns);
      owner.set(row, (block.top + y) * width + block.left);
    }
  }
  return { owner, covered };
}

/** Tight boxes [x, y, width, height] of the ids 1 to `number` of a map. */
export function boxesOfIds(map, [height, width], number) {
  const corners = Array.from({ length: number + 1 }, () => [Infinity, Infinity, -1, -1]);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const corner = corners[map[y * width + x]];
      if (x < corner[0]) corner[0] = x;
      if (y < corner[1]) corner[1] = y;
      if (x > corner[2]) corner[2] = x;
      if (y > corner[3]) corner[3] = y;
    }
  }
  return corners.slice(1).map(([x0, y0, x1, y1]) => [x0, y0, x1 - x0 + 1, y1 - y0 + 1]);
}

/**
 * Merge confident queries into one non-overlapping map.
 *
 * @param {object} logits See `semanticMap`.
 * @param {MaskResize} resize From the grid to the prediction.
 * @param {boolean[]} isThing Of each class.
 * @param {{object_mask_thr: number, iou_thr: number}} thresholds Of the model.
 * @returns {{map: Uint16Array, segments: object[]}} Segment ids, row by row, 0 for void; and for
 *   each id from 1 `id`, `label`, `isthing`, `score`, `area` and `bbox`.
 */
export function panopticMap(logits, resize, isThing, thresholds) {
  const kept = confident(logits, thresholds.object_mask_thr);
  if (!kept.length) return { map: new Uint16Array(resize.size[0] * resize.size[1]), segments: [] };
  const { owner, covered } = owners(logits.masks, kept, resize);
  const areas = new Float64Array(2 * kept.length);
  for (const place of owner) areas[place] += 1;

  const idOf = new Uint16Array(2 * kept.length);
  const segments = [];
  const stuff = new Map();
  kept.forEach(({ label, score }, i) => {
    const share = (areas[i] + areas[i + kept.length]) / Math.max(covered[i], 1);
    if (!areas[i] || share < thresholds.iou_thr) return;
    let segment = isThing[label] ? undefined : stuff.get(label);
    if (!segment) {
      segment = { id: segments.length + 1, label, isthing: isThing[label], score, area: 0 };
      segments.push(segment);
      if (!isThing[label]) stuff.set(label, segment);
    }
    segment.score = Math.max(segment.score, score);
    segment.area += areas[i];
    idOf[i] = segment.id;
  });
  const map = owner.map((place) => idOf[place]);
  const boxes = boxesOfIds(map, resize.size, segments.length);
  segments.forEach((segment, i) => Object.assign(segment, { bbox: boxes[i] }));
  return { map, segments };
}
