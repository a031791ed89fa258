/** Images as input of the graph: `oneformer_runtime.preparing`. */
import { resizeImage } from './resize_image.js';

/**
 * The size that an image is resized to, without padding.
 *
 * @param {number} height Of the image.
 * @param {number} width Of the image.
 * @param {object} settings `image` of model.json.
 * @returns {[number, number]} (height, width).
 */
export function inputSize(height, width, settings) {
  let scale = settings.short_edge / Math.min(height, width);
  scale = Math.min(scale, settings.max_size / Math.max(height, width));
  if (settings.size) {
    scale = Math.min(scale, settings.size[0] / height, settings.size[1] / width);
  }
  return [height, width].map((side) => Math.max(Math.trunc(side * scale + 0.5), 1));
}

/** (height, width) of an input after padding. */
export function paddedSize([height, width], settings) {
  if (settings.size) return settings.size;
  return [height, width].map((side) => Math.ceil(side / settings.divisor) * settings.divisor);
}

/** Settings for a smaller input: less memory and time, and less precise predictions. */
export function reduced(settings, share) {
  if (settings.size || share === 1) return settings; // a graph of fixed size has one size
  const side = (length) => Math.max(settings.divisor, Math.round(length * share));
  return { ...settings, short_edge: side(settings.short_edge), max_size: side(settings.max_size) };
}

/**
 * Resize and pad.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number, channels: number}} image RGBA.
 * @param {object} settings `image` of model.json.
 * @returns {{tensor: Float32Array, padded: number[], content: number[], size: number[]}} RGB of 0
 *   to 255, one plane after the other, of shape (3, ...padded); (height, width) with padding,
 *   without, and of the image.
 */
export function prepare(image, settings) {
  const content = inputSize(image.height, image.width, settings);
  const padded = paddedSize(content, settings);
  const resized = resizeImage(image, content[1], content[0]);
  const [height, width] = padded;
  const tensor = new Float32Array(3 * height * width);
  for (let channel = 0; channel < 3; channel += 1) {
    const plane = tensor.subarray(channel * height * width, (channel + 1) * height * width);
    plane.fill(settings.padding[channel]);
    for (let y = 0; y < content[0]; y += 1) {
      for (let x = 0; x < content[1]; x += 1) {
        plane[y * width + x] = resized.data[3 * (y * content[1] + x) + channel];
      }
    }
  }
  return { tensor, padded, content, size: [image.height, image.width] };
}
