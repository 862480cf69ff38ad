// Opens a chart of curves with a history on an empty page, for tests: `openChart`, `runLive`.

/** Replaces the page by one chart of `curves` curves with `points` points each. */
async function openChart({ folder, points, curves = 1, isLog = false }) {
  const [{ Chart }, { Series }] = await Promise.all(['chart.js', 'series.js'].map((name) => import(`${folder}/${name}`)));
  document.querySelector('main').innerHTML = '<figure class="chart"><figcaption>Loss</figcaption></figure>';
  const chart = new Chart(document.querySelector('figure'));
  const lines = Array.from({ length: curves }, (_, i) => {
    const series = new Series();
    for (let x = 0; x < points; x += 1) series.push(x, value(i, x, points));
    return { name: `curve ${i + 1}`, series, toAxis: (x) => x, colour: i + 1, dash: i ? [3 * i, 3] : [] };
  });
  chart.isLog = isLog;
  chart.setLines(lines);
  Object.assign(window, { chart, lines });
}

const value = (curve, x, points) => 2 * Math.exp(-3 * x / points) + 0.1 * curve + 0.1 * Math.sin(x * 12.9898 + curve);

/** Appends points to all curves ten times a second. @returns {Promise<number>} how often the chart was drawn */
function runLive(ms) {
  const draw = chart.draw.bind(chart);
  let drawn = 0;
  chart.draw = () => {
    drawn += 1;
    draw();
  };
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      for (const [i, { series }] of lines.entries()) {
        for (let k = 0; k < 11; k += 1) series.push(series.last + 1, value(i, series.last + 1, 1e5));
      }
      chart.update();
    }, 100);
    setTimeout(() => {
      clearInterval(timer);
      resolve(drawn);
    }, ms);
  });
}
Object.assign(window, { openChart, runLive });
