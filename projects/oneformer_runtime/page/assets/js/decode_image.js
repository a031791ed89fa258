/** Image files to pixels. What is shown is what the model reads: there is no second decoder. */
import { readHeader } from './image_header.js';
import { Problem } from './problem.js';

/** Images with more pixels are made smaller: canvases and masks of more do not fit into phones. */
export const MAX_PIXELS = 12_000_000;
/** Longer sides are made shorter: not all browsers have longer canvases. */
export const MAX_SIDE = 16_384;
/** Images with more pixels are refused before they are decoded. */
export const MAX_DECODED = 120_000_000;

function checkHeader(header, name) {
  if (header && header.width * header.height > MAX_DECODED) {
    throw new Problem(
      `${name} has ${header.width} × ${header.height} pixels, too many for a browser.`,
      `Make it smaller, to at most ${MAX_DECODED / 1e6} megapixels, or use "oneformer predict".`,
    );
  }
}

async function toBitmap(blob, name) {
  // The colours of the file, as the training read them; turned as viewers turn it.
  const options = { imageOrientation: 'from-image', colorSpaceConversion: 'none' };
  try {
    return await createImageBitmap(blob, options).catch((error) => {
      if (!(error instanceof TypeError)) throw error;
      return createImageBitmap(blob); // of browsers that know neither option
    });
  } catch {
    throw new Problem(
      `${name} cannot be read as an image (${blob.type || 'unknown type'}, ${blob.size} bytes).`,
      'It is damaged, or of a kind that this browser does not know, as HEIC and TIFF: ' +
        'save it as JPEG, PNG or WebP.',
    );
  }
}

/** (width, height) of at most MAX_PIXELS and MAX_SIDE, in the same proportions. */
export function fittedSize(width, height) {
  const factor = Math.min(
    1,
    Math.sqrt(MAX_PIXELS / (width * height)),
    MAX_SIDE / Math.max(width, height),
  );
  return [width, height].map((side) => Math.max(1, Math.floor(side * factor)));
}

/** The share of pixels, 0 to 1, that are transparent, wholly or in part. */
function transparentShare(data) {
  let count = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) count += 1;
  return (4 * count) / data.length;
}

/**
 * Draw a decoded source on a canvas of its own, on white.
 *
 * @param {CanvasImageSource} source Its pixels.
 * @param {number} width Of the canvas.
 * @param {number} height Of the canvas.
 * @returns {{canvas: HTMLCanvasElement, transparent: number}}
 */
export function drawOnWhite(source, width, height) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) {
    throw new Problem(
      `This browser has no memory for an image of ${width} × ${height} pixels.`,
      'Close other pages, or make the image smaller.',
    );
  }
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, width, height);
  const transparent = transparentShare(context.getImageData(0, 0, width, height).data);
  context.globalCompositeOperation = 'destination-over';
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = 'source-over';
  return { canvas, transparent };
}

function notesOn(header, decoded, size, transparent) {
  const notes = [];
  const [width, height] = size;
  if (width !== decoded.width) {
    notes.push(
      `The image has ${decoded.width} × ${decoded.height} pixels. It is shown and predicted at ` +
        `${width} × ${height}.`,
    );
  }
  if (transparent) {
    const share = (100 * transparent).toFixed(1);
    notes.push(`${share} % of its pixels are transparent. They are shown and predicted on white.`);
  }
  if (header && header.bits > 8) {
    notes.push(
      `It has ${header.bits} bits per colour. The upper 8 are shown and predicted; if it looks ` +
        'dark, its values do not use all bits: save it with 8.',
    );
  }
  return notes;
}

/**
 * Decode an image file.
 *
 * @param {Blob} blob Content of the file.
 * @param {string} name Its name, for messages.
 * @returns {Promise<{canvas: HTMLCanvasElement, notes: string[]}>} The pixels, opaque and upright,
 *   of at most MAX_PIXELS; and what people should know about how it was read.
 * @throws {Problem} If it is empty, not an image, or too large.
 */
export async function decodeImage(blob, name) {
  if (!blob.size) throw new Problem(`${name} is empty.`, 'Choose another file.');
  const header = readHeader(new Uint8Array(await blob.slice(0, 1 << 20).arrayBuffer()));
  checkHeader(header, name);
  const bitmap = await toBitmap(blob, name);
  try {
    checkHeader(bitmap, name);
    const size = fittedSize(bitmap.width, bitmap.height);
    const { canvas, transparent } = drawOnWhite(bitmap, ...size);
    return { canvas, notes: notesOn(header, bitmap, size, transparent) };
  } finally {
    bitmap.close();
  }
}

/** RGBA of a canvas, Uint8ClampedArray of 4 x width x height. */
export function pixelsOf(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}
