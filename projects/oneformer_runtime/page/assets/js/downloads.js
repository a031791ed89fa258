/** The three downloads: what is seen, the map, the data. */
import { dataFile, mapFile } from './files.js';

function save(blob, name) {
  const link = Object.assign(document.createElement('a'), {
    href: URL.createObjectURL(blob),
    download: name,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const stemOf = (name) => name.replace(/\.[^.]*$/, '') || 'image';

/**
 * Let the buttons save what is shown.
 *
 * @param {Function} find Gets an element by its id.
 * @param {Function} current Gives `prediction`, `task`, `model`, `fileName`, `minScore`, `viewer`.
 * @param {Function} guard Runs a function and shows its Problem.
 */
export function listenToDownloads(find, current, guard) {
  find('save-picture').addEventListener('click', () =>
    guard(async () => {
      const { viewer, fileName, task } = current();
      const canvas = viewer.picture();
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
      save(blob, `${stemOf(fileName)}_${task}_picture.png`);
    }),
  );
  find('save-map').addEventListener('click', () =>
    guard(async () => {
      const { prediction, task, model, fileName } = current();
      save(await mapFile(prediction, task, model), `${stemOf(fileName)}_${task}.png`);
    }),
  );
  find('save-data').addEventListener('click', () =>
    guard(async () => {
      const { prediction, task, model, fileName, minScore } = current();
      const image = { name: stemOf(fileName), fileName, minScore };
      const text = JSON.stringify(dataFile(prediction, task, model, image));
      save(new Blob([text], { type: 'application/json' }), `${stemOf(fileName)}_${task}.json`);
    }),
  );
}
