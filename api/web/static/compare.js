// Jobs side by side: their curves over one another, with one legend and one cursor for all charts.

import { Chart } from './chart.js';
import { follow, JobCurves } from './job_curves.js';
import { short } from './scales.js';
import './shown_jobs.js';
import { onThemeChange } from './theme.js';

const COLOURS = 8;
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 3], [6, 2, 1, 2, 1, 2], [10, 2, 2, 2], [4, 4], [3, 1]]; // as the stylesheet's
const AXIS = { label: 'Epoch', format: (value) => short(Math.round(value * 100) / 100), isWhole: true };

const root = document.querySelector('#comparison');

/** Puts live charts in the place of the server's. */
function show() {
  const jobs = root.dataset.jobs.split(' ').map((id) => {
    const { name } = document.querySelector(`th[data-key="${id}"]`).dataset;
    return new JobCurves({ id, name, stepsPerEpoch: 1, seconds: [] }, () => charts.forEach((chart) => chart.update()), ['epoch']);
  });
  const charts = [...root.querySelectorAll('figure')].map((figure) => {
    const chart = new Chart(figure, {
      onView: (view) => charts.forEach((each) => setView(each, view)),
      onCursor: (at) => charts.forEach((each) => each === chart || each.cursor.show(at)),
    });
    chart.axis = AXIS;
    chart.setLines(jobs.map((job, place) => ({
      name: job.name,
      series: job.seriesOf('epoch', figure.dataset.metric),
      toAxis: job.toAxis('epoch', 'epoch'),
      colour: (place % COLOURS) + 1,
      dash: DASHES[place],
    })));
    const reset = Object.assign(document.createElement('button'), { type: 'button', textContent: 'Show all', hidden: true });
    reset.addEventListener('click', () => {
      charts.forEach((each) => setView(each, null));
      chart.plot.focus();
    });
    figure.querySelector('.chart-actions').append(reset);
    return chart;
  });
  shareLegend(charts);
  onThemeChange(() => charts.forEach((chart) => chart.readColours()));
  follow(jobs);
  /** For tests: the points that the charts show. */
  root.curves = jobs;
}

function setView(chart, view) {
  if (chart.view !== view) chart.setView(view);
  chart.plot.closest('figure').querySelector('.chart-actions button').hidden = view === null;
}

/** Moves the first chart's legend above all charts; it shows and hides a job's curves in each of them. */
function shareLegend([first, ...others]) {
  first.legend.classList.add('shared-legend');
  root.prepend(first.legend);
  for (const { legend } of others) legend.hidden = true;
  for (const [place, button] of [...first.legend.children].entries()) {
    button.addEventListener('click', () => others.forEach(({ legend }) => legend.children[place].click()));
  }
}

if (root) show();
