// The tab `training` of a job's page: charts that grow while the job trains, and what a person sets for them.

import { Chart } from './chart.js';
import { placeForTable, toPicture, toTable } from './chart_export.js';
import { follow, JobCurves } from './job_curves.js';
import { short } from './scales.js';
import { indexOf } from './series.js';
import { onThemeChange } from './theme.js';
import { duration } from './times.js';

const DASHES = [[], [9, 3], [2, 2], [9, 3, 2, 3], [5, 5]]; // one a job
const VALIDATION_DASH = [6, 4];
const ZOOM_MS = 200;
const TABLE_MS = 500;
const SETTINGS = 'trainshed.training';
const AXES = {
  step: { label: 'Step', format: short, isWhole: true },
  epoch: { label: 'Epoch', format: (value) => short(Math.round(value * 100) / 100), isWhole: true },
  time: { label: 'Time', format: duration, isWhole: false },
};

const root = document.querySelector('#curves');
const controls = root.querySelector('.curve-controls');
const jobs = [...root.querySelectorAll('[data-curves-of]')].map((item) => new JobCurves({
  id: item.dataset.curvesOf,
  name: item.dataset.name,
  stepsPerEpoch: Number(item.dataset.stepsPerEpoch),
  seconds: item.dataset.seconds.split(' ').filter(Boolean).map(Number),
}, () => {
  if (isUnknown()) location.reload(); // the server makes the charts
  panels.forEach((panel) => panel.update());
}));

/** A chart, with the series that it shows. */
class Panel {
  table = null;
  filling = 0;

  constructor(figure) {
    const { resolution } = figure.dataset;
    const names = JSON.parse(figure.dataset.names);
    this.resolution = resolution;
    this.isLoss = names.some((name) => name.includes('loss'));
    this.isShare = names.every((name) => name.endsWith('accuracy')); // from 0 to 1
    this.chart = new Chart(figure, {
      onView: (view) => this.share((panel) => panel.setView(view), (panel) => panel !== this),
      onCursor: (at) => this.share((panel) => panel.chart.cursor.show(at), (panel) => panel !== this),
    });
    const onView = this.chart.onView;
    this.chart.onView = (view) => {
      onView(view);
      this.showReset();
      this.fillTable();
      zoomSoon();
    };
    this.chart.format = this.isShare ? (value) => short(Number(value.toPrecision(4))) : short;
    this.lines = jobs.flatMap((job, place) => names.map((name) => line(job, place, resolution, name)));
    this.chart.setLines(this.lines);
    this.#addActions(figure);
  }

  get unit() {
    return controls.x.value === 'own' ? this.resolution : controls.x.value;
  }

  /** Does something with the charts that have the same axis. */
  share(action, concerns = () => true) {
    panels.filter((panel) => panel.unit === this.unit && concerns(panel)).forEach(action);
  }

  setView(view) {
    this.chart.setView(view);
    this.showReset();
    this.fillTable();
  }

  showReset() {
    this.reset.hidden = this.chart.view === null;
  }

  /** Draws what was added; a table that is shown follows. */
  update() {
    this.chart.update();
    this.fillTable();
  }

  /** Writes a table that is shown again, a moment later, so that many changes are one. */
  fillTable() {
    this.filling ||= setTimeout(() => {
      this.filling = 0;
      this.table?.replaceChildren(toTable(this.chart));
    }, TABLE_MS);
  }

  /** Applies the settings. */
  apply() {
    this.chart.axis = AXES[this.unit];
    this.chart.isLog = this.isLoss && controls.log.checked;
    this.chart.bounds = this.isShare && controls.whole.checked ? [0, 1] : null;
    const span = this.resolution === 'step' ? Number(controls.span.value) : 0;
    for (const each of this.lines) {
      each.toAxis = each.job.toAxis(this.resolution, this.unit);
      for (const series of [each.series, each.detail]) if (series) series.span = span;
    }
    this.chart.update(true);
    this.fillTable();
  }

  #addActions(figure) {
    const actions = figure.querySelector('.chart-actions');
    const button = (text, label, action) => {
      const made = Object.assign(document.createElement('button'), { type: 'button', textContent: text, title: label });
      made.addEventListener('click', () => action(made));
      actions.prepend(made);
      return made;
    };
    button('Table', 'Show the points in view as a table', (toggle) => {
      if (this.table) {
        this.table.remove();
        this.table = null;
      } else {
        this.table = figure.appendChild(placeForTable(this.chart));
        this.table.append(toTable(this.chart));
      }
      toggle.setAttribute('aria-expanded', String(this.table !== null));
    });
    button('PNG', 'Download this chart as a picture', () => download(this.chart, `${figure.id}-${jobs[0].id}.png`));
    this.reset = button('Show all', 'End the zoom', () => {
      this.share((panel) => panel.setView(null));
      this.chart.plot.focus();
    });
    this.reset.hidden = true;
  }
}

/** Whether the job has a metric that had no values when the page was made. */
function isUnknown() {
  const known = new Set([...JSON.parse(root.dataset.metrics), ...panels.flatMap((panel) => panel.lines.map(({ metric }) => metric))]);
  return Object.values(jobs[0].series).some((series) => Object.keys(series).some((name) => !known.has(name)));
}

function line(job, place, resolution, name) {
  const isValidation = name.startsWith('val_');
  const words = isValidation ? 'validation' : resolution === 'step' ? 'each batch' : 'training';
  return {
    job,
    metric: name,
    name: jobs.length > 1 ? `${job.name}, ${words}` : words,
    series: job.seriesOf(resolution, name),
    colour: place ? place + 2 : isValidation ? 2 : 1,
    dash: place ? DASHES[place] : isValidation ? VALIDATION_DASH : [],
    width: place && isValidation ? 1 : 1.75,
    toAxis: (x) => x,
  };
}

async function download(chart, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await toPicture(chart));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

let zoomTimer = 0;
let zooming = new AbortController();

/** Fetches the range in view in full resolution, once the person has stopped zooming. */
function zoomSoon() {
  clearTimeout(zoomTimer);
  zooming.abort();
  zoomTimer = setTimeout(() => {
    zooming = new AbortController();
    for (const job of jobs) refine(job, zooming.signal).catch(() => {}); // the coarse curve stays
  }, ZOOM_MS);
}

async function refine(job, signal) {
  const shown = panels.filter((panel) => panel.resolution === 'step' && panel.chart.view);
  const lines = shown.flatMap((panel) => panel.lines).filter((each) => each.job === job);
  if (!lines.length || lines[0].series.isComplete || !lines[0].series.length) return;
  const [{ series, toAxis }] = lines;
  const [from, to] = shown[0].chart.view;
  const first = Math.max(0, indexOf(series, toAxis, from) - 1);
  const last = Math.min(series.length - 1, indexOf(series, toAxis, to));
  const fetched = await job.range('step', first ? series.x[first] : 0, series.x[last], signal);
  for (const each of lines) {
    each.detail = fetched[each.metric] ?? null;
    if (each.detail) each.detail.span = each.series.span;
  }
  shown.forEach((panel) => panel.update());
}

function remember() {
  const { x, span, log, whole } = controls;
  try {
    localStorage.setItem(SETTINGS, JSON.stringify({ x: x.value, span: span.value, log: log.checked, whole: whole.checked }));
  } catch {
    // without storage they last as long as the page
  }
}

function recall() {
  try {
    const { x = 'own', span = 0, log = false, whole = false } = JSON.parse(localStorage.getItem(SETTINGS)) ?? {};
    Object.assign(controls.x, { value: x });
    Object.assign(controls.span, { value: span });
    controls.log.checked = log;
    controls.whole.checked = whole;
  } catch {
    // as the page has them
  }
}

function applyAll() {
  for (const panel of panels) panel.apply();
}

recall();
controls.hidden = false;
const panels = [...root.querySelectorAll('figure.chart')].map((figure) => new Panel(figure));
applyAll();
controls.addEventListener('input', (event) => {
  if (event.target === controls.x) panels.forEach((panel) => panel.setView(null));
  remember();
  applyAll();
});
onThemeChange(() => panels.forEach((panel) => panel.chart.readColours()));
follow(jobs);

/** For tests: the points that the charts show. */
root.curves = jobs;
