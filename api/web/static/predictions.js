// The predictions of an evaluation, counted again for any threshold in the browser.

/**
 * What a model predicted for each of `count` test images.
 * @typedef {{count: number, classes: number, probabilities: Float32Array, indices: Uint32Array,
 *   labels: Uint8Array, predicted: Uint8Array, best: Float32Array}} Predictions `probabilities` has `classes`
 *   values an image; `best` is the probability of `predicted`, the most probable class
 */

/**
 * What a threshold makes of predictions.
 * @typedef {{matrix: Uint32Array, rejected: Uint32Array, totals: Uint32Array}} Counts `matrix` has a row of
 *   `classes` counts for each true class, without the images in which no digit was found: `rejected`
 */

/** The predicted class in which no digit was found. */
export const NO_DIGIT = -1;

/**
 * Fetches a job's predictions.
 * @param {string} job its id
 * @param {number} classes
 * @returns {Promise<Predictions>}
 * @throws {Error} there are none, or the API does not answer
 */
export async function load(job, classes) {
  const response = await fetch(`/v1/jobs/${job}/evaluation/predictions?format=binary`);
  if (!response.ok) throw new Error(`predictions: status ${response.status}`);
  return parse(await response.arrayBuffer(), classes);
}

/**
 * Reads predictions from their bytes: probabilities as float32, indices as uint32, labels as uint8, little-endian.
 * @param {ArrayBuffer} bytes
 * @param {number} classes
 * @returns {Predictions}
 */
export function parse(bytes, classes) {
  const count = bytes.byteLength / (4 * classes + 5);
  const probabilities = new Float32Array(bytes, 0, count * classes);
  const indices = new Uint32Array(bytes, probabilities.byteLength, count);
  const labels = new Uint8Array(bytes, probabilities.byteLength + indices.byteLength, count);
  const predicted = new Uint8Array(count);
  const best = new Float32Array(count);
  for (let image = 0; image < count; image += 1) {
    let top = image * classes;
    for (let place = top + 1; place < (image + 1) * classes; place += 1) {
      if (probabilities[place] > probabilities[top]) top = place;
    }
    predicted[image] = top - image * classes;
    best[image] = probabilities[top];
  }
  return { count, classes, probabilities, indices, labels, predicted, best };
}

/**
 * Counts predictions as the worker does: one with a probability below the threshold is none.
 * @param {Predictions} predictions
 * @param {number} threshold
 * @returns {Counts}
 */
export function recount({ count, classes, labels, predicted, best }, threshold) {
  const matrix = new Uint32Array(classes * classes);
  const rejected = new Uint32Array(classes);
  const totals = new Uint32Array(classes);
  for (let image = 0; image < count; image += 1) {
    totals[labels[image]] += 1;
    if (best[image] < threshold) rejected[labels[image]] += 1;
    else matrix[labels[image] * classes + predicted[image]] += 1;
  }
  return { matrix, rejected, totals };
}

/**
 * What became of an image.
 * @param {Predictions} predictions
 * @param {number} image its place
 * @param {number} threshold
 * @returns {'correct' | 'wrong' | 'rejected'}
 */
export function verdict({ labels, predicted, best }, image, threshold) {
  if (best[image] < threshold) return 'rejected';
  return predicted[image] === labels[image] ? 'correct' : 'wrong';
}

const ORDERS = {
  all: () => null,
  wrong: ({ best }) => (a, b) => best[b] - best[a],
  rejected: ({ best }) => (a, b) => best[b] - best[a],
  unsure: ({ best }) => (a, b) => best[a] - best[b],
};

/**
 * The places of images to look at: `all` by index; `wrong` and `rejected`, the surest first; `unsure`, the
 * correct ones, the least sure first; or those of a cell `{label, predicted}`, the surest first.
 * @param {Predictions} predictions
 * @param {string | {label: number, predicted: number}} which
 * @param {number} threshold
 * @returns {number[]}
 */
export function choose(predictions, which, threshold) {
  const { labels, predicted, best } = predictions;
  const isChosen = {
    all: () => true,
    wrong: (image) => verdict(predictions, image, threshold) === 'wrong',
    rejected: (image) => best[image] < threshold,
    unsure: (image) => verdict(predictions, image, threshold) === 'correct',
  }[which] ?? ((image) => labels[image] === which.label
    && (best[image] < threshold ? NO_DIGIT : predicted[image]) === which.predicted);
  const images = [...labels.keys()].filter(isChosen);
  const order = (ORDERS[which] ?? ORDERS.wrong)(predictions);
  return order ? images.sort(order) : images;
}

/**
 * The most probable classes of an image, with their probabilities.
 * @param {Predictions} predictions
 * @param {number} image
 * @param {number} most how many
 * @returns {[number, number][]}
 */
export function guesses({ probabilities, classes }, image, most) {
  const values = [...probabilities.subarray(image * classes, (image + 1) * classes)].map((value, label) => [label, value]);
  return values.sort((a, b) => b[1] - a[1]).slice(0, most);
}
