// "Try it": the model runs here in the browser at every stroke.

import { get } from './api.js';
import { Answer } from './answer.js';
import { greyPixels, Pad } from './draw.js';
import { epochSlider } from './epochs.js';
import { Insides } from './insides.js';
import { make, Sheet } from './sheet.js';
import { loadNetwork } from './weights.js';

const SAMPLES = 20;
const query = (selector) => document.querySelector(selector);
const root = query('#try');
const message = query('#message');
const threshold = query('#threshold');
const seen = new Sheet({ label: 'The image that the model sees, 28 by 28 pixels', height: 28, width: 28, largest: 5, palette: 'digit' });
const input = new Float32Array(784);
/** @type {Map<string, {answer: Answer, insides: Insides, network: object}>} by the name of the choice: `model` or `with` */
const models = new Map();
let isDue = false;
let loading = 0; // models that are being loaded

const pad = new Pad(query('#pad'), { onChange: schedule, announce: (text) => { query('#place').textContent = text; } });
query('#seen').append(seen.element);

/** Runs the models before the next frame, once, however many points came. */
function schedule() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    run();
  });
}

function run() {
  const started = performance.now();
  pad.seen().forEach((value, place) => { input[place] = value / 255; });
  seen.paint(input, 1);
  const options = { threshold: Number(threshold.value), isBlank: pad.isBlank || !input.some(Boolean) };
  for (const { network, answer, insides } of models.values()) {
    const trace = network.forward(input);
    answer.show(trace, network.contributions(), options);
    insides.show(trace);
  }
  query('#threshold-value').textContent = options.threshold ? `${(100 * options.threshold).toFixed(0)} %` : 'off';
  const took = performance.now() - started;
  query('#took').textContent = `${took.toFixed(1)} ms in this browser`;
  root.dataset.took = took.toFixed(2);
}

/** Loads the model of a choice and shows it; an empty choice shows none. */
async function choose(select) {
  const choice = select.name;
  models.get(choice)?.answer.close();
  models.get(choice)?.insides.close();
  models.delete(choice);
  const places = root.querySelectorAll(`[data-of="${choice}"]`);
  for (const place of places) {
    place.hidden = !select.value;
    place.replaceChildren();
  }
  if (!select.value) return;
  const name = select.selectedOptions[0].text.trim();
  loading += 1;
  root.setAttribute('aria-busy', 'true');
  try {
    const reference = select.value;
    const [network, detail] = await Promise.all([loadNetwork(reference), get(`/v1/models/${reference}`)]);
    const answer = new Answer(name);
    const insides = new Insides(network, name, (area) => seen.mark(area));
    const [ofAnswer, ofInsides] = places;
    const slider = await epochSlider(detail.job_id, name, (weights) => {
      network.setWeights(weights);
      insides.showWeights();
      schedule();
    });
    if (select.value !== reference) return; // another was chosen meanwhile
    models.set(choice, { network, answer, insides });
    ofAnswer.append(make('h2', {}, make('a', { href: `/models/${detail.id}`, text: name })), ...(slider ? [slider] : []), answer.element);
    ofInsides.append(make('h2', { text: `Inside ${name}` }), insides.element);
    if (choice === 'model') await showChosen(detail);
    say('');
    schedule();
  } catch (error) {
    say(error.message);
  } finally {
    loading -= 1;
    if (!loading) root.removeAttribute('aria-busy');
  }
}

let dataset = '';
async function showChosen(detail) {
  threshold.value = detail.spec.threshold ?? 0;
  if (detail.dataset !== dataset) {
    dataset = detail.dataset;
    await showSamples();
  }
}

/** Shows test images to pick from, and has the first one read where nothing was drawn yet. */
async function showSamples() {
  const list = query('#samples');
  try {
    const { data } = await get(`/v1/datasets/${dataset}/samples?count=${SAMPLES}`);
    list.replaceChildren(...data.map((sample) => {
      const picture = make('img', { src: sample.image, alt: '', width: 28, height: 28 });
      const button = make('button', { type: 'button', title: `Test image ${sample.index}: ${sample.name}`, 'aria-label': `Test image ${sample.index}, ${sample.name}` }, picture);
      button.addEventListener('click', () => pad.showDigit(greyPixels(picture)));
      return make('li', {}, button);
    }));
    const first = list.querySelector('img');
    await first?.decode();
    if (first) pad.showExample(greyPixels(first));
  } catch (error) {
    list.replaceChildren(make('li', { class: 'quiet', text: error.message }));
  }
}

function say(text) {
  message.textContent = text;
  message.hidden = !text;
}

async function showFile(file) {
  try {
    await pad.showFile(file);
    say('');
  } catch (error) {
    say(error.message);
  }
}

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((candidate) => candidate.startsWith('image/'));
      if (type) return await showFile(await item.getType(type));
    }
    say('The clipboard has no image.');
  } catch {
    say('The browser does not let this page read the clipboard: press Ctrl+V instead.');
  }
  return undefined;
}

function showFirstImage(event) {
  const file = [...(event.clipboardData ?? event.dataTransfer).files].find(({ type }) => type.startsWith('image/'));
  if (!file) return;
  event.preventDefault();
  showFile(file);
}

query('#undo').addEventListener('click', () => pad.undo());
query('#clear').addEventListener('click', () => pad.clear());
query('#paste').addEventListener('click', paste);
query('#more').addEventListener('click', showSamples);
query('#upload').addEventListener('change', (event) => {
  if (event.target.files[0]) showFile(event.target.files[0]);
  event.target.value = '';
});
document.addEventListener('paste', showFirstImage);
query('#pad').addEventListener('dragover', (event) => event.preventDefault());
query('#pad').addEventListener('drop', showFirstImage);
threshold.addEventListener('input', schedule);

const selects = [query('select[name="model"]'), query('select[name="with"]')];
for (const select of selects) {
  select.addEventListener('change', () => {
    const chosen = selects.filter(({ value }) => value).map(({ name, value }) => [name, value]);
    history.replaceState(null, '', `/try?${new URLSearchParams(chosen)}`);
    choose(select);
  });
  choose(select);
}
