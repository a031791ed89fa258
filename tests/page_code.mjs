// Runs the page's JavaScript on cases of a folder: node page_code.mjs ASSETS_JS FOLDER.
// FOLDER/cases.json lists cases; arrays are files of raw numbers beside it.
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [scripts, folder] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${scripts}/${name}.js`));
const raw = (name) => {
  const content = readFileSync(`${folder}/${name}`);
  return content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
};
const [
  { resizeImage },
  { predict },
  { pattern },
  { compressed, decodeRuns, encodeRange },
  { readHeader },
] = await Promise.all(
  ['resize_image', 'predictor', 'self_check', 'run_length', 'image_header'].map(load),
);
const { dataFile, mapFile } = await load('files');
const { explained } = await load('session');

const answers = {
  resize({ name, source, target }) {
    const [height, width, channels] = source;
    const image = { data: new Uint8Array(raw(name)), width, height, channels };
    const found = resizeImage(image, target[1], target[0]);
    writeFileSync(`${folder}/${name}.out`, found.data);
    return [found.height, found.width, found.channels];
  },
  async predict({ name, height, width, tasks, model, options, Q }) {
    const image = { data: new Uint8ClampedArray(raw(`${name}.rgba`)), width, height, channels: 4 };
    const asked = {};
    const run = async (tensor, padded, words) => {
      Object.assign(asked, { padded, words });
      writeFileSync(`${folder}/${name}.tensor`, tensor);
      const [classes, masks] = ['classes', 'masks'].map(
        (kind) => new Float32Array(raw(`${name}.${kind}`)),
      );
      return { classes, masks, Q };
    };
    const found = await predict(image, tasks, model, options, run);
    for (const task of ['panoptic', 'semantic']) {
      if (found[task]) writeFileSync(`${folder}/${name}.${task}`, found[task].map);
    }
    const prediction = { width, height, ...found };
    const files = {};
    for (const task of tasks) {
      const names = { name: 'image', fileName: 'image.png', minScore: 0 };
      files[task] = dataFile(prediction, task, model, names);
      const png = await mapFile(prediction, task, model);
      if (png)
        writeFileSync(`${folder}/${name}.${task}.png`, new Uint8Array(await png.arrayBuffer()));
    }
    return {
      asked,
      files,
      segments: found.panoptic?.segments,
      instances: found.instance?.instances.map(({ mask, ...rest }) => ({
        ...rest,
        counts: [...mask.counts],
      })),
    };
  },
  pattern({ height, width }) {
    return [...pattern(height, width)];
  },
  codes({ masks }) {
    return masks.map((mask) => {
      const counts = encodeRange(Uint8Array.from(mask), 0, mask.length);
      return { counts: [...counts], text: compressed(counts) };
    });
  },
  runs({ runs, count }) {
    return [...(decodeRuns(runs, count) ?? [])];
  },
  explained({ messages }) {
    return messages.map((message) => explained(new Error(message)).message);
  },
  headers({ names }) {
    return names.map((name) => readHeader(new Uint8Array(raw(name))));
  },
};

const found = [];
for (const { kind, ...rest } of JSON.parse(readFileSync(`${folder}/cases.json`, 'utf8'))) {
  found.push(await answers[kind](rest));
}
writeFileSync(`${folder}/answers.json`, JSON.stringify(found));
