/**
 * Two bilinear steps from mask logits to the image, one block of pixels at a time:
 * `oneformer_runtime.mask_resize`.
 *
 * To the padded input, cropped, to the image. A pixel of the result depends on up to three cells of
 * the grid along an axis.
 */

const ROWS = 32;
const COLUMNS = 128;
const TAPS = 3;
const { fround } = Math;

/** Neighbours and weights of bilinear interpolation from `old` to `size`, in single precision. */
function interpolation(old, size) {
  const scale = fround(old / size);
  const left = new Int32Array(size);
  const right = new Int32Array(size);
  const share = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    const place = Math.max(fround(scale * (i + 0.5) - 0.5), 0);
    left[i] = Math.min(Math.trunc(place), old - 1);
    right[i] = Math.min(left[i] + 1, old - 1);
    share[i] = Math.min(Math.max(fround(place - left[i]), 0), 1);
  }
  return { left, right, share };
}

/**
 * The weights of the two steps along an axis.
 *
 * @param {number} grid Cells of the logits.
 * @param {number} input Length of the padded input.
 * @param {number} content Length of the input without padding.
 * @param {number} size Length of the prediction.
 * @returns {{first: Int32Array, weights: Float32Array}} For pixel i the cells from `first[i]`, and
 *   their TAPS weights; those of cells behind the grid are 0.
 */
export function axisTaps(grid, input, content, size) {
  const inner = interpolation(grid, input);
  const outer = interpolation(content, size);
  const first = new Int32Array(size);
  const weights = new Float32Array(size * TAPS);
  const weightOf = (pixel, cell) => {
    const fromLeft = inner.left[pixel] === cell ? fround(1 - inner.share[pixel]) : 0;
    return fround(fromLeft + (inner.right[pixel] === cell ? inner.share[pixel] : 0));
  };
  for (let i = 0; i < size; i += 1) {
    const [left, right, share] = [outer.left[i], outer.right[i], outer.share[i]];
    first[i] = Math.max(0, Math.min(inner.left[left], grid - TAPS));
    for (let tap = 0; tap < TAPS; tap += 1) {
      const cell = first[i] + tap;
      const one = fround(weightOf(left, cell) * fround(1 - share));
      weights[i * TAPS + tap] = fround(one + fround(weightOf(right, cell) * share));
    }
  }
  return { first, weights };
}

/** A block of the prediction, and the part of the grid that it depends on. */
class Block {
  constructor(resize, top, left) {
    [this.resize, this.top, this.left] = [resize, top, left];
    const [height, width] = resize.size;
    this.rows = Math.min(ROWS, height - top);
    this.columns = Math.min(COLUMNS, width - left);
    this.pixels = this.rows * this.columns;
    const [down, across] = resize.axes;
    // a weight of 0 needs no cell, so bounds are tight
    this.cells = [...needed(down, top, this.rows), ...needed(across, left, this.columns)];
  }

  /** Least and greatest logit below the block, of the mask that begins at `start`. */
  bounds(masks, start) {
    const [y0, y1, x0, x1] = this.cells;
    const width = this.resize.grid[1];
    let [low, high] = [Infinity, -Infinity];
    for (let y = y0; y < y1; y += 1) {
      for (let place = start + y * width + x0; place < start + y * width + x1; place += 1) {
        const value = masks[place];
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return [low, high];
  }

  /** Write the logits of a mask at the pixels of the block, row by row, to `target` from `out`. */
  interpolate(masks, start, target, out) {
    const [gridHeight, gridWidth] = this.resize.grid;
    const [down, across] = this.resize.axes;
    const [, , x0, x1] = this.cells;
    const line = this.resize.line;
    for (let y = 0; y < this.rows; y += 1) {
      const row = this.top + y;
      const above = start + down.first[row] * gridWidth;
      const [a, b, c] = down.weights.subarray(row * TAPS, row * TAPS + TAPS);
      // short grids have fewer than three rows: the weights behind are 0
      const second = gridHeight > 1 ? above + gridWidth : above;
      const third = gridHeight > 2 ? above + 2 * gridWidth : above;
      for (let x = x0; x < x1; x += 1) {
        line[x] = a * masks[above + x] + b * masks[second + x] + c * masks[third + x];
      }
      let place = out + y * this.columns;
      for (let x = this.left; x < this.left + this.columns; x += 1) {
        const cell = across.first[x];
        const tap = x * TAPS;
        target[place] =
          across.weights[tap] * line[cell] +
          across.weights[tap + 1] * line[cell + 1] +
          across.weights[tap + 2] * line[cell + 2];
        place += 1;
      }
    }
  }
}

/** First and last cell, exclusive, that pixels of an axis depend on. */
function needed({ first, weights }, start, count) {
  let [low, high] = [Infinity, 0];
  for (let i = start; i < start + count; i += 1) {
    for (let tap = 0; tap < TAPS; tap += 1) {
      if (weights[i * TAPS + tap]) {
        low = Math.min(low, first[i] + tap);
        high = Math.max(high, first[i] + tap + 1);
      }
    }
  }
  return [low, high];
}

/** Brings mask logits to the size of the image. */
export class MaskResize {
  /**
   * @param {number[]} grid (height, width) of the logits.
   * @param {number[]} input (height, width) of the padded input.
   * @param {number[]} content (height, width) of the input without padding.
   * @param {number[]} size (height, width) of the prediction.
   */
  constructor(grid, input, content, size) {
    [this.grid, this.size] = [grid, size];
    this.axes = [0, 1].map((axis) => axisTaps(grid[axis], input[axis], content[axis], size[axis]));
    this.line = new Float64Array(grid[1] + TAPS); // zeros behind the grid
  }

  /** Pixels of the largest block. */
  static get blockPixels() {
    return ROWS * COLUMNS;
  }

  /** The blocks of the prediction, row by row. */
  *blocks() {
    for (let top = 0; top < this.size[0]; top += ROWS) {
      for (let left = 0; left < this.size[1]; left += COLUMNS) yield new Block(this, top, left);
    }
  }
}
