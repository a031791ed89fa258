/** Run lengths: those of COCO's masks, column by column, and those of the server's maps. */

/**
 * Run lengths of a mask, column by column, the first being of zeros.
 *
 * @param {Uint8Array} columns The mask, column by column.
 * @param {number} start All is zero before it,
 * @param {number} end and from here on.
 * @returns {Uint32Array} They add up to the number of pixels.
 */
export function encodeRange(columns, start, end) {
  const counts = [];
  let [value, begin] = [0, 0];
  for (let i = start; i < end; i += 1) {
    if (columns[i] !== value) {
      counts.push(i - begin);
      [value, begin] = [columns[i], i];
    }
  }
  if (value && end < columns.length) {
    counts.push(end - begin);
    begin = end;
  }
  if (begin < columns.length) counts.push(columns.length - begin);
  return Uint32Array.from(counts);
}

/** Call `visit(x, top, bottom)` for each piece of a column of a mask; bottom is exclusive. */
export function forEachPiece({ size: [height], counts }, visit) {
  let place = 0;
  counts.forEach((count, i) => {
    for (let start = place; i % 2 && start < place + count;) {
      const x = Math.trunc(start / height);
      const end = Math.min(place + count, (x + 1) * height);
      visit(x, start - x * height, end - x * height);
      start = end;
    }
    place += count;
  });
}

/** Whether a mask has the pixel (x, y). */
export function covers({ size: [height], counts }, x, y) {
  let left = x * height + y;
  for (let i = 0; i < counts.length; i += 1) {
    if (left < counts[i]) return i % 2 === 1;
    left -= counts[i];
  }
  return false;
}

/**
 * COCO's compressed text of run lengths: five bits a character, the lowest first, with a bit that
 * tells whether more follow; from the fourth run on the difference to the run before the last.
 */
export function compressed(counts) {
  let text = '';
  counts.forEach((count, i) => {
    let value = i > 2 ? count - counts[i - 2] : count;
    for (let more = true; more;) {
      const bits = value & 31;
      value >>= 5;
      more = bits & 16 ? value !== -1 : value !== 0;
      text += String.fromCharCode((more ? bits | 32 : bits) + 48);
    }
  });
  return text;
}

/**
 * A map from runs [value, length, value, length, ...], row by row.
 *
 * @param {number[]} runs As the server sends them.
 * @param {number} count Pixels of the map.
 * @returns {Uint16Array|null} null if they do not fill it.
 */
export function decodeRuns(runs, count) {
  const map = new Uint16Array(count);
  let place = 0;
  for (let i = 0; i + 1 < runs.length; i += 2) {
    map.fill(runs[i], place, place + runs[i + 1]);
    place += runs[i + 1];
  }
  return place === count ? map : null;
}
