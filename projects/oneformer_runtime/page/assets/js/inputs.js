/** The ways in which an image comes: a file, a drop, the clipboard, an example. */
import { Problem } from './problem.js';

const imageOf = (items) => [...items].find(({ type }) => type.startsWith('image/'));

function takeDrops(root, take, fail) {
  const marks = [
    ['dragenter', true],
    ['dragover', true],
    ['dragleave', false],
    ['drop', false],
  ];
  for (const [event, over] of marks) {
    document.addEventListener(event, (drag) => {
      drag.preventDefault(); // a browser would leave the page and show the file
      root.classList.toggle('over', over);
    });
  }
  document.addEventListener('drop', ({ dataTransfer }) => {
    const files = [...(dataTransfer?.files ?? [])];
    const file = imageOf(files) ?? files[0];
    if (file) {
      take(file, file.name);
    } else {
      fail(new Problem('There is no file in what was dropped.', 'Drop an image from a folder.'));
    }
  });
}

function takePastes(button, take, fail) {
  document.addEventListener('paste', ({ clipboardData }) => {
    const file = imageOf(clipboardData?.files ?? []);
    if (file) take(file, 'pasted.png');
    else fail(new Problem('There is no image in the clipboard.', 'Copy an image and paste again.'));
  });
  button.addEventListener('click', async () => {
    try {
      const items = await navigator.clipboard.read();
      const item = items.find(({ types }) => types.some((type) => type.startsWith('image/')));
      if (!item)
        throw new Problem('There is no image in the clipboard.', 'Copy an image and paste again.');
      take(await item.getType(item.types.find((type) => type.startsWith('image/'))), 'pasted.png');
    } catch (error) {
      if (error instanceof Problem) return fail(error);
      fail(new Problem('This browser does not let a button paste.', 'Press Ctrl + V or Cmd + V.'));
    }
  });
}

async function listExamples(root, base, take, fail) {
  const response = await fetch(new URL('examples/examples.json', base)).catch(() => null);
  const examples = response?.ok ? await response.json() : [];
  for (const { file, label } of examples) {
    const url = new URL(`examples/${file}`, base);
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    const image = Object.assign(document.createElement('img'), { src: url.href, alt: label });
    button.append(image);
    button.addEventListener('click', async () => {
      try {
        const content = await fetch(url);
        if (!content.ok) throw new Error(`status ${content.status}`);
        await take(await content.blob(), file);
      } catch (error) {
        if (error instanceof Problem) return fail(error);
        fail(new Problem(`The example ${file} could not be loaded.`, 'Reload the page.'));
      }
    });
    root.append(button);
  }
  root.hidden = !examples.length;
}

/**
 * Listen to all ways in which an image may come.
 *
 * @param {Function} find Gets an element by its id.
 * @param {URL} base The folder of the page.
 * @param {Function} take `take(blob, name)`, called with each image.
 * @param {Function} fail Called with a Problem.
 */
export function listen(find, base, take, fail) {
  const field = find('file');
  field.addEventListener('change', () => {
    const [file] = field.files;
    if (file) take(file, file.name);
    field.value = ''; // the same file may be chosen again
  });
  takeDrops(find('viewer'), take, fail);
  takePastes(find('paste'), take, fail);
  return listExamples(find('examples'), base, take, fail);
}
