/** Whether this browser computes what the builder of the page computed by onnxruntime. */
import { Problem } from './problem.js';

/** Share of the stored numbers that has to agree. A mask at its threshold may fall either way. */
const SHARE = 0.97;

/**
 * The input of the check, a drawn pattern: `oneformer_runtime.page.self_check.pattern`.
 *
 * @param {number} height Of the input.
 * @param {number} width Of the input.
 * @returns {Float32Array} Whole numbers of 0 to 255, of shape (3, height, width).
 */
export function pattern(height, width) {
  const tensor = new Float32Array(3 * height * width);
  let place = 0;
  for (let channel = 0; channel < 3; channel += 1) {
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const ramp = 2 * x * (channel + 1) + 2 * y * (3 - channel);
        const squares = ((x >> 4) + (y >> 4)) % 2 ? 90 : 0;
        tensor[place] = ((ramp & 127) + squares + 20 * channel) & 255;
        place += 1;
      }
    }
  }
  return tensor;
}

/** Share of the stored values that agree, and the greatest difference. */
export function compare(values, stored) {
  const most = stored.values.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  let [agreeing, difference] = [0, 0];
  stored.values.forEach((value, i) => {
    const own = Math.abs(values[i * stored.stride] - value);
    difference = Math.max(difference, own);
    if (own <= 1e-3 * (1 + most)) agreeing += 1; // false for NaN
  });
  return { share: agreeing / stored.values.length, difference };
}

/**
 * Run the check.
 *
 * @param {object} check Content of check.json.
 * @param {Function} run See `predict`.
 * @throws {Problem} If the numbers are others.
 */
export async function selfCheck(check, run) {
  const [height, width] = check.size;
  const outputs = await run(pattern(height, width), check.size, check.words);
  for (const name of ['classes', 'masks']) {
    const found = outputs[name];
    const { share, difference } = compare(found, check[name]);
    if (found.length !== check[name].length || share < SHARE) {
      throw new Problem(
        `This browser computes other numbers than onnxruntime did when the page was built ` +
          `(${name}: ${(100 * share).toFixed(0)} % agree, the greatest difference is ` +
          `${difference.toPrecision(2)}), so its predictions would be wrong.`,
        'Update the browser, or use another one or another device.',
      );
    }
  }
}
