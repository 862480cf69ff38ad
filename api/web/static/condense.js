// Condenses a curve to what can be seen of it: for each two pixels of its width its first, least,
// greatest, last and mean value.

import { indexOf } from './series.js';

const COLUMN_PX = 2;
const DENSE = 3; // points of a column, from which on they cannot be told apart
const FIELDS = ['x', 'first', 'least', 'most', 'last', 'low', 'high', 'mean'];

/**
 * Returns the columns of a curve between two places of the axis, and one point beyond each.
 *
 * `low` and `high` are the bounds of what the points stand for, `least` and `most` those of the points themselves.
 * @param {import('./series.js').Series} series
 * @param {Float64Array} values `series.y` or `series.smooth`
 * @param {(x: number) => number} toAxis
 * @param {number} from
 * @param {number} to
 * @param {number} width in pixels
 * @returns {{length: number, isDense: boolean} & Record<string, Float64Array>}
 */
export function condense(series, values, toAxis, from, to, width) {
  const start = Math.max(0, indexOf(series, toAxis, from) - 1);
  const end = Math.min(series.length, indexOf(series, toAxis, to) + 1);
  const capacity = Math.max(0, Math.min(end - start, Math.ceil(width / COLUMN_PX) + 4));
  const columns = { length: 0 };
  for (const field of FIELDS) columns[field] = new Float64Array(capacity);
  const { x, min, max } = series;
  const pixels = width / (to - from);
  let column = NaN;
  let count = 0;
  let at = -1;
  for (let i = start; i < end; i += 1) {
    const place = Math.max(-1, Math.min(width + 1, (toAxis(x[i]) - from) * pixels));
    const value = values[i];
    if (Math.floor(place / COLUMN_PX) !== column) {
      column = Math.floor(place / COLUMN_PX);
      at += 1;
      // a point that lies beyond the edge is drawn where it is, so that the line to it has its slope
      columns.x[at] = i === start || i === end - 1 ? (toAxis(x[i]) - from) * pixels : place;
      columns.first[at] = columns.least[at] = columns.most[at] = columns.last[at] = value;
      columns.low[at] = min[i];
      columns.high[at] = max[i];
      columns.mean[at] = value;
      count = 1;
      continue;
    }
    count += 1;
    columns.mean[at] += (value - columns.mean[at]) / count;
    columns.last[at] = value;
    if (value < columns.least[at]) columns.least[at] = value;
    if (value > columns.most[at]) columns.most[at] = value;
    if (min[i] < columns.low[at]) columns.low[at] = min[i];
    if (max[i] > columns.high[at]) columns.high[at] = max[i];
  }
  columns.length = at + 1;
  columns.isDense = end - start > DENSE * columns.length;
  return columns;
}
