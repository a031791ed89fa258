/** Contents of the files that are downloaded, in the formats of `oneformer predict`. */
import { paletteOf } from './colours.js';
import { writePng } from './png.js';
import { compressed } from './run_length.js';

const idOf = (model, label) => model.category_ids?.[label] ?? label;

function categoriesOf(model) {
  const things = new Set(model.thing_classes);
  const palette = paletteOf(model);
  return model.classes.map((name, label) => ({
    id: idOf(model, label),
    name,
    isthing: things.has(name) ? 1 : 0,
    color: palette[label],
  }));
}

/** The map of a task as PNG: ids of segments as COCO has them, or labels; null for instances. */
export function mapFile(prediction, task, model) {
  const { width, height } = prediction;
  if (task === 'panoptic') return writePng(prediction.panoptic.map, width, height, 'rgb');
  if (task === 'instance') return null;
  const kind = model.classes.length > 256 ? 'grey16' : 'grey';
  return writePng(prediction.semantic.map, width, height, kind);
}

/**
 * The data of a task.
 *
 * @param {object} prediction See the back ends.
 * @param {string} task One that was predicted.
 * @param {object} model Its model.
 * @param {{name: string, fileName: string, minScore: number}} image Name of the image without
 *   suffix and with it; instances that score less are left out.
 * @returns {object|object[]} Of panoptic a COCO panoptic JSON, of instance COCO results, of
 *   semantic the names and colours of the labels.
 */
export function dataFile(prediction, task, model, { name, fileName, minScore }) {
  const { width, height } = prediction;
  const file = `${name}_${task}.png`;
  if (task === 'instance') {
    const found = prediction.instance.instances.filter(({ score }) => score >= minScore);
    return found.map(({ label, score, bbox, mask }) => ({
      image_id: name,
      category_id: idOf(model, label),
      score,
      bbox,
      segmentation: { size: mask.size, counts: compressed(mask.counts) },
    }));
  }
  const images = [{ id: name, file_name: fileName, width, height }];
  if (task === 'semantic') return { images, file_name: file, categories: categoriesOf(model) };
  const segments = prediction.panoptic.segments.map(({ id, label, area, bbox, score }) => ({
    id,
    category_id: idOf(model, label),
    area,
    bbox,
    score,
    iscrowd: 0,
  }));
  const annotations = [{ image_id: name, file_name: file, segments_info: segments }];
  return { images, annotations, categories: categoriesOf(model) };
}
