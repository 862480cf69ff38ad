// A chart of curves on a canvas, fast enough for half a million points that grow ten times a second.
//
// Its curves are condensed to the width in pixels before anything is drawn. All charts share one frame, which ends
// early rather than late: a chart that finds no time is drawn in the next one.

import { condense } from './condense.js';
import { Cursor } from './cursor.js';
import { logTicks, scale, short, ticks } from './scales.js';

const REDRAW_MS = 100; // for new points; what a person does is shown in the next frame
const FRAME_MS = 12;
const MARGIN = { left: 54, right: 16, top: 10, bottom: 26 };
const COLOURS = ['ink', 'quiet', 'line', 'surface', 'accent', ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => `series-${n}`)];

const waiting = new Set();
let timer = 0;
let drawnAt = 0;

function schedule(chart, isUrgent) {
  waiting.add(chart);
  if (timer && !isUrgent) return;
  clearTimeout(timer);
  const wait = isUrgent ? 0 : Math.max(0, drawnAt + REDRAW_MS - performance.now());
  timer = setTimeout(() => requestAnimationFrame(drawWaiting), wait);
}

function drawWaiting() {
  const start = performance.now();
  timer = 0;
  drawnAt = start;
  for (const chart of waiting) {
    if (performance.now() - start > FRAME_MS) break;
    waiting.delete(chart);
    chart.draw();
  }
  if (waiting.size && !timer) timer = setTimeout(() => requestAnimationFrame(drawWaiting), 0);
}

const element = (name, className, parent) => {
  const made = document.createElement(name);
  made.className = className;
  parent.append(made);
  return made;
};

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {import('./series.js').Series} series
 * @property {import('./series.js').Series | null} [detail] drawn in its place: the range in view in full resolution
 * @property {(x: number) => number} toAxis places an x of the series on the axis; increasing
 * @property {number} colour 1 to 8
 * @property {number[]} dash lengths of dashes and gaps; none: an unbroken line
 * @property {number} [width]
 * @property {boolean} [isHidden]
 */
export class Chart {
  /** @type {Line[]} */
  #lines = [];
  colours = {};
  /** The rectangle of the curves within the chart, in CSS pixels. */
  box = { left: MARGIN.left, top: MARGIN.top, width: 0, height: 0 };
  /** What of the axis is shown, `[from, to]`; null: everything. */
  view = null;
  axis = { label: 'Step', format: short, isWhole: true };
  isLog = false;
  /** @type {[number, number] | null} the bounds of y; null: those of the points in view */
  bounds = null;
  format = short;

  /**
   * @param {HTMLElement} figure has a `figcaption`; the chart takes the place of its `.still`
   * @param {{onView?: (view: [number, number] | null) => void, onCursor?: (x: number | null) => void}} options
   */
  constructor(figure, { onView = () => {}, onCursor = () => {} } = {}) {
    this.title = figure.querySelector('figcaption').textContent.trim();
    this.onView = onView;
    this.onCursor = onCursor;
    const plot = document.createElement('div');
    plot.className = 'plot';
    plot.tabIndex = 0;
    plot.setAttribute('role', 'img');
    figure.append(plot);
    figure.querySelector('.still')?.replaceWith(plot);
    this.plot = plot;
    this.canvas = element('canvas', '', plot);
    this.legend = element('div', 'legend', figure);
    this.cursor = new Cursor(this);
    this.readColours();
    new ResizeObserver(() => this.#resize()).observe(plot);
  }

  /** @param {Line[]} lines */
  setLines(lines) {
    this.#lines = lines;
    this.legend.replaceChildren();
    for (const line of lines) {
      const button = element('button', 'quiet-button', this.legend);
      button.type = 'button';
      button.setAttribute('aria-pressed', String(!line.isHidden));
      button.append(this.#swatch(line), line.name);
      button.addEventListener('click', () => {
        line.isHidden = !line.isHidden;
        button.setAttribute('aria-pressed', String(!line.isHidden));
        this.update(true);
      });
    }
    this.update(true);
  }

  get lines() {
    return this.#lines.filter((line) => !line.isHidden && line.series.length);
  }

  /** Draws the chart again: at once after a person did something, else with the next points. */
  update(isUrgent = false) {
    schedule(this, isUrgent);
  }

  /** @param {[number, number] | null} view */
  setView(view) {
    this.view = view;
    for (const line of this.#lines) line.detail = null;
    this.update(true);
  }

  /** Reads the colours of the theme, and draws with them. */
  readColours() {
    const probe = element('span', '', this.plot);
    for (const name of COLOURS) {
      probe.style.color = `var(--${name})`;
      this.colours[name] = getComputedStyle(probe).color;
    }
    this.font = `12px ${getComputedStyle(probe).fontFamily}`;
    probe.remove();
    for (const [i, button] of [...this.legend.children].entries()) button.firstChild.replaceWith(this.#swatch(this.#lines[i]));
    this.update(true);
  }

  /** The bounds of the axis in view. */
  get range() {
    return this.view ?? this.extent;
  }

  /** The bounds of the axis over all curves. */
  get extent() {
    const ends = this.lines.map(({ series, toAxis }) => [toAxis(series.x[0]), toAxis(series.last)]);
    const [from, to] = [Math.min(...ends.map(([start]) => start)), Math.max(...ends.map(([, end]) => end))];
    if (!ends.length) return [0, 1];
    return to > from ? [from, to] : [from - 0.5, to + 0.5];
  }

  /** Draws now; `update` is what others call. */
  draw() {
    const { left, top, width, height } = this.box;
    if (width <= 0) return;
    const [from, to] = this.range;
    const curves = this.lines.map((line) => {
      const source = line.detail ?? line.series;
      const values = condense(source, source.span > 1 ? source.smooth : source.y, line.toAxis, from, to, width);
      const raw = source.span > 1 ? condense(source, source.y, line.toAxis, from, to, width) : null;
      return { line, values, raw, isBand: !source.isComplete };
    });
    this.#scaleY(curves);
    const context = this.canvas.getContext('2d');
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#drawAxes(context);
    context.save();
    context.beginPath();
    context.rect(left, top - 2, width, height + 4);
    context.clip();
    for (const { line, values, raw, isBand } of curves) {
      context.strokeStyle = context.fillStyle = this.colours[`series-${line.colour}`];
      if (isBand || (raw ?? values).isDense) this.#fillBand(context, raw ?? values);
      context.globalAlpha = 0.3;
      context.lineWidth = 1;
      if (raw && !raw.isDense) this.#stroke(context, raw);
      context.globalAlpha = 1;
      context.lineWidth = line.width ?? 1.75;
      context.setLineDash(line.dash);
      this.#stroke(context, values);
      context.setLineDash([]);
    }
    context.restore();
    this.plot.setAttribute('aria-label', this.summary());
    this.cursor.draw();
  }

  /** The chart in words. */
  summary() {
    if (!this.lines.length) return `${this.title}: no values yet`;
    const parts = this.lines.map(({ name, series }) => {
      const ends = `${this.format(series.y[0])} at first, ${this.format(series.y[series.length - 1])} now`;
      return `${name}: ${ends}, ${series.length} points`;
    });
    return `${this.title}. ${parts.join('; ')}.`;
  }

  #swatch({ colour, dash, width = 1.75 }) {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [44, 8];
    const context = canvas.getContext('2d');
    context.strokeStyle = this.colours[`series-${colour}`];
    context.lineWidth = 2.4 * width;
    context.setLineDash(dash.map((length) => 2 * length));
    context.stroke(new Path2D('M0 4H44'));
    return canvas;
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    for (const canvas of [this.canvas, this.cursor.canvas]) {
      [canvas.width, canvas.height] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
      const context = canvas.getContext('2d');
      context.scale(devicePixelRatio, devicePixelRatio);
      context.font = this.font;
    }
    this.box.width = Math.max(0, width - MARGIN.left - MARGIN.right);
    this.box.height = Math.max(0, height - MARGIN.top - MARGIN.bottom);
    this.draw(); // in this frame: a canvas is empty after its size has changed
  }

  #scaleY(curves) {
    let [low, high] = [Infinity, -Infinity];
    for (const { values, raw, isBand } of curves) {
      const within = raw ?? values;
      for (let i = 0; i < within.length; i += 1) {
        const least = isBand ? within.low[i] : within.least[i];
        if (!this.isLog || least > 0) low = Math.min(low, least);
        high = Math.max(high, isBand ? within.high[i] : within.most[i]);
      }
    }
    if (low > high) [low, high] = this.isLog ? [0.1, 1] : [0, 1];
    if (this.bounds && !this.isLog) [low, high] = this.bounds;
    else if (this.isLog) [low, high] = [low / 1.05, Math.max(high, low) * 1.05];
    else [low, high] = [low - (high - low || 0.1) * 0.04, high + (high - low || 0.1) * 0.04];
    this.bottom = low;
    this.toY = ((place) => (value) => this.box.top + (1 - place(value)) * this.box.height)(scale(low, high, this.isLog));
    this.yTicks = this.isLog ? logTicks(low, high) : ticks(low, high, this.box.height / 40);
  }

  /** The pixel of a value of y. */
  toY = () => 0;

  /** The pixel of a place of the axis. */
  toX(value) {
    const [from, to] = this.range;
    return this.box.left + ((value - from) / (to - from)) * this.box.width;
  }

  #drawAxes(context) {
    const { left, top, width, height } = this.box;
    const [from, to] = this.range;
    context.lineWidth = 1;
    context.strokeStyle = this.colours.line;
    context.fillStyle = this.colours.quiet;
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    context.beginPath();
    for (const value of this.yTicks) {
      const y = Math.round(this.toY(value)) + 0.5;
      context.moveTo(left, y);
      context.lineTo(left + width, y);
      context.fillText(this.format(value), left - 8, y);
    }
    context.stroke();
    context.textBaseline = 'alphabetic';
    context.textAlign = 'center';
    for (const value of ticks(from, to, Math.max(4, width / 90), this.axis.isWhole)) context.fillText(this.axis.format(value), this.toX(value), top + height + 17);
    context.textAlign = 'left';
    context.fillText(this.axis.label, 0, top + height + 17);
  }

  /** From the least to the greatest value of what cannot be drawn point by point. */
  #fillBand(context, { x, low, high, length }) {
    const { left } = this.box;
    const floor = this.isLog ? this.bottom : -Infinity;
    context.globalAlpha = 0.16;
    context.beginPath();
    for (let i = 0; i < length; i += 1) context.lineTo(left + x[i], this.toY(Math.max(high[i], floor)));
    for (let i = length - 1; i >= 0; i -= 1) context.lineTo(left + x[i], this.toY(Math.max(low[i], floor)));
    context.fill();
  }

  /** Through all points; if they cannot be told apart, through the means of the columns: dashes cost by their length. */
  #stroke(context, { x, first, least, most, last, mean, length, isDense }) {
    const floor = this.isLog ? this.bottom : -Infinity; // zero has no logarithm
    const { left } = this.box;
    context.beginPath();
    for (let i = 0; i < length; i += 1) {
      context.lineTo(left + x[i], this.toY(Math.max(isDense ? mean[i] : first[i], floor)));
      if (isDense || least[i] === most[i]) continue;
      context.lineTo(left + x[i], this.toY(Math.max(least[i], floor)));
      context.lineTo(left + x[i], this.toY(Math.max(most[i], floor)));
      context.lineTo(left + x[i], this.toY(Math.max(last[i], floor)));
    }
    if (length === 1) context.arc(left + x[0], this.toY(Math.max(first[0], floor)), 1.5, 0, 7);
    context.stroke();
  }
}
