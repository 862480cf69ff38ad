// The tab with the evaluation: counted again for any threshold, and the images of each cell of the matrix.

import { live } from './live.js';
import { refresh } from './parts.js';
import { NO_DIGIT, choose, load, recount } from './predictions.js';
import { Shots } from './shots.js';

const MAX_SHADE = 9;
const NOTHING = '–';
const shade = (share) => Math.ceil(MAX_SHADE * Math.sqrt(share));
const number = (count) => count.toLocaleString('en-US');
const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(2)} %` : NOTHING);

/** @param {HTMLElement} root */
async function start(root) {
  const names = JSON.parse(root.dataset.names);
  const view = { names, dataset: root.dataset.dataset, threshold: Number(root.dataset.threshold), predictions: null };
  const cells = new Map([...root.querySelectorAll('[data-cell]')].map((cell) => [cell.dataset.cell, cell]));
  if (cells.size) moveByArrows(cells, names.length);
  if (root.dataset.live === undefined) return;
  try {
    view.predictions = await load(root.dataset.job, names.length);
  } catch {
    return; // the page shows what the server counted
  }
  const shots = new Shots(root.querySelector('#shots-list'), root.querySelector('#more'), view);
  const update = () => {
    const counts = recount(view.predictions, view.threshold);
    showMatrix(cells, counts, names);
    showClasses(root, counts, names.length);
    showTotals(root, counts, names.length);
  };
  useThreshold(root, view, () => (update(), shots.mark()), () => showChosen(root, shots, view));
  openCells(root, cells, view);
  const which = root.querySelector('#which');
  if (!which) return; // the address names a cell, whose images are shown
  shots.onShow = (shown, all) => {
    root.querySelector('#shots-count').textContent = `${number(shown)} of ${number(all)} images`;
  };
  which.addEventListener('change', () => showChosen(root, shots, view));
  which.parentElement.classList.remove('unready');
  showChosen(root, shots, view);
}

function useThreshold(root, view, onInput, onChange) {
  const slider = root.querySelector('#threshold');
  const reset = root.querySelector('#threshold-reset');
  const evaluated = view.threshold;
  const set = (threshold) => {
    view.threshold = threshold;
    root.querySelector('#threshold-value').textContent = threshold.toFixed(2);
    reset.disabled = threshold === evaluated;
    onInput();
  };
  slider.addEventListener('input', () => set(Number(slider.value)));
  slider.addEventListener('change', onChange);
  reset.addEventListener('click', () => {
    slider.value = evaluated;
    set(evaluated); // exactly, also if it is between two steps of the slider
    onChange();
    slider.focus();
  });
  root.querySelector('.recount').classList.remove('unready');
}

function showChosen(root, shots, view) {
  const which = root.querySelector('#which')?.value;
  if (which) shots.show(choose(view.predictions, which, view.threshold));
}

function showMatrix(cells, { matrix, rejected, totals }, names) {
  const size = names.length;
  const share = (count, label) => (totals[label] ? count / totals[label] : 0);
  let most = 0;
  matrix.forEach((count, place) => {
    const label = Math.floor(place / size);
    if (place % size !== label) most = Math.max(most, share(count, label));
  });
  for (let label = 0; label < size; label += 1) {
    for (let predicted = NO_DIGIT; predicted < size; predicted += 1) {
      const isNone = predicted === NO_DIGIT;
      const count = isNone ? rejected[label] : matrix[label * size + predicted];
      const part = share(count, label);
      const cell = cells.get(`${label}-${predicted}`);
      cell.querySelector('.count').textContent = number(count);
      cell.querySelector('.part').textContent = totals[label] ? (100 * part).toFixed(1) : NOTHING;
      cell.firstElementChild.setAttribute('aria-label', `${titleOf(names, label, predicted)}: ${count}`);
      cell.dataset.shade = isNone ? 0 : shade(part);
      cell.dataset.errorShade = isNone || predicted === label || !most ? 0 : shade(part / most);
    }
  }
}

function showClasses(root, { matrix, rejected, totals }, size) {
  for (let label = 0; label < size; label += 1) {
    const row = root.querySelector(`[data-label="${label}"]`);
    const correct = matrix[label * size + label];
    const wrong = totals[label] - correct - rejected[label];
    let predicted = 0;
    for (let place = label; place < matrix.length; place += size) predicted += matrix[place];
    const f1 = totals[label] && predicted ? ((2 * correct) / (totals[label] + predicted)).toFixed(4) : NOTHING;
    const values = {
      accuracy: percent(correct, totals[label]), correct: number(correct), wrong: number(wrong),
      rejected: number(rejected[label]), precision: percent(correct, predicted), f1,
    };
    for (const [name, text] of Object.entries(values)) row.querySelector(`[data-value="${name}"]`).textContent = text;
    const [good, bad] = ['.correct', '.wrong'].map((name) => row.querySelector(`rect${name}`));
    if (!good) continue;
    good.setAttribute('width', (100 * correct) / totals[label]);
    bad.setAttribute('x', (100 * correct) / totals[label]);
    bad.setAttribute('width', (100 * wrong) / totals[label]);
  }
}

function showTotals(root, { matrix, rejected, totals }, size) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const all = sum(totals);
  const correct = sum(matrix.filter((_, place) => place % (size + 1) === 0));
  const facts = { accuracy: percent(correct, all), wrong: number(all - correct - sum(rejected)), rejected: number(sum(rejected)) };
  for (const [name, text] of Object.entries(facts)) root.querySelector(`[data-fact="${name}"]`).textContent = text;
}

const titleOf = (names, label, predicted) => (predicted === NO_DIGIT ? `${names[label]}, no digit found` : `${names[label]} predicted as ${names[predicted]}`);

function openCells(root, cells, view) {
  const dialog = root.querySelector('#cell-images');
  const shots = new Shots(dialog.querySelector('.shots'), dialog.querySelector('.more'), view, 3);
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close()); // on its backdrop
  for (const [key, cell] of cells) {
    cell.addEventListener('click', (event) => {
      event.preventDefault();
      const [label, predicted] = [Number(key.split('-', 1)[0]), Number(key.slice(key.indexOf('-') + 1))];
      const images = choose(view.predictions, { label, predicted }, view.threshold);
      const noun = images.length === 1 ? 'image' : 'images';
      dialog.querySelector('h2').textContent = `${titleOf(view.names, label, predicted)}: ${number(images.length)} ${noun}`;
      shots.show(images);
      dialog.showModal();
    });
  }
}

/** One cell is reached by Tab, the others by the arrow keys. */
function moveByArrows(cells, size) {
  const link = (label, predicted) => cells.get(`${label}-${predicted}`)?.firstElementChild;
  const places = new Map();
  for (let label = 0; label < size; label += 1) {
    for (let column = 0; column <= size; column += 1) {
      const cell = link(label, column === size ? NO_DIGIT : column);
      places.set(cell, [label, column]);
      cell.tabIndex = label || column ? -1 : 0;
    }
  }
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  document.querySelector('#matrix').addEventListener('keydown', (event) => {
    const step = steps[event.key];
    const place = places.get(event.target);
    if (!step || !place) return;
    event.preventDefault();
    const [row, column] = [place[0] + step[0], place[1] + step[1]];
    const next = link(row, column === size ? NO_DIGIT : column);
    if (!next || column < 0) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

const begin = () => {
  const root = document.querySelector('#evaluation-view:not([data-static])');
  if (!root) return;
  root.dataset.static = ''; // from here on this module, not the server, changes it
  start(root);
};

begin();
live.subscribe(async (events) => {
  if (events.some((event) => event.type === 'end') && (await refresh())) begin(); // the results are there now
});
