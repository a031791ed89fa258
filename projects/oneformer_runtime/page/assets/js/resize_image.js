/**
 * Pillow's antialiased bilinear filter on 8 bits, to the last digit: `oneformer_runtime.resizing`.
 *
 * It works in whole numbers: weights of 22 bits behind the point, one axis after the other, each
 * rounded to 8 bits.
 */

const BITS = 22;
const HALF = 1 << (BITS - 1);

/**
 * The weights of an axis.
 *
 * @param {number} old Length of the axis.
 * @param {number} size Its new length.
 * @returns {{first: Int32Array, count: Int32Array, weights: Int32Array, taps: number}} For pixel i
 *   of the result `count[i]` pixels from `first[i]`, and their weights from `i * taps`.
 */
export function axisWeights(old, size) {
  const scale = old / size;
  const support = Math.max(scale, 1);
  const taps = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(size);
  const count = new Int32Array(size);
  const weights = new Int32Array(size * taps);
  const own = new Float64Array(taps);
  for (let i = 0; i < size; i += 1) {
    const center = (i + 0.5) * scale;
    first[i] = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), old);
    count[i] = Math.min(last - first[i], taps);
    let total = 0;
    for (let tap = 0; tap < count[i]; tap += 1) {
      const weight = 1 - Math.abs((first[i] + tap - center + 0.5) * (1 / support));
      own[tap] = weight > 0 ? weight : 0;
      total += own[tap];
    }
    for (let tap = 0; tap < count[i]; tap += 1) {
      weights[i * taps + tap] = Math.floor(0.5 + (own[tap] / total) * (1 << BITS));
    }
  }
  return { first, count, weights, taps };
}

/**
 * Change one axis.
 *
 * @param {Uint8Array} source Three channels, pixel after pixel.
 * @param {Uint8Array} target The result.
 * @param {object} axis Its `axisWeights`, `size` new length, `lines` lines across it, `from` and
 *   `to`: `step` and `line`, the distances in bytes of neighbours on it and of lines.
 */
function changeAxis(source, target, { weights: table, size, lines, from, to }) {
  const { first, count, weights, taps } = table;
  for (let line = 0; line < lines; line += 1) {
    for (let i = 0; i < size; i += 1) {
      let [red, green, blue] = [HALF, HALF, HALF];
      let place = line * from.line + first[i] * from.step;
      const end = i * taps + count[i];
      for (let tap = i * taps; tap < end; tap += 1) {
        const weight = weights[tap];
        red += weight * source[place];
        green += weight * source[place + 1];
        blue += weight * source[place + 2];
        place += from.step;
      }
      const out = line * to.line + i * to.step;
      target[out] = red >> BITS; // below 2^31: weights add up to 2^22
      target[out + 1] = green >> BITS;
      target[out + 2] = blue >> BITS;
    }
  }
}

function changeWidth(image, width) {
  const target = new Uint8Array(3 * width * image.height);
  changeAxis(image.data, target, {
    weights: axisWeights(image.width, width),
    size: width,
    lines: image.height,
    from: { step: image.channels, line: image.channels * image.width },
    to: { step: 3, line: 3 * width },
  });
  return { data: target, width, height: image.height, channels: 3 };
}

function changeHeight(image, height) {
  const target = new Uint8Array(3 * image.width * height);
  changeAxis(image.data, target, {
    weights: axisWeights(image.height, height),
    size: height,
    lines: image.width,
    from: { step: image.channels * image.width, line: image.channels },
    to: { step: 3 * image.width, line: 3 },
  });
  return { data: target, width: image.width, height, channels: 3 };
}

function withoutAlpha(image) {
  if (image.channels === 3) return image;
  const pixels = image.width * image.height;
  const data = new Uint8Array(3 * pixels);
  for (let i = 0; i < pixels; i += 1) {
    data[3 * i] = image.data[4 * i];
    data[3 * i + 1] = image.data[4 * i + 1];
    data[3 * i + 2] = image.data[4 * i + 2];
  }
  return { ...image, data, channels: 3 };
}

/**
 * Resize an image as `PIL.Image.resize` of Pillow 13 does by `BILINEAR`, the order of the axes
 * included.
 *
 * @param {object} image `data` of 8 bits, `width`, `height` and `channels`: RGB or RGBA, row by
 *   row; alpha is left out.
 * @param {number} width New width.
 * @param {number} height New height.
 * @returns {{data: Uint8Array, width: number, height: number, channels: 3}} RGB.
 */
export function resizeImage(image, width, height) {
  const lost = image.height - height;
  const steps = [
    (found) => (found.width === width ? found : changeWidth(found, width)),
    (found) => (found.height === height ? found : changeHeight(found, height)),
  ];
  if (lost > 0 && lost > 2 * (image.width - width)) steps.reverse();
  return withoutAlpha(steps.reduce((found, step) => step(found), image));
}
