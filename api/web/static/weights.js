// A model's weights as pictures: the kernels of each layer. Of a model's page, a job's, and of "Try it".

import { Network } from './network.js';
import { largest, make, Sheet } from './sheet.js';

/**
 * Loads a model's network.
 * @param {string} reference its id or alias
 * @throws {Error} with a message for people
 */
export async function loadNetwork(reference) {
  const address = new URL(`/v1/models/${reference}/tfjs/model.json`, location.href);
  const description = await (await load(address)).json();
  const [{ paths }] = description.weightsManifest;
  const weights = await load(new URL(paths[0], address));
  return new Network(description, await weights.arrayBuffer());
}

async function load(address) {
  const response = await fetch(address).catch(() => {
    throw new Error('The API does not answer, so the model could not be loaded.');
  });
  if (!response.ok) throw new Error(`The model could not be loaded (status ${response.status}).`);
  return response;
}

/**
 * A picture of a layer's kernels: each filter's, or each unit's, as what it looks for in its input.
 * @param {import('./network.js').Network} network
 * @param {number} index of the layer
 * @returns {{sheet: Sheet, text: string} | null} null if it has none
 */
export function kernelSheet(network, index) {
  const layer = network.layers[index];
  if (!layer.kernel) return null;
  const units = layer.shape.at(-1);
  const { height, width, channels } = inputPatch(network, index);
  const isSingle = channels === 1;
  const sheet = new Sheet({
    label: `The weights of ${layer.name}: ${units} kernels of ${height} by ${width}${isSingle ? '' : ` by ${channels}`}`,
    height, width, count: channels * units,
    columns: isSingle && height > 8 ? 14 : units,
    largest: isSingle && height < 8 ? 12 : 6,
  });
  const most = largest(layer.kernel);
  sheet.paint(layer.kernel, most);
  const each = isSingle ? `${units} kernels of ${height} × ${width}` : `${units} columns, each a kernel of ${height} × ${width} × ${channels}`;
  return { sheet, text: `${each}; the full colours are ±${most.toFixed(2)}` };
}

/** The height, width and channels of what one value of a layer sees. */
function inputPatch(network, index) {
  const before = network.layers.slice(0, index).findLast((layer) => layer.type !== 'Flatten');
  const [rows, columns, channels] = before ? (before.shape.length === 3 ? before.shape : [1, before.shape[0], 1]) : [28, 28, 1];
  const layer = network.layers[index];
  return layer.type === 'Conv2D' ? { height: layer.kernelShape[0], width: layer.kernelShape[1], channels } : { height: rows, width: columns, channels };
}

/** Fills an element with the pictures of all kernels of the model that it names in `data-weights`. */
async function show(host) {
  try {
    const network = await loadNetwork(host.dataset.weights);
    host.replaceChildren(...network.layers.flatMap((layer, index) => {
      const kernels = kernelSheet(network, index);
      if (!kernels) return [];
      return [make('figure', {}, make('figcaption', {}, make('strong', { text: layer.name }), ` ${kernels.text}`), kernels.sheet.element)];
    }));
  } catch (error) {
    host.replaceChildren(make('p', { class: 'notice', text: error.message }));
  }
  host.removeAttribute('aria-busy');
}

document.querySelectorAll('[data-weights]').forEach(show);
