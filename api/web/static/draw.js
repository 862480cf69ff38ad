// The drawing pad: mouse, pen, finger, or the keyboard; and images that are uploaded, pasted, dropped or picked.

import { SIDE, toDigit } from './digit.js';
import { make } from './sheet.js';

const PAPER = 280; // pixels of the canvas a side, ten for each of the model's
const PEN = 20;
const LONGEST_SIDE = 1024; // as the server reduces images
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** @typedef {{x: number, y: number, width: number}} Point */
/** What somebody did: `points` is a stroke; otherwise a new ground, with `digit` (784 pixels) or `image`, or blank. */
/** @typedef {{points?: Point[], digit?: Uint8ClampedArray, image?: ImageData, isExample?: boolean}} Action */

/** A pad in an element that has a `canvas`; the element takes the focus and the keys. */
export class Pad {
  #element;
  #context;
  #onChange;
  #announce;
  /** @type {Action[]} */
  #actions = [];
  /** @type {Action | null} the stroke that is being drawn */
  #stroke = null;
  #cursor = { row: SIDE / 2, column: SIDE / 2 };
  #pointer = make('span', { class: 'cursor' });

  /**
   * @param {HTMLElement} element
   * @param {{onChange: () => void, announce: (text: string) => void}} handlers `announce` is for those who do not see it
   */
  constructor(element, { onChange, announce }) {
    this.#element = element;
    this.#onChange = onChange;
    this.#announce = announce;
    const canvas = element.querySelector('canvas');
    Object.assign(canvas, { width: PAPER, height: PAPER });
    this.#context = canvas.getContext('2d', { willReadFrequently: true });
    Object.assign(this.#context, { lineCap: 'round', lineJoin: 'round', strokeStyle: '#fff' });
    element.append(this.#pointer);
    element.addEventListener('pointerdown', (event) => this.#begin(event));
    element.addEventListener('pointermove', (event) => this.#continue(event));
    for (const type of ['pointerup', 'pointercancel']) element.addEventListener(type, () => this.#lift());
    element.addEventListener('keydown', (event) => this.#press(event));
    element.addEventListener('focus', () => { element.dataset.keys = ''; });
    element.addEventListener('blur', () => this.#lift());
    this.#placeCursor();
    this.#redraw();
  }

  get isBlank() {
    const { digit, image } = this.#ground();
    return !digit && !image && !this.#strokes().length;
  }

  /** What the model sees: 784 pixels, 0 is paper and 255 ink. */
  seen() {
    const { digit, image } = this.#ground();
    if (this.isBlank) return new Uint8ClampedArray(SIDE * SIDE);
    if (this.#strokes().length) return toDigit(this.#context.getImageData(0, 0, PAPER, PAPER));
    return digit ?? toDigit(image);
  }

  /** Takes the last stroke back, or the last image or `clear`. */
  undo() {
    this.#lift();
    this.#actions.pop();
    this.#redraw();
    this.#onChange();
  }

  clear() {
    this.#lift();
    if (!this.isBlank) this.#act({});
  }

  /** Shows an image that is in the model's form already. @param {Uint8ClampedArray} digit 784 pixels */
  showDigit(digit) {
    this.#act({ digit });
  }

  /** Shows a digit until somebody draws, if nothing was drawn yet. @param {Uint8ClampedArray} digit 784 pixels */
  showExample(digit) {
    if (!this.#actions.length) this.#act({ digit, isExample: true });
  }

  /** Shows an image file. @param {Blob} file @throws {Error} the browser cannot decode it */
  async showFile(file) {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error('This file is not an image that this browser can read.');
    });
    const factor = Math.ceil(Math.max(bitmap.width, bitmap.height) / LONGEST_SIDE);
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.ceil(side / factor));
    const context = new OffscreenCanvas(width, height).getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    this.#act({ image: context.getImageData(0, 0, width, height) });
  }

  #act(action) {
    this.#actions.push(action);
    this.#redraw();
    this.#onChange();
  }

  #ground() {
    return this.#actions.findLast((action) => !action.points) ?? {};
  }

  #strokes() {
    return this.#actions.slice(this.#actions.findLastIndex((action) => !action.points) + 1);
  }

  #redraw() {
    const context = this.#context;
    const { digit, image, isExample } = this.#ground();
    this.#element.toggleAttribute('data-example', Boolean(isExample));
    context.fillStyle = '#000';
    context.fillRect(0, 0, PAPER, PAPER);
    if (digit) this.#drawGround(fromGrey(digit), false);
    if (image) this.#drawGround(image, true);
    for (const { points } of this.#strokes()) points.forEach((_, index) => this.#drawSegment(points, index));
  }

  #drawGround(image, isSmooth) {
    const source = new OffscreenCanvas(image.width, image.height);
    source.getContext('2d').putImageData(image, 0, 0);
    const scale = PAPER / Math.max(image.width, image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    this.#context.imageSmoothingEnabled = isSmooth;
    this.#context.drawImage(source, (PAPER - width) / 2, (PAPER - height) / 2, width, height);
  }

  #drawSegment(points, index) {
    const from = points[Math.max(index - 1, 0)];
    const to = points[index];
    this.#context.lineWidth = to.width;
    this.#context.beginPath();
    this.#context.moveTo(from.x, from.y);
    this.#context.lineTo(to.x, to.y);
    this.#context.stroke();
  }

  #begin(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    this.#element.focus({ preventScroll: true });
    delete this.#element.dataset.keys; // the keyboard's cursor is not needed
    this.#element.setPointerCapture(event.pointerId);
    this.#lower();
    this.#extend([event]);
  }

  #continue(event) {
    if (!this.#stroke || !event.isPrimary || !event.buttons) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.#extend(events.length ? events : [event]);
  }

  #extend(events) {
    const box = this.#element.getBoundingClientRect();
    for (const event of events) {
      const x = ((event.clientX - box.left) / box.width) * PAPER;
      const y = ((event.clientY - box.top) / box.height) * PAPER;
      const pressure = event.pointerType === 'pen' ? 0.5 + event.pressure : 1;
      this.#add({ x, y, width: PEN * pressure });
    }
    this.#onChange();
  }

  #lower() {
    if (this.#ground().isExample) {
      this.#actions = [];
      this.#redraw();
    }
    this.#stroke = { points: [] };
    this.#actions.push(this.#stroke);
  }

  #lift() {
    this.#stroke = null;
    delete this.#pointer.dataset.down;
  }

  #add(point) {
    const { points } = this.#stroke;
    points.push(point);
    this.#drawSegment(points, points.length - 1);
  }

  #press(event) {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === 'z' && (event.ctrlKey || event.metaKey)) this.undo();
    else if (event.key === ' ' && isPlain) this.#toggle();
    else if (event.key === 'Escape') this.#lift();
    else if (event.key === 'Delete') this.clear();
    else if (MOVES[event.key] && isPlain) this.#move(MOVES[event.key]);
    else return;
    event.preventDefault();
    this.#element.dataset.keys = '';
    const { row, column } = this.#cursor;
    this.#announce(`Row ${row + 1}, column ${column + 1}, pen ${this.#stroke ? 'down' : 'up'}`);
  }

  #toggle() {
    if (this.#stroke) {
      this.#lift();
      return;
    }
    this.#lower();
    this.#pointer.dataset.down = '';
    this.#addAtCursor();
  }

  #move([down, across]) {
    const within = (place) => Math.min(Math.max(place, 0), SIDE - 1);
    this.#cursor = { row: within(this.#cursor.row + down), column: within(this.#cursor.column + across) };
    this.#placeCursor();
    if (this.#stroke) this.#addAtCursor();
  }

  #addAtCursor() {
    const middle = (place) => ((place + 0.5) * PAPER) / SIDE;
    this.#add({ x: middle(this.#cursor.column), y: middle(this.#cursor.row), width: PEN });
    this.#onChange();
  }

  #placeCursor() {
    this.#pointer.style.left = `${((this.#cursor.column + 0.5) / SIDE) * 100}%`;
    this.#pointer.style.top = `${((this.#cursor.row + 0.5) / SIDE) * 100}%`;
  }
}

function fromGrey(digit) {
  const image = new ImageData(SIDE, SIDE);
  digit.forEach((value, place) => image.data.set([value, value, value, 255], 4 * place));
  return image;
}

/** The 784 grey pixels of a picture of 28x28. @param {HTMLImageElement} picture loaded */
export function greyPixels(picture) {
  const context = new OffscreenCanvas(SIDE, SIDE).getContext('2d');
  context.drawImage(picture, 0, 0, SIDE, SIDE);
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return Uint8ClampedArray.from({ length: SIDE * SIDE }, (_, place) => data[4 * place]);
}
