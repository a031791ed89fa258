/** The page: what is chosen, what is predicted, what is shown. */
import { Camera } from './camera.js';
import { addChoice, offerViews } from './choices.js';
import { ClassList } from './class_list.js';
import { decodeImage } from './decode_image.js';
import { listenToDownloads } from './downloads.js';
import { listen } from './inputs.js';
import { Problem, textOf } from './problem.js';
import { regionsOf } from './regions.js';
import { ServerBackend } from './server_backend.js';
import { Viewer } from './viewer.js';
import { WasmBackend } from './wasm_backend.js';

const BASE = new URL('..', import.meta.url);
const LEAST_SCORE = 0.1; // of the slider
const find = (id) => document.getElementById(id);
const status = (text) => {
  find('status').textContent = text;
};

const state = {
  backend: null,
  model: null,
  image: null, // canvas, name, notes
  prediction: null,
  view: null, // a task, or 'image'
  shown: null, // what `regionsOf` gives
  waiting: false, // for a prediction of another image than the one that is computed
  busy: false,
};

function showProblem(error) {
  const problem =
    error instanceof Problem
      ? error
      : new Problem(`Something failed (${textOf(error)}).`, 'Reload the page.');
  find('problem-text').textContent = problem.message;
  find('problem').hidden = false;
  status('');
}

async function guard(action) {
  try {
    return await action();
  } catch (error) {
    showProblem(error);
    return undefined;
  }
}

const viewer = new Viewer(find, (region) => classes.mark(region));
const classes = new ClassList(find('classes'), {
  onSwitch: () => paint(),
  onRegion: (region) => viewer.markFromList(region),
});

// --- starting

const STAGES = {
  session: 'The network is being prepared …',
  check: 'The numbers of this browser are being checked …',
};

function tellStage(stage, { loaded, total } = {}) {
  const bar = find('progress');
  bar.hidden = stage === 'ready';
  if (stage === 'ready' && state.busy) status('Predicting …');
  if (stage === 'download') {
    [bar.max, bar.value] = [total, loaded];
    const text = `The model is loading, ${(total / 1e6).toFixed(0)} MB …`;
    if (find('status').textContent !== text) status(text);
  } else {
    bar.removeAttribute('value');
    if (STAGES[stage]) status(STAGES[stage]);
  }
}

async function readPage() {
  const response = await fetch(new URL('page.json', BASE)).catch(() => null);
  if (!response?.ok) {
    throw new Problem(
      'page.json is missing.',
      'Build the page by "oneformer page FOLDER --out DIR".',
    );
  }
  return response.json();
}

function showModel() {
  const { model, backend } = state;
  const count = `${model.classes.length} classes`;
  find('model').textContent = [model.name, count, model.licence].filter(Boolean).join(' · ');
  for (const task of model.tasks) {
    const box = addChoice(find('tasks'), 'checkbox', task, task);
    box.checked = model.default_tasks.includes(task);
    box.addEventListener('change', updatePredict);
  }
  find('size-row').hidden = !model.sizes;
  find('privacy').textContent = backend.local
    ? 'Images stay on this device: the page computes here and sends nothing.'
    : 'Images are sent to the server of this page, and to no other.';
}

async function start() {
  const page = await readPage();
  const server = page.backend === 'server';
  state.backend = server ? new ServerBackend(page, BASE) : new WasmBackend(page, BASE, tellStage);
  state.model = await state.backend.start();
  showModel();
  const { threads } = state.backend;
  find('progress').hidden = true;
  status(threads ? `Ready, on ${threads} ${threads > 1 ? 'threads' : 'thread'}.` : 'Ready.');
  updatePredict();
  if (state.image) predict();
}

// --- an image

let taken = 0;

async function take(blob, name) {
  find('problem').hidden = true;
  taken += 1;
  const own = taken;
  await guard(async () => {
    const { canvas, notes } = await decodeImage(blob, name);
    if (own === taken) showImage(canvas, name, notes); // else another has come meanwhile
  });
}

function showImage(canvas, name, notes = []) {
  state.image = { canvas, name, notes };
  state.prediction = null;
  viewer.showImage(canvas, name);
  showNotes(notes);
  for (const id of ['views', 'result']) find(id).hidden = true;
  updatePredict();
  predict();
}

function showNotes(notes) {
  const items = notes.map((text) =>
    Object.assign(document.createElement('li'), { textContent: text }),
  );
  find('notes').replaceChildren(...items);
  find('notes').hidden = !notes.length;
}

// --- a prediction

const chosenTasks = () =>
  [...find('tasks').querySelectorAll('input:checked')].map(({ value }) => value);

function updatePredict() {
  find('predict').disabled = !state.model || !state.image || !chosenTasks().length;
}

async function predict() {
  if (!state.model || !state.image) return;
  if (!chosenTasks().length) {
    status('Choose at least one task.');
    return;
  }
  state.waiting = true;
  if (state.busy) return; // it follows
  state.busy = true;
  find('cancel').hidden = false;
  find('problem').hidden = true;
  while (state.waiting) {
    state.waiting = false;
    await guard(predictOnce);
  }
  state.busy = false;
  if (document.activeElement === find('cancel')) find('predict').focus(); // it is not lost
  find('cancel').hidden = true;
}

async function predictOnce() {
  const { image, backend } = state;
  const tasks = chosenTasks();
  status('Predicting …');
  let prediction;
  try {
    prediction = await backend.predict(image.canvas, tasks, {
      scoreThr: LEAST_SCORE,
      share: Number(find('size').value),
    });
  } catch (error) {
    if (error.name === 'AbortError') {
      status('Cancelled.');
      return;
    }
    throw error;
  }
  if (state.image !== image) return; // another has come
  state.prediction = prediction;
  showPrediction(tasks);
}

function showPrediction(tasks) {
  const { prediction, image } = state;
  const before = tasks.includes(state.view) ? state.view : tasks[0];
  offerViews(find('views'), [...tasks, 'image'], before, showView);
  for (const id of ['views', 'result']) find(id).hidden = false;
  showNotes([...image.notes, ...(prediction.notes ?? [])]);
  const count = tasks.length === 1 ? '1 task' : `${tasks.length} tasks`;
  showView(before, `${count} from one pass in ${prediction.seconds.toFixed(1)} s: `);
}

const minScore = () => Number(find('score').value) / 100;

/** Regions that are listed: instances above the least score, and all others. */
function listedRegions() {
  const { shown, view } = state;
  return shown.regions.filter(({ score }) => view !== 'instance' || score >= minScore());
}

function showView(view, prefix = '') {
  const { prediction, model } = state;
  state.view = view;
  const isTask = view !== 'image';
  state.shown = isTask ? regionsOf(prediction, view, model) : null;
  find('result').hidden = !isTask;
  find('score-row').hidden = view !== 'instance';
  find('save-map').disabled = view === 'instance';
  find('save-map').title = view === 'instance' ? 'Masks may overlap: they are in the data.' : '';
  if (!isTask) {
    viewer.showRegions(null, () => false);
    return;
  }
  listRegions(prefix);
}

function listRegions(prefix = '') {
  const { prediction, view } = state;
  const regions = listedRegions();
  classes.show(regions, prediction.width * prediction.height);
  const words = { panoptic: 'segment', instance: 'instance', semantic: 'class' };
  const plural = regions.length === 1 ? '' : view === 'semantic' ? 'es' : 's';
  const names = [...new Set(regions.map(({ name }) => name))].join(', ');
  const summary = `${regions.length} ${words[view]}${plural}${names ? `: ${names}` : ''}`;
  status(`${prefix}${summary}.`);
  viewer.describe(`${state.image.name}, ${view}: ${summary}`);
  paint();
}

function paint() {
  const listed = new Set(state.shown ? listedRegions() : []);
  viewer.showRegions(state.shown, (region) => !listed.has(region) || classes.off.has(region.label));
}

// --- controls

function listenToControls() {
  const slider = (name, action) => {
    const show = () => {
      find(`${name}-value`).textContent = `${find(name).value} %`;
    };
    find(name).addEventListener('input', () => {
      show();
      action();
    });
    show();
  };
  const setOpacity = () => viewer.setOpacity(Number(find('opacity').value) / 100);
  slider('opacity', setOpacity);
  setOpacity();
  slider('score', () => listRegions());
  find('all').addEventListener('click', () => classes.setAll(true));
  find('none').addEventListener('click', () => classes.setAll(false));
  find('predict').addEventListener('click', () => predict());
  find('cancel').addEventListener('click', () => {
    state.waiting = false;
    state.backend.cancel();
  });
  find('problem-close').addEventListener('click', () => {
    find('problem').hidden = true;
    find('stage').focus();
  });
  listenToDownloads(
    find,
    () => ({
      prediction: state.prediction,
      task: state.view,
      model: state.model,
      fileName: state.image.name,
      minScore: minScore(),
      viewer,
    }),
    guard,
  );
}

listenToControls();
new Camera(
  find,
  (canvas) => {
    taken += 1;
    showImage(canvas, 'camera.png');
  },
  showProblem,
);
guard(() => listen(find, BASE, take, showProblem));
status('Loading …');
guard(start).then(() => {
  find('progress').hidden = true;
});
