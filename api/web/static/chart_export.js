// A chart in other forms: as a picture to download, and as a table.

import { indexOf } from './series.js';

const MAX_ROWS = 500;
const TITLE_PX = 30;
const LEGEND_PX = 22;

/**
 * The chart with its title and its legend.
 * @param {import('./chart.js').Chart} chart
 * @returns {Promise<Blob>} a PNG
 */
export function toPicture(chart) {
  const { canvas, box, colours, font } = chart;
  const ratio = canvas.width / canvas.clientWidth;
  const height = canvas.clientHeight + TITLE_PX + LEGEND_PX;
  const picture = Object.assign(document.createElement('canvas'), { width: canvas.width, height: height * ratio });
  const context = picture.getContext('2d');
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(canvas, 0, TITLE_PX * ratio);
  context.scale(ratio, ratio);
  context.fillStyle = colours.ink;
  context.font = font.replace('12px', '600 14px');
  context.fillText(chart.title, 12, 20);
  context.font = font;
  let x = box.left;
  for (const { name, colour, dash } of chart.lines) {
    context.setLineDash(dash);
    context.lineWidth = 2;
    context.strokeStyle = colours[`series-${colour}`];
    context.stroke(new Path2D(`M${x} ${height - 12}h22`));
    context.fillText(name, x + 28, height - 8);
    x += 48 + context.measureText(name).width;
  }
  return new Promise((resolve) => picture.toBlob(resolve));
}

/**
 * An empty place for a chart's table, which scrolls by itself.
 * @param {import('./chart.js').Chart} chart
 */
export function placeForTable(chart) {
  const scroll = Object.assign(document.createElement('div'), { className: 'scroll', tabIndex: 0 });
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', `${chart.title} as a table`);
  return scroll;
}

/**
 * The points in view, newest last, of at most 500 places: those of the first curve.
 * @param {import('./chart.js').Chart} chart
 * @returns {HTMLTableElement}
 */
export function toTable(chart) {
  const [from, to] = chart.range;
  const lines = chart.lines.map((line) => ({ ...line, points: line.detail ?? line.series }));
  const table = document.createElement('table');
  const header = table.createTHead().insertRow();
  for (const text of [chart.axis.label, ...lines.map(({ name }) => name)]) {
    const cell = header.appendChild(document.createElement('th'));
    Object.assign(cell, { scope: 'col', className: 'num', textContent: text });
  }
  const body = table.createTBody();
  if (!lines.length) return table;
  const [{ points, toAxis }] = lines;
  const end = Math.min(points.length, indexOf(points, toAxis, to) + 1);
  for (let i = Math.max(indexOf(points, toAxis, from), end - MAX_ROWS); i < end; i += 1) {
    const place = toAxis(points.x[i]);
    if (place > to) break;
    const row = body.insertRow();
    const values = lines.map((line) => line.points.y[indexOf(line.points, line.toAxis, place)]);
    for (const text of [chart.axis.format(place), ...values.map((value) => (value === undefined ? '–' : chart.format(value)))]) {
      Object.assign(row.insertCell(), { className: 'num', textContent: text });
    }
  }
  return table;
}
