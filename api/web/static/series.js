// The values of one metric as typed arrays that grow at their end, with bounded memory and smoothing.

const FIRST_CAPACITY = 256;
const FIELDS = ['x', 'y', 'min', 'max', 'smooth'];

/**
 * Points in the order of x. A point may stand for several: it is the last of them, with their least and greatest y.
 *
 * When there are `limit` points, those in the same interval of x become one, and so do those that come later: the
 * past keeps the resolution of the present, however long a page is left open. The first point always stays.
 */
export class Series {
  length = 0;
  /** Whether each point is one recorded value, and none was merged. */
  isComplete = true;
  /** Changes with any change of the points. */
  version = 0;
  #limit;
  #width = 0; // of the intervals, in units of x; 0: each point stands for itself
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
   * Where y is null there is no point.
   * @param {{x: number[], y: (number | null)[], min?: (number | null)[] | null, max?: (number | null)[] | null}} points
   */
  append({ x, y, min, max }) {
    for (let i = 0; i < x.length; i += 1) {
      if (x[i] > this.last && y[i] !== null) this.push(x[i], y[i], min?.[i] ?? y[i], max?.[i] ?? y[i]);
    }
    if (min && x.length) this.isComplete = false;
  }

  /** Adds a point at the end, or to the last one if both lie in one interval. */
  push(x, y, min = y, max = y) {
    const previous = this.last;
    if (!this.#belongsToLast(x)) {
      if (this.length === this.#limit) this.#merge();
      if (this.length === this.x.length) this.#grow();
      this.length += 1;
      this.#set(this.length - 1, x, y, min, max);
    } else {
      const i = this.length - 1;
      this.#set(i, x, y, Math.min(this.min[i], min), Math.max(this.max[i], max));
    }
    this.#smooth(this.length - 1, previous);
    this.version += 1;
  }

  /** Drops the points from x on. */
  cut(x) {
    while (this.last >= x) this.length -= 1;
    this.#smoothAgain();
  }

  /** How many units of x the smoothed values are the mean of, about; 0: they are the values. */
  get span() {
    return this.#span;
  }

  /** @param {number} span */
  set span(span) {
    if (span === this.#span) return;
    this.#span = span;
    this.#smoothAgain();
  }

  #smoothAgain() {
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

  #set(i, x, y, min, max) {
    this.x[i] = x;
    this.y[i] = y;
    this.min[i] = min;
    this.max[i] = max;
  }

  #belongsToLast(x) {
    return this.#width > 0 && this.length > 1 && this.#interval(x) === this.#interval(this.last);
  }

  #interval(x) {
    return Math.floor((x - this.x[0]) / this.#width);
  }

  /** Makes the intervals so wide that at most about half of the points are left. */
  #merge() {
    const half = this.#limit / 2;
    while (this.length > half + 2) {
      this.#width = 2 * this.#width || (this.last - this.x[0]) / half;
      const { length } = this;
      this.length = 1;
      for (let i = 1; i < length; i += 1) {
        const { [i]: x } = this.x;
        const at = this.#belongsToLast(x) ? this.length - 1 : this.length;
        const isFirst = at === this.length;
        const least = isFirst ? this.min[i] : Math.min(this.min[at], this.min[i]);
        const most = isFirst ? this.max[i] : Math.max(this.max[at], this.max[i]);
        this.#set(at, x, this.y[i], least, most);
        this.smooth[at] = this.smooth[i];
        this.length = at + 1;
      }
    }
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
