/** What a prediction shows: regions with a class, of each of the three tasks, in one form. */
import { paletteOf, shade } from './colours.js';
import { covers, forEachPiece } from './run_length.js';

/**
 * A region: a segment, an instance, or all pixels of a class.
 *
 * @typedef {{label: number, name: string, score: ?number, area: number, bbox: number[],
 *   colour: number[], number: number}} Region `number` is its value in the map.
 */

function ofMap(map, width, height, entries) {
  return {
    /** The region at a pixel, or undefined. */
    at: (x, y) => entries.get(map[y * width + x]),
    /** Write RGBA of the chosen regions to `data`. */
    paint(data, chosen) {
      const lookup = new Uint32Array(1 << 16);
      const words = new Uint32Array(data.buffer);
      for (const region of chosen) lookup[region.number] = packed(region.colour);
      for (let i = 0; i < map.length; i += 1) words[i] = lookup[map[i]];
      drawBorders(map, words, width, height);
    },
    /** Call `visit(x, y)` for each pixel of a region. */
    forEachPixel(region, visit) {
      const [left, top, w, h] = region.bbox;
      for (let y = top; y < top + h; y += 1) {
        for (let x = left; x < left + w; x += 1)
          if (map[y * width + x] === region.number) visit(x, y);
      }
    },
  };
}

/** Black borders between what is coloured and its neighbours. */
function drawBorders(map, words, width, height) {
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const i = y * width + x;
      const differs =
        (x + 1 < width && map[i] !== map[i + 1]) || (y + 1 < height && map[i] !== map[i + width]);
      if (differs && words[i]) words[i] = BORDER;
    }
  }
}

const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
const packed = ([r, g, b]) =>
  (little ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255) >>> 0;
const BORDER = packed([20, 20, 20]);

function ofMasks(found, width) {
  return {
    /** The best of the visible ones at a pixel, or undefined. */
    at: (x, y, hidden) => found.find((region) => !hidden(region) && covers(region.mask, x, y)),
    paint(data, chosen) {
      const words = new Uint32Array(data.buffer);
      for (const region of [...chosen].reverse()) {
        const colour = packed(region.colour);
        forEachPiece(region.mask, (x, top, bottom) => {
          for (let y = top; y < bottom; y += 1) words[y * width + x] = colour;
          words[top * width + x] = BORDER;
          words[(bottom - 1) * width + x] = BORDER;
        });
      }
    },
    forEachPixel({ mask }, visit) {
      forEachPiece(mask, (x, top, bottom) => {
        for (let y = top; y < bottom; y += 1) visit(x, y);
      });
    },
  };
}

/** Regions of classes, from a semantic map. */
function classRegions(map, width, height) {
  const found = new Map();
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const label = map[y * width + x];
      let region = found.get(label);
      if (!region) {
        region = { number: label, label, score: null, area: 0, corner: [x, y, x, y] };
        found.set(label, region);
      }
      region.area += 1;
      const { corner } = region;
      if (x < corner[0]) corner[0] = x;
      if (x > corner[2]) corner[2] = x;
      if (y > corner[3]) corner[3] = y;
    }
  }
  return [...found.values()]
    .sort((a, b) => b.area - a.area)
    .map(({ corner: [x0, y0, x1, y1], ...rest }) => ({
      ...rest,
      bbox: [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
    }));
}

function listed(prediction, task) {
  if (task === 'panoptic') {
    return prediction.panoptic.segments.map((segment) => ({ ...segment, number: segment.id }));
  }
  if (task === 'instance') {
    return prediction.instance.instances.map((found, i) => ({ ...found, number: i + 1 }));
  }
  return classRegions(prediction.semantic.map, prediction.width, prediction.height);
}

/**
 * The regions of a task.
 *
 * @param {object} prediction See the back ends.
 * @param {string} task One that was predicted.
 * @param {object} model Its model, for names and colours.
 * @returns {{regions: Region[], at: Function, paint: Function, forEachPixel: Function}}
 */
export function regionsOf(prediction, task, model) {
  const palette = paletteOf(model);
  const seen = new Map();
  const regions = listed(prediction, task).map((region) => {
    const before = seen.get(region.label) ?? 0;
    seen.set(region.label, before + 1);
    return {
      ...region,
      name: model.classes[region.label],
      colour: shade(palette[region.label], before),
    };
  });
  const { width, height } = prediction;
  if (task === 'instance') return { regions, ...ofMasks(regions, width) };
  const entries = new Map(regions.map((region) => [region.number, region]));
  return { regions, ...ofMap(prediction[task].map, width, height, entries) };
}

/** What is said of a region: name, score, and share of the image. */
export function captionOf(region, pixels) {
  const score = region.score === null ? '' : ` ${Math.floor(100 * region.score)} %`;
  const share = (100 * region.area) / pixels;
  const digits = share < 1 ? 2 : 0;
  return `${region.name}${score}, ${share.toFixed(digits)} % of the image`;
}
