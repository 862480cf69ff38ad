// Axes of charts: round ticks, linear or logarithmic, and numbers as people write them.

/**
 * Maps values to 0..1 between two bounds.
 * @param {number} low
 * @param {number} high greater than `low`; of a logarithmic scale both are greater than 0
 * @param {boolean} isLog
 */
export function scale(low, high, isLog) {
  if (!isLog) return (value) => (value - low) / (high - low);
  const [from, to] = [Math.log(low), Math.log(high)];
  return (value) => (Math.log(value) - from) / (to - from);
}

/**
 * About `count` round values between two bounds.
 * @param {number} low
 * @param {number} high
 * @param {number} count
 * @param {boolean} isWhole whether only whole numbers make sense
 */
export function ticks(low, high, count, isWhole = false) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power, isWhole ? 1 : 0);
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) values.push(i * step);
  return values;
}

/** Round values of a logarithmic scale: powers of ten, and between few of these also their double and fivefold. */
export function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const factors = decades > 3 ? [1] : decades > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const values = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    values.push(...factors.map((factor) => factor * 10 ** power));
  }
  return values.filter((value) => value >= low * 0.999 && value <= high * 1.001);
}

/** A number with about three digits: `0.0213`, `12.5`, `1.5e-7`, `12,000`. */
export function short(value) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
  return Number(value.toPrecision(size >= 1000 ? 7 : 4)).toLocaleString('en', { maximumSignificantDigits: 7 });
}
