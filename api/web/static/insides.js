// The insides of a model while one draws: kernels and maps of each layer, and how the value that one points at came about.

import { make, Sheet } from './sheet.js';
import { kernelSheet } from './weights.js';

const TITLES = { Conv2D: 'feature maps', MaxPooling2D: 'pooled maps', Dense: 'units' };

/** The insides of one network, in an element of its own. */
export class Insides {
  #network;
  #name;
  #onField;
  #maps = [];
  #kernels = [];
  #parts = make('div', { class: 'parts' });
  #pictures = { key: '', sheets: [] }; // of the parts
  #formula = make('p', { class: 'formula', text: 'Point at a value of a map, or select one with the arrow keys: here you see what made it.' });
  #detail;
  #selected = null; // {index, tile, y, x}

  /**
   * @param {import('./network.js').Network} network
   * @param {string} name of the model
   * @param {(area: {top: number, left: number, height: number, width: number}) => void} onField what of the image a value depends on
   */
  constructor(network, name, onField) {
    this.#network = network;
    this.#name = name;
    this.#onField = onField;
    this.#detail = make('section', { class: 'detail-of-value', 'aria-label': `How a value of ${name} came about` }, this.#formula, this.#parts);
    const shown = network.layers.map((layer, index) => ({ layer, index })).filter(({ layer, index }) => TITLES[layer.type] && index < network.layers.length - 1);
    this.element = make('div', { class: 'insides' }, this.#detail, ...shown.map(({ layer, index }) => this.#layer(layer, index)));
  }

  /** Shows the values of a pass. @param {import('./network.js').Trace} trace */
  show(trace) {
    for (const { sheet, index } of this.#maps) sheet.paint(trace.values[index]);
    if (this.#selected) this.#explain();
    else if (trace.input.some(Boolean)) this.#selectBrightest(trace);
  }

  /** Shows other weights, which the network has taken. */
  showWeights() {
    for (const { sheet, index } of this.#kernels) sheet.paint(this.#network.layers[index].kernel);
  }

  /** Forgets the pictures. */
  close() {
    for (const { sheet } of [...this.#maps, ...this.#kernels]) sheet.forget();
    for (const sheet of this.#pictures.sheets) sheet.forget();
    this.element.remove();
  }

  #layer(layer, index) {
    const [height, width, count] = layer.shape.length === 3 ? layer.shape : [1, 1, layer.shape[0]];
    const size = layer.shape.length === 3 ? ` of ${height} × ${width}` : '';
    const sheet = new Sheet({
      label: `${layer.name}: ${count} ${TITLES[layer.type]}${size}; the arrow keys select a value`,
      height, width, count, columns: width === 1 ? 21 : 8, largest: width === 1 ? 14 : 5, smallest: 3,
      onSelect: (place) => this.#select(index, place),
    });
    this.#maps.push({ sheet, index });
    const figures = [make('figure', {}, sheet.element, make('figcaption', { text: `${count} ${TITLES[layer.type]}${size}${layer.type === 'MaxPooling2D' ? '' : ', after the ReLU'}` }))];
    const kernels = kernelSheet(this.#network, index);
    if (kernels) {
      this.#kernels.push({ sheet: kernels.sheet, index });
      figures.unshift(make('figure', {}, kernels.sheet.element, make('figcaption', { text: kernels.text })));
    }
    return make('section', { class: 'layer', 'aria-label': `${layer.name} of ${this.#name}` }, make('h3', { text: layer.name }), ...figures);
  }

  /** Selects the largest value of the first layer, so that the first drawing shows how values come about. */
  #selectBrightest(trace) {
    const { index } = this.#maps[0];
    const { shape } = this.#network.layers[index];
    const values = trace.values[index];
    const place = values.indexOf(values.reduce((most, value) => Math.max(most, value), 0));
    const pixel = Math.floor(place / shape.at(-1));
    this.#select(index, { tile: place % shape.at(-1), y: shape.length === 3 ? Math.floor(pixel / shape[1]) : 0, x: shape.length === 3 ? pixel % shape[1] : 0 });
  }

  #select(index, { tile, y, x }) {
    this.#selected = { index, tile, y, x };
    for (const each of this.#maps) each.sheet.mark(each.index === index ? { tile, top: y, left: x, height: 1, width: 1 } : this.#within(index, each.index, y, x));
    this.#onField(this.#network.field(index, y, x));
    this.#explain();
  }

  /** The part of an earlier layer that a value depends on; of its own input, and of the first map only. */
  #within(index, earlier, y, x) {
    const isImage = this.#network.layers[earlier].shape.length === 3;
    return earlier < index && isImage ? { tile: this.#network.layers[index].type === 'MaxPooling2D' ? this.#selected.tile : 0, ...this.#network.field(index, y, x, earlier) } : null;
  }

  #explain() {
    const { index, tile, y, x } = this.#selected;
    const layer = this.#network.layers[index];
    const { value, bias, height, width, channels, patch, kernel } = this.#network.explain(index, y, x, tile);
    const where = layer.shape.length === 3 ? `map ${tile + 1}, row ${y + 1}, column ${x + 1}` : `unit ${tile + 1}`;
    const total = kernel ? patch.reduce((sum, part, place) => sum + part * kernel[place], 0) : 0;
    const how = kernel ? `the sum of ${patch.length} products ${number(total)}, and the bias ${number(bias)}${total + bias < 0 ? '; less than 0 becomes 0' : ''}` : `the largest of ${patch.length}`;
    this.#formula.replaceChildren(make('strong', { text: `${layer.name}, ${where}: ${number(value)}` }), ` is ${how}`);
    const shape = { height, width, count: channels, columns: Math.min(channels, 16), largest: height > 8 ? 4 : 12 };
    const pictures = kernel ? [['patch', patch], ['kernel', kernel], ['products', patch.map((part, place) => part * kernel[place])]] : [['patch', patch]];
    this.#reuse(pictures.map(([name]) => name).join(), shape, pictures);
  }

  /** Paints pictures into the sheets that are there, or into new ones if the last value had others. */
  #reuse(names, shape, pictures) {
    const key = JSON.stringify([names, shape]);
    if (this.#pictures.key !== key) {
      for (const sheet of this.#pictures.sheets) sheet.forget();
      this.#pictures = { key, sheets: pictures.map(([name]) => new Sheet({ label: `The ${name}`, ...shape })) };
      const figures = pictures.map(([name], place) => make('figure', {}, this.#pictures.sheets[place].element, make('figcaption', { text: name })));
      this.#parts.replaceChildren(...figures);
    }
    pictures.forEach(([, values], place) => this.#pictures.sheets[place].paint(values));
  }
}

const number = (value) => `${value < 0 ? '−' : ''}${Math.abs(value).toFixed(3)}`;
