// The values of one metric as typed arrays that grow at their end, with bounded memory and smoothing.

const FIRST_CAPACITY = 256;
const FIELDS = ['x', 'y', 'min', 'max', 'smooth'];

/**
 * Points in the order of x. A point may stand for several: it is the last of them, with their least and greatest y.
 *
 * When there are `limit` points, each two neighbours become one, so that a page that is left open does not grow.
 */
export class Series {
  length = 0;
  /** Whether each point is one recorded value, and none was merged. */
  isComplete = true;
  /** Changes with any change of the points. */
  version = 0;
  #limit;
  #span = 0;
  #sum = 0;
  #weight = 0;

  /** @param {number} limit the greatest number of points; even */
  constructor(limit = 8_192) {
    this.#limit = limit;
    for (const field of FIELDS) this[field] = new Float64Array(Math.min(limit, FIRST_CAPACITY));
  }

  /** The x of the newest point; -1 before the first one. */
  get last() {
    return this.length ? this.x[this.length - 1] : -1;
  }

  /**
   * Adds points of the API at the end; those that are here already are left out, so nothing is ever repeated.
   * @param {{x: number[], y: number[], min?: number[] | null, max?: number[] | null}} points
   */
  append({ x, y, min, max }) {
    for (let i = 0; i < x.length; i += 1) {
      if (x[i] > this.last) this.push(x[i], y[i], min?.[i] ?? y[i], max?.[i] ?? y[i]);
    }
    if (min && x.length) this.isComplete = false;
  }

  /** Adds a point at the end. */
  push(x, y, min = y, max = y) {
    if (this.length === this.#limit) this.#merge();
    if (this.length === this.x.length) this.#grow();
    const i = this.length;
    const previous = this.last;
    this.x[i] = x;
    this.y[i] = y;
    this.min[i] = min;
    this.max[i] = max;
    this.length += 1;
    this.#smooth(i, previous);
    this.version += 1;
  }

  /** How many units of x the smoothed values are the mean of, about; 0: they are the values. */
  get span() {
    return this.#span;
  }

  /** @param {number} span */
  set span(span) {
    if (span === this.#span) return;
    this.#span = span;
    this.#sum = 0;
    this.#weight = 0;
    for (let i = 0; i < this.length; i += 1) this.#smooth(i, i ? this.x[i - 1] : -1);
    this.version += 1;
  }

  /** An exponential moving average, debiased: its weights add up to 1 from the first point on. */
  #smooth(i, previous) {
    // by the distance in x, not by points: so a downsampled curve is smoothed as the whole one
    const decay = this.#span > 1 ? (1 - 1 / this.#span) ** (this.x[i] - previous) : 0;
    this.#sum = decay * this.#sum + (1 - decay) * this.y[i];
    this.#weight = decay * this.#weight + (1 - decay);
    this.smooth[i] = this.#sum / this.#weight;
  }

  #grow() {
    const capacity = Math.min(2 * this.length, this.#limit);
    for (const field of FIELDS) {
      const longer = new Float64Array(capacity);
      longer.set(this[field]);
      this[field] = longer;
    }
  }

  #merge() {
    const half = this.length / 2;
    for (let i = 0; i < half; i += 1) {
      const [first, second] = [2 * i, 2 * i + 1];
      this.x[i] = this.x[second];
      this.y[i] = this.y[second];
      this.smooth[i] = this.smooth[second];
      this.min[i] = Math.min(this.min[first], this.min[second]);
      this.max[i] = Math.max(this.max[first], this.max[second]);
    }
    this.length = half;
    this.isComplete = false;
  }
}

/**
 * The index of the first point whose place on an axis is at least a value; the number of points if there is none.
 * @param {Series} series
 * @param {(x: number) => number} toAxis increasing
 * @param {number} value
 */
export function indexOf(series, toAxis, value) {
  let low = 0;
  let high = series.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (toAxis(series.x[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
