// The cursor of a chart: the values under the pointer or found by keys, and the choice of a range by drag, wheel, keys.

import { indexOf } from './series.js';

const ZOOM = 1.5;
const LEAST_DRAG_PX = 5;
const HELP = 'Arrow keys read the points, plus and minus zoom, Shift and arrows move the range, Escape shows everything.';

/** Belongs to one chart, over which it draws on a canvas of its own. */
export class Cursor {
  /** The place of the axis that is read; null: none. */
  at = null;
  #chart;
  #drag = null;
  #touches = new Map(); // the places of fingers on the screen
  #pinch = null; // the places of the axis that two fingers hold

  /** @param {import('./chart.js').Chart} chart */
  constructor(chart) {
    this.#chart = chart;
    const { plot } = chart;
    const make = (name, className) => plot.appendChild(Object.assign(document.createElement(name), { className }));
    this.canvas = make('canvas', 'overlay');
    this.readout = make('div', 'readout');
    this.readout.hidden = true;
    this.spoken = plot.parentNode.insertBefore(document.createElement('div'), plot);
    this.spoken.className = 'visually-hidden';
    this.spoken.setAttribute('aria-live', 'polite');
    plot.setAttribute('aria-description', HELP);
    plot.addEventListener('pointermove', (event) => this.#move(event));
    plot.addEventListener('pointerdown', (event) => this.#press(event));
    plot.addEventListener('pointerup', (event) => this.#release(event));
    plot.addEventListener('pointercancel', (event) => this.#cancel(event));
    plot.addEventListener('pointerleave', () => this.#drag === null && this.#read(null));
    plot.addEventListener('dblclick', () => this.#choose(null));
    plot.addEventListener('wheel', (event) => this.#turn(event), { passive: false });
    plot.addEventListener('keydown', (event) => this.#key(event));
    plot.addEventListener('blur', () => this.#read(null));
  }

  /** Shows the values at a place of the axis without telling other charts; null: shows none. */
  show(at) {
    this.at = at;
    this.draw();
  }

  /** Draws the cursor over what the chart shows now. */
  draw() {
    const { box, colours } = this.#chart;
    const context = this.canvas.getContext('2d');
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.#drag !== null && this.at !== null) {
      const [from, to] = [this.#chart.toX(this.#drag), this.#chart.toX(this.at)].sort((a, b) => a - b);
      context.globalAlpha = 0.15;
      context.fillStyle = colours.accent;
      context.fillRect(from, box.top, to - from, box.height);
      context.globalAlpha = 1;
    }
    const points = this.at === null ? [] : this.#points();
    this.readout.hidden = !points.length;
    if (!points.length) return;
    const x = this.#chart.toX(points[0].place);
    context.fillStyle = colours.quiet;
    context.fillRect(Math.round(x), box.top, 1, box.height);
    for (const { line, place, value } of points) {
      context.fillStyle = colours[`series-${line.colour}`];
      context.beginPath();
      context.arc(this.#chart.toX(place), this.#chart.toY(value), 3.5, 0, 7);
      context.fill();
    }
    this.#write(points, x);
  }

  /** The point of each curve in view that is nearest to the cursor. */
  #points() {
    const [from, to] = this.#chart.range;
    return this.#chart.lines.flatMap((line) => {
      const series = line.detail ?? line.series;
      const next = indexOf(series, line.toAxis, this.at);
      const distance = (i) => (i in series.x && i < series.length ? Math.abs(line.toAxis(series.x[i]) - this.at) : Infinity);
      const i = distance(next - 1) <= distance(next) ? next - 1 : next;
      if (distance(i) === Infinity) return [];
      const place = line.toAxis(series.x[i]);
      if (place < from || place > to) return [];
      const value = series.span > 1 ? series.smooth[i] : series.y[i];
      return [{ line, place, value, raw: series.y[i], min: series.min[i], max: series.max[i] }];
    });
  }

  #write(points, x) {
    const { axis, format, box } = this.#chart;
    const head = document.createElement('div');
    head.textContent = `${axis.label} ${axis.format(points[0].place)}`;
    const rows = points.map(({ line, value, raw, min, max }) => {
      const row = document.createElement('div');
      const swatch = row.appendChild(document.createElement('span'));
      swatch.className = 'swatch';
      swatch.style.background = this.#chart.colours[`series-${line.colour}`];
      const range = min < max ? ` (${format(min)} to ${format(max)})` : '';
      row.append(`${line.name} ${format(value)}${value === raw ? range : ` (recorded ${format(raw)})`}`);
      return row;
    });
    this.readout.replaceChildren(head, ...rows);
    const isRight = x > box.left + box.width / 2;
    this.readout.style.left = isRight ? '' : `${x + 10}px`;
    this.readout.style.right = isRight ? `${this.#chart.plot.clientWidth - x + 10}px` : '';
  }

  #read(at) {
    this.show(at);
    this.#chart.onCursor(at);
  }

  #choose(view) {
    if (view) {
      const [first, last] = this.#chart.extent;
      const least = this.#chart.axis.isWhole ? 1 : (last - first) / 1e5;
      view = [Math.max(first, view[0]), Math.min(last, view[1])];
      if (view[1] - view[0] < least) return;
      if (view[0] === first && view[1] === last) view = null;
    }
    this.#chart.setView(view);
    this.#chart.onView(view);
  }

  #place(event) {
    const { box, range, plot } = this.#chart;
    const share = (event.clientX - plot.getBoundingClientRect().left - box.left) / box.width;
    return range[0] + Math.max(0, Math.min(1, share)) * (range[1] - range[0]);
  }

  #move(event) {
    if (this.#touches.has(event.pointerId)) this.#touches.set(event.pointerId, event);
    if (this.#pinch) this.#stretch();
    else this.#read(this.#place(event));
  }

  #press(event) {
    if (event.pointerType === 'touch') {
      this.#touches.set(event.pointerId, event);
      if (this.#touches.size === 2) this.#pinch = [...this.#touches.values()].map((touch) => this.#place(touch));
    }
    if (event.button !== 0 || event.pointerType === 'touch') return;
    this.#drag = this.#place(event);
    this.#chart.plot.setPointerCapture(event.pointerId);
  }

  #release(event) {
    this.#touches.delete(event.pointerId);
    if (this.#touches.size < 2) this.#pinch = null;
    if (this.#drag === null) return;
    const [from, to] = [this.#drag, this.#place(event)].sort((a, b) => a - b);
    const isDrag = this.#chart.toX(to) - this.#chart.toX(from) >= LEAST_DRAG_PX;
    this.#end();
    if (isDrag) this.#choose([from, to]);
  }

  #cancel(event) {
    this.#end();
    this.#release(event);
  }

  /** Zooms and moves so that what two fingers hold stays below them. */
  #stretch() {
    const { box, plot } = this.#chart;
    const left = plot.getBoundingClientRect().left + box.left;
    const [first, second] = [...this.#touches.values()].map(({ clientX }) => (clientX - left) / box.width);
    const span = (this.#pinch[1] - this.#pinch[0]) / (second - first);
    const from = this.#pinch[0] - first * span;
    if (span > 0 && Number.isFinite(span)) this.#choose([from, from + span]);
  }

  #end() {
    this.#drag = null;
    this.draw();
  }

  /** Zooms by the wheel, but only a chart that has the focus, or with Ctrl: else the page scrolls. */
  #turn(event) {
    if (!event.ctrlKey && document.activeElement !== this.#chart.plot) return;
    event.preventDefault();
    this.#zoom(ZOOM ** Math.sign(event.deltaY), this.#place(event));
  }

  #zoom(factor, about) {
    const [from, to] = this.#chart.range;
    this.#choose([about - (about - from) * factor, about + (to - about) * factor]);
  }

  #key(event) {
    const [from, to] = this.#chart.range;
    const middle = this.at ?? (from + to) / 2;
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (steps && event.shiftKey) this.#pan(steps * (to - from) / 4);
    else if (steps) this.#step(steps);
    else if (event.key === '+' || event.key === '=') this.#zoom(1 / ZOOM, middle);
    else if (event.key === '-') this.#zoom(ZOOM, middle);
    else if (event.key === 'Home') this.#step(-Infinity);
    else if (event.key === 'End') this.#step(Infinity);
    else if (event.key === 'Escape') this.#choose(null);
    else return;
    event.preventDefault();
    this.spoken.textContent = [...this.readout.children].map((row) => row.textContent).join(', ');
  }

  #pan(by) {
    const [from, to] = this.#chart.range;
    const [first, last] = this.#chart.extent;
    const fitting = Math.max(first - from, Math.min(last - to, by));
    if (fitting) this.#choose([from + fitting, to + fitting]);
  }

  /** Reads the next point of the first curve; without a cursor yet, the newest in view. */
  #step(by) {
    const [line] = this.#chart.lines;
    if (!line) return;
    const series = line.detail ?? line.series;
    const [from, to] = this.#chart.range;
    const first = indexOf(series, line.toAxis, from);
    const last = Math.max(first, Math.min(series.length - 1, indexOf(series, line.toAxis, to)));
    const now = this.at === null ? last - Math.sign(by) : indexOf(series, line.toAxis, this.at);
    const i = Math.max(first, Math.min(last, now + by));
    this.#read(line.toAxis(series.x[i]));
  }
}
