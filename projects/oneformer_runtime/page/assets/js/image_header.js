/** Size and depth of an image from the first bytes of its file, before a browser decodes it. */

const text = (bytes, start, length) =>
  String.fromCharCode(...bytes.subarray(start, start + length));

function ofPng(view) {
  return {
    kind: 'PNG',
    width: view.getUint32(16),
    height: view.getUint32(20),
    bits: view.getUint8(24),
  };
}

function ofJpeg(view) {
  let place = 2;
  while (place + 9 < view.byteLength) {
    if (view.getUint8(place) !== 0xff) return null;
    const marker = view.getUint8(place + 1);
    if (marker === 0xff) {
      place += 1; // padding
    } else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const [height, width] = [view.getUint16(place + 5), view.getUint16(place + 7)];
      return { kind: 'JPEG', width, height, bits: view.getUint8(place + 4) };
    } else {
      place += 2 + view.getUint16(place + 2);
    }
  }
  return null;
}

function ofWebp(view, bytes) {
  const chunk = text(bytes, 12, 4);
  const three = (place) => view.getUint16(place, true) + (view.getUint8(place + 2) << 16);
  if (chunk === 'VP8X') return { width: 1 + three(24), height: 1 + three(27) };
  if (chunk === 'VP8L') {
    const packed = view.getUint32(21, true);
    return { width: 1 + (packed & 0x3fff), height: 1 + ((packed >>> 14) & 0x3fff) };
  }
  if (chunk === 'VP8 ') {
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  }
  return null;
}

/**
 * Read the header of a PNG, JPEG, WebP, GIF or BMP.
 *
 * @param {Uint8Array} bytes The beginning of a file; 1 MB is enough for all but odd JPEGs.
 * @returns {{kind: string, width: number, height: number, bits: number}|null} Size as stored, which
 *   an orientation may turn, and bits of a channel; null for other kinds and damaged headers.
 */
export function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (text(bytes, 1, 3) === 'PNG' && text(bytes, 12, 4) === 'IHDR') return ofPng(view);
    if (view.getUint16(0) === 0xffd8) return ofJpeg(view);
    let found = null;
    let kind = '';
    if (text(bytes, 0, 4) === 'RIFF' && text(bytes, 8, 4) === 'WEBP') {
      [kind, found] = ['WebP', ofWebp(view, bytes)];
    } else if (text(bytes, 0, 3) === 'GIF') {
      [kind, found] = ['GIF', { width: view.getUint16(6, true), height: view.getUint16(8, true) }];
    } else if (text(bytes, 0, 2) === 'BM') {
      const size = { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) };
      [kind, found] = ['BMP', size];
    }
    return found && { kind, bits: 8, ...found };
  } catch (error) {
    if (error instanceof RangeError) return null; // the bytes end before the header does
    throw error;
  }
}
