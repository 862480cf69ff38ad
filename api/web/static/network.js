// A trained model in the browser: its forward pass with every layer's values, and what each pixel added to the scores.
//
// It reads the files for TensorFlow.js (`GET /v1/models/{id}/tfjs/model.json` and the weights beside it). All values
// lie as in Keras, channels last: the value of map `c` at row `y` and column `x` is at `(y * width + x) * channels + c`.

/** @typedef {{name: string, type: string, shape: number[], kernel?: Float32Array, kernelShape?: number[], bias?: Float32Array}} Layer */

/**
 * The values of one forward pass; `values[i]` are those of `layers[i]`, after the activation.
 * @typedef {{input: Float32Array, values: Float32Array[], scores: Float32Array, probabilities: Float32Array}} Trace
 */

/** A model of the layers Conv2D, MaxPooling2D, Flatten and Dense, one after the other. */
export class Network {
  #inputShape;
  #trace;
  #gradients;

  /**
   * @param {object} description the content of `model.json`
   * @param {ArrayBuffer} weights the content of its weights file
   * @throws {Error} it has layers that are not known here, or another number of weights
   */
  constructor(description, weights) {
    const [input, ...layers] = description.modelTopology.config.layers;
    this.#inputShape = input.config.batch_input_shape.slice(1);
    /** @type {Layer[]} */
    this.layers = [];
    let shape = this.#inputShape;
    for (const { class_name: type, config } of layers) {
      shape = outputShape(type, config, shape);
      this.layers.push({ name: config.name, type, shape, isRectified: config.activation === 'relu' });
    }
    this.manifest = description.weightsManifest[0].weights;
    this.setWeights(weights);
    this.#trace = {
      input: new Float32Array(size(this.#inputShape)),
      values: this.layers.map((layer) => new Float32Array(size(layer.shape))),
      scores: new Float32Array(size(shape)),
    };
    this.#trace.probabilities = this.#trace.values.at(-1);
    this.#gradients = [this.#inputShape, ...this.layers.map((layer) => layer.shape)].map((its) => new Float32Array(size(its)));
  }

  /** Takes other weights of the same layers, such as those of another epoch. @param {ArrayBuffer} weights */
  setWeights(weights) {
    const expected = this.manifest.reduce((sum, array) => sum + size(array.shape), 0);
    if (weights.byteLength !== 4 * expected) throw new Error(`expected ${4 * expected} bytes of weights, not ${weights.byteLength}`);
    let offset = 0;
    for (const { name, shape } of this.manifest) {
      const [layerName, part] = name.split('/');
      const layer = this.layers.find((candidate) => candidate.name === layerName);
      layer[part] = new Float32Array(weights, offset, size(shape));
      if (part === 'kernel') layer.kernelShape = shape;
      offset += 4 * size(shape);
    }
    this.parameters = expected;
  }

  /**
   * Runs the model on an image. The trace is this network's own: the next call overwrites it.
   * @param {Float32Array} image 784 pixels from 0 to 1
   * @returns {Trace} `scores` are the outputs before the softmax
   */
  forward(image) {
    const trace = this.#trace;
    trace.input.set(image);
    this.layers.forEach((layer, index) => {
      const input = this.#inputOf(index);
      if (layer.type === 'Conv2D') convolve(layer, input, this.#shapeBefore(index), trace.values[index]);
      else if (layer.type === 'MaxPooling2D') pool(layer, input, this.#shapeBefore(index), trace.values[index]);
      else if (layer.type === 'Flatten') trace.values[index].set(input);
      else multiply(layer, input, index === this.layers.length - 1 ? trace.scores : trace.values[index]);
    });
    softmax(trace.scores, trace.probabilities);
    return trace;
  }

  /**
   * What each pixel of the last image added to each score: the pixel times the score's gradient.
   *
   * Around an image, a model of ReLU and maxima is linear. So these products and a constant from the biases add up to
   * the score exactly; a black pixel adds nothing.
   * @returns {{pixels: Float32Array, constants: Float32Array}} `pixels[10 * pixel + digit]`, `constants[digit]`
   */
  contributions() {
    const { input, scores } = this.#trace;
    const pixels = new Float32Array(input.length * scores.length);
    const constants = new Float32Array(scores.length);
    for (let digit = 0; digit < scores.length; digit += 1) {
      constants[digit] = this.#differentiate(digit);
      const gradient = this.#gradients[0];
      for (let pixel = 0; pixel < input.length; pixel += 1) pixels[pixel * scores.length + digit] = input[pixel] * gradient[pixel];
    }
    return { pixels, constants };
  }

  /**
   * How a value of a layer came about in the last pass: the part of its input, and the weights, if it has any.
   * @param {number} index of the layer @param {number} y @param {number} x @param {number} channel
   * @returns {{value: number, bias: number, height: number, width: number, channels: number, patch: Float32Array,
   *   kernel: Float32Array | null}} `patch` and `kernel` have the shape (height, width, channels)
   */
  explain(index, y, x, channel) {
    const layer = this.layers[index];
    const [, across, depth] = asImage(this.#shapeBefore(index));
    const { height, width, step } = this.#window(index);
    const isPool = layer.type === 'MaxPooling2D';
    const channels = isPool ? 1 : depth;
    const patch = new Float32Array(height * width * channels);
    const kernel = layer.kernel ? new Float32Array(patch.length) : null;
    const filters = layer.shape.at(-1);
    for (let place = 0; place < patch.length; place += 1) {
      const pixel = Math.floor(place / channels);
      const row = y * step + Math.floor(pixel / width);
      const column = x * step + (pixel % width);
      patch[place] = this.#inputOf(index)[(row * across + column) * depth + (isPool ? channel : place % channels)];
      if (kernel) kernel[place] = layer.kernel[place * filters + channel];
    }
    const { values } = this.#trace;
    const value = layer.shape.length === 1 ? values[index][channel] : values[index][(y * layer.shape[1] + x) * filters + channel];
    return { value, bias: layer.bias?.[channel] ?? 0, height, width, channels, patch, kernel };
  }

  /**
   * The part of an earlier layer, or of the image, that a value depends on.
   * @param {number} index of the value's layer @param {number} y @param {number} x
   * @param {number} [of] index of the earlier layer; -1 is the image
   * @returns {{top: number, left: number, height: number, width: number}}
   */
  field(index, y, x, of = -1) {
    let area = { top: y, left: x, height: 1, width: 1 };
    for (let layer = index; layer > of; layer -= 1) {
      const { height, width, step } = this.#window(layer);
      area = {
        top: area.top * step,
        left: area.left * step,
        height: (area.height - 1) * step + height,
        width: (area.width - 1) * step + width,
      };
    }
    return area;
  }

  #window(index) {
    const layer = this.layers[index];
    if (layer.type === 'Conv2D') return { height: layer.kernelShape[0], width: layer.kernelShape[1], step: 1 };
    if (layer.type === 'MaxPooling2D') return { height: 2, width: 2, step: 2 };
    if (layer.type === 'Flatten') return { height: 1, width: 1, step: 1 };
    const [height, width] = asImage(this.#shapeBefore(index)); // a dense layer sees all
    return { height, width, step: 0 };
  }

  /** The shape of a layer's input; of a flattened one, that before it was flattened. */
  #shapeBefore(index) {
    const before = this.layers[index - 1];
    if (!before) return this.#inputShape;
    return before.type === 'Flatten' ? this.#shapeBefore(index - 1) : before.shape;
  }

  #inputOf(index) {
    return index ? this.#trace.values[index - 1] : this.#trace.input;
  }

  /** Writes the gradient of a score by the image into `#gradients[0]`; returns what the biases add to the score. */
  #differentiate(digit) {
    let constant = 0;
    for (let index = this.layers.length - 1; index >= 0; index -= 1) {
      const layer = this.layers[index];
      const above = this.#gradients[index + 1];
      const below = this.#gradients[index].fill(0);
      if (index === this.layers.length - 1) above.fill(0)[digit] = 1;
      if (layer.isRectified) closeWhereZero(this.#trace.values[index], above);
      if (layer.bias) constant += addBiases(layer.bias, above);
      if (layer.type === 'Conv2D') convolveBack(layer, above, this.#shapeBefore(index), below);
      else if (layer.type === 'MaxPooling2D') poolBack(layer, above, this.#inputOf(index), this.#shapeBefore(index), below);
      else if (layer.type === 'Flatten') below.set(above);
      else multiplyBack(layer, above, below);
    }
    return constant;
  }
}

/** Lets no gradient through where a ReLU has returned 0. */
function closeWhereZero(values, gradient) {
  for (let place = 0; place < values.length; place += 1) if (values[place] <= 0) gradient[place] = 0;
}

/** What a layer's biases add to a score, given the score's gradient by the layer's values. */
function addBiases(bias, gradient) {
  let sum = 0;
  for (let place = 0; place < gradient.length; place += bias.length) {
    for (let channel = 0; channel < bias.length; channel += 1) sum += gradient[place + channel] * bias[channel];
  }
  return sum;
}

const size = (shape) => shape.reduce((product, side) => product * side, 1);

/** A shape as (height, width, channels); of a vector, as one pixel. */
const asImage = (shape) => (shape.length === 3 ? shape : [1, 1, shape[0]]);

function outputShape(type, config, [height, width, channels]) {
  if (type === 'Conv2D') return [height - config.kernel_size[0] + 1, width - config.kernel_size[1] + 1, config.filters];
  if (type === 'MaxPooling2D') return [Math.floor(height / 2), Math.floor(width / 2), channels];
  if (type === 'Flatten') return [height * width * channels];
  if (type === 'Dense') return [config.units];
  throw new Error(`layers of the type ${type} are not known here`);
}

function convolve({ kernel, kernelShape, bias, shape, isRectified }, input, [, across, channels], output) {
  const [rows, columns] = kernelShape;
  const [height, width, filters] = shape;
  const sums = new Float64Array(filters);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      sums.set(bias);
      for (let row = 0; row < rows; row += 1) {
        const start = ((y + row) * across + x) * channels;
        for (let place = 0; place < columns * channels; place += 1) {
          const value = input[start + place];
          if (value === 0) continue; // most of an image is black
          const weights = (row * columns * channels + place) * filters;
          for (let filter = 0; filter < filters; filter += 1) sums[filter] += value * kernel[weights + filter];
        }
      }
      const place = (y * width + x) * filters;
      for (let filter = 0; filter < filters; filter += 1) output[place + filter] = isRectified ? Math.max(sums[filter], 0) : sums[filter];
    }
  }
}

function convolveBack({ kernel, kernelShape, shape }, above, [, across, channels], below) {
  const [rows, columns] = kernelShape;
  const [height, width, filters] = shape;
  for (let place = 0; place < height * width * filters; place += 1) {
    const gradient = above[place];
    if (gradient === 0) continue; // three of four are, below a maximum
    const filter = place % filters;
    const pixel = (place - filter) / filters;
    const x = pixel % width;
    const y = (pixel - x) / width;
    for (let row = 0; row < rows; row += 1) {
      const start = ((y + row) * across + x) * channels;
      const weights = row * columns * channels * filters + filter;
      for (let step = 0; step < columns * channels; step += 1) below[start + step] += gradient * kernel[weights + step * filters];
    }
  }
}

/** Calls `visit` with each place of the output and the place of its maximum in the input. */
function eachMaximum(input, [, across, channels], [height, width], visit) {
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        const corner = (2 * y * across + 2 * x) * channels + channel;
        let best = corner;
        for (const place of [corner + channels, corner + across * channels, corner + (across + 1) * channels]) {
          if (input[place] > input[best]) best = place;
        }
        visit((y * width + x) * channels + channel, best);
      }
    }
  }
}

function pool({ shape }, input, before, output) {
  eachMaximum(input, before, shape, (place, best) => { output[place] = input[best]; });
}

function poolBack({ shape }, above, input, before, below) {
  eachMaximum(input, before, shape, (place, best) => { below[best] = above[place]; });
}

function multiply({ kernel, bias, isRectified }, input, output) {
  for (let unit = 0; unit < output.length; unit += 1) {
    let sum = bias[unit];
    for (let place = 0; place < input.length; place += 1) sum += input[place] * kernel[place * output.length + unit];
    output[unit] = isRectified ? Math.max(sum, 0) : sum;
  }
}

function multiplyBack({ kernel }, above, below) {
  for (let place = 0; place < below.length; place += 1) {
    let sum = 0;
    for (let unit = 0; unit < above.length; unit += 1) sum += above[unit] * kernel[place * above.length + unit];
    below[place] = sum;
  }
}

function softmax(scores, probabilities) {
  const highest = Math.max(...scores);
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - highest);
  for (let digit = 0; digit < scores.length; digit += 1) probabilities[digit] = Math.exp(scores[digit] - highest) / sum;
}
