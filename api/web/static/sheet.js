// Sheets of small pictures of numbers: kernels, feature maps, what pixels add. Zero has the ground's colour; positive
// values go to one colour, negative ones to another. A pixel can be pointed at, or selected with the arrow keys.

import { onThemeChange } from './theme.js';

const STEPS = 255; // of colour, from zero to the limit
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const sheets = new Set();
const palettes = new Map();

/** Makes an element. @param {string} tag @param {object} attributes `text` is its text @param {...Node} children */
export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/**
 * Pictures of one size in rows, from values that lie channels last, each channel a picture.
 *
 * `onSelect` is called with `{tile, y, x}` where somebody points; without it the sheet is a picture only.
 */
export class Sheet {
  #options;
  #canvas = make('canvas', { 'aria-hidden': 'true' });
  #marker = make('span', { class: 'marker', hidden: '' });
  #columns;
  #scale = 1;
  #painted = null;
  #marked = null;
  #selected = { tile: 0, y: 0, x: 0 };

  /**
   * @param {{label: string, height: number, width: number, count?: number, columns?: number, largest?: number, smallest?: number,
   *   palette?: string, onSelect?: (place: {tile: number, y: number, x: number}) => void}} options `largest`, `smallest`: CSS pixels
   *   a value; where there is no room for the smallest, the pictures go into more rows;
   *   `palette`: `map` (default) or `digit`
   */
  constructor(options) {
    this.#options = { count: 1, columns: options.count ?? 1, largest: 6, smallest: 2, palette: 'map', ...options };
    this.#columns = this.#options.columns;
    const role = options.onSelect ? 'application' : 'img';
    this.element = make('div', { class: 'sheet', role, 'aria-label': options.label }, this.#canvas, this.#marker);
    if (options.onSelect) this.#listen();
    new ResizeObserver(() => this.#layOut()).observe(this.element);
    sheets.add(this);
  }

  /** Shows values. @param {Float32Array} values kept, for other colours @param {number} [limit] what has the full colour */
  paint(values, limit = largest(values)) {
    this.#painted = { values, limit };
    this.repaint();
  }

  /** Shows the last values again, after the theme or the layout has changed. */
  repaint() {
    if (!this.#painted) return;
    const { height, width, count } = this.#options;
    const columns = Math.min(this.#columns, count);
    const rows = Math.ceil(count / columns);
    const across = columns * (width + 1) - 1;
    const down = rows * (height + 1) - 1;
    if (this.#canvas.width !== across || this.#canvas.height !== down) Object.assign(this.#canvas, { width: across, height: down });
    const context = this.#canvas.getContext('2d');
    const image = context.createImageData(across, down);
    const pixels = new Uint32Array(image.data.buffer);
    const palette = paletteOf(this.#options.palette);
    const { values, limit } = this.#painted;
    const factor = limit > 0 ? STEPS / limit : 0;
    for (let tile = 0; tile < count; tile += 1) {
      const corner = Math.floor(tile / columns) * (height + 1) * across + (tile % columns) * (width + 1);
      for (let y = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1) {
          const step = Math.round(values[(y * width + x) * count + tile] * factor);
          pixels[corner + y * across + x] = palette[STEPS + Math.max(-STEPS, Math.min(STEPS, step))];
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  /** Outlines an area of a picture; null: none. @param {{tile?: number, top: number, left: number, height: number, width: number} | null} area */
  mark(area) {
    this.#marked = area;
    this.#marker.hidden = !area;
    if (!area) return;
    const { height, width } = this.#options;
    const tile = area.tile ?? 0;
    const top = Math.floor(tile / this.#columns) * (height + 1) + area.top;
    const left = (tile % this.#columns) * (width + 1) + area.left;
    const places = { top, left, width: area.width, height: area.height };
    for (const [name, value] of Object.entries(places)) this.#marker.style[name] = `${value * this.#scale}px`;
  }

  /** Removes it from those that are painted again when the theme changes. */
  forget() {
    sheets.delete(this);
  }

  #layOut() {
    const { width, count, columns, largest: most, smallest } = this.#options;
    const room = this.element.clientWidth;
    if (!room) return;
    const fit = (number) => room / (number * (width + 1) - 1);
    let number = columns;
    while (number > 1 && fit(number) < smallest) number = Math.ceil(number / 2);
    this.#columns = Math.min(number, count);
    const dots = window.devicePixelRatio; // whole dots a value, so that all are equally large
    this.#scale = Math.max(Math.floor(Math.min(fit(number), most) * dots), 1) / dots;
    this.repaint();
    this.#canvas.style.width = `${(this.#columns * (width + 1) - 1) * this.#scale}px`;
    this.mark(this.#marked);
  }

  #listen() {
    this.element.tabIndex = 0;
    this.element.addEventListener('pointermove', (event) => this.#point(event));
    this.element.addEventListener('pointerdown', (event) => this.#point(event));
    this.element.addEventListener('keydown', (event) => this.#press(event));
    this.element.addEventListener('focus', () => this.element.matches(':focus-visible') && this.#select(this.#selected));
  }

  #point(event) {
    const { height, width, count } = this.#options;
    const box = this.#canvas.getBoundingClientRect();
    const across = Math.floor((event.clientX - box.left) / this.#scale);
    const down = Math.floor((event.clientY - box.top) / this.#scale);
    const column = Math.floor(across / (width + 1));
    const tile = Math.floor(down / (height + 1)) * this.#columns + column;
    const place = { tile, y: down % (height + 1), x: across % (width + 1) };
    const isInside = across >= 0 && down >= 0 && column < this.#columns && tile < count && place.y < height && place.x < width;
    if (isInside) this.#select(place);
  }

  #press(event) {
    const move = MOVES[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const { height, width, count } = this.#options;
    let { tile, y, x } = this.#selected;
    [y, x] = [y + move[0], x + move[1]];
    // over a picture's edge into its neighbour
    const to = tile + (x < 0 ? -1 : x >= width ? 1 : 0) + (y < 0 ? -this.#columns : y >= height ? this.#columns : 0);
    if (to < 0 || to >= count) return;
    this.#select({ tile: to, y: (y + height) % height, x: (x + width) % width });
  }

  #select(place) {
    this.#selected = place;
    this.#options.onSelect(place);
  }
}

/** The largest distance from zero. @param {Float32Array} values */
export function largest(values) {
  let most = 0;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  return most;
}

function paletteOf(name) {
  if (!palettes.has(name)) {
    const [minus, zero, plus] = ['minus', 'zero', 'plus'].map((part) => colour(`--${name}-${part}`));
    palettes.set(name, Uint32Array.from({ length: 2 * STEPS + 1 }, (_, index) => {
      const end = index < STEPS ? minus : plus;
      const share = Math.abs(index - STEPS) / STEPS;
      const [red, green, blue] = zero.map((value, channel) => Math.round(value + (end[channel] - value) * share));
      return (255 << 24) | (blue << 16) | (green << 8) | red; // little-endian, as all browsers' machines are
    }));
  }
  return palettes.get(name);
}

/** A colour of the stylesheet in the present theme, as red, green and blue. */
function colour(variable) {
  const probe = make('span', { hidden: '' });
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const channels = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return channels;
}

function recolour() {
  palettes.clear();
  for (const sheet of sheets) sheet.repaint();
}
onThemeChange(recolour);
