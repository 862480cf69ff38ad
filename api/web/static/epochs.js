// A slider over the epochs whose weights a job has kept: the same digit, as the model saw it after each of them.

import { get } from './api.js';
import { make } from './sheet.js';

/**
 * Makes a slider over the epochs of the job that trained a model, if it has kept their weights.
 * @param {string} jobId
 * @param {string} name of the model
 * @param {(weights: ArrayBuffer) => void} onWeights is called with the weights after the chosen epoch
 * @returns {Promise<HTMLElement | null>} null if the job has kept none
 */
export async function epochSlider(jobId, name, onWeights) {
  const { epochs } = await get(`/v1/jobs/${jobId}/weights`);
  if (epochs.length < 2) return null;
  const input = make('input', { type: 'range', min: 0, max: epochs.length - 1, step: 1, value: epochs.length - 1, 'aria-label': `Epoch of ${name}` });
  const output = make('output', { class: 'num' });
  const kept = new Map(); // 24 kB each
  const show = async () => {
    const epoch = epochs[input.valueAsNumber];
    const text = `after epoch ${epoch + 1} of ${epochs.length}`;
    output.textContent = text;
    input.setAttribute('aria-valuetext', text);
    try {
      if (!kept.has(epoch)) kept.set(epoch, load(`/v1/jobs/${jobId}/weights/${epoch}`));
      const weights = await kept.get(epoch);
      if (epochs[input.valueAsNumber] === epoch) onWeights(weights); // the slider may have moved on
    } catch (error) {
      kept.delete(epoch);
      output.textContent = error.message;
    }
  };
  input.addEventListener('input', show);
  output.textContent = `after epoch ${epochs.at(-1) + 1} of ${epochs.length}`;
  return make('label', { class: 'epochs' }, 'Weights ', output, input);
}

async function load(address) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) throw new Error('These weights could not be loaded.');
  return response.arrayBuffer();
}
