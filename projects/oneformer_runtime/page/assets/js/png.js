/** PNG files of maps: a canvas would write its colours, but not grey, and always alpha. */
import { Problem } from './problem.js';

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(name, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let i = 0; i < 4; i += 1) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, checksum(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

async function deflate(bytes) {
  if (typeof CompressionStream === 'undefined') {
    throw new Problem('This browser cannot write such a file.', 'Update it, or use another.');
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Write a PNG.
 *
 * @param {ArrayLike<number>} map Values, row by row.
 * @param {number} width In pixels.
 * @param {number} height In pixels.
 * @param {'rgb'|'grey'|'grey16'} kind Value = R + 256 G + 65536 B, or grey of 8 or 16 bits.
 * @returns {Promise<Blob>}
 */
export async function writePng(map, width, height, kind) {
  const [depth, colour, bytesOf] = {
    rgb: [8, 2, (value) => [value & 255, (value >> 8) & 255, value >> 16]],
    grey: [8, 0, (value) => [value]],
    grey16: [16, 0, (value) => [value >> 8, value & 255]],
  }[kind];
  const size = bytesOf(0).length;
  const lines = new Uint8Array(height * (1 + width * size)); // each begins with its filter, none
  let place = 0;
  for (let i = 0; i < map.length; i += 1) {
    if (i % width === 0) place += 1;
    lines.set(bytesOf(map[i]), place);
    place += size;
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, colour], 8);
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const parts = [signature, chunk('IHDR', header), chunk('IDAT', await deflate(lines))];
  return new Blob([...parts, chunk('IEND', new Uint8Array(0))], { type: 'image/png' });
}
