// Times in the viewer's zone: relative ones that tick, durations that grow, the exact moment on hover.

const UNITS = [[86_400, 'd'], [3_600, 'h'], [60, 'min'], [1, 's']];
const IGNORED_OFFSET_MS = 5_000; // the page's way from the server; a larger difference is a wrong clock
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

const serverTime = document.querySelector('meta[name="server-time"]')?.content;
const offset = serverTime ? Date.parse(serverTime) - Date.now() : 0;
const offsetMs = Math.abs(offset) > IGNORED_OFFSET_MS ? offset : 0;

/** The present by the server's clock, in milliseconds since 1970. */
export const now = () => Date.now() + offsetMs;

/**
 * How long ago a moment is, as the server writes it: `3 min ago`, `in 2 h`, `now`.
 * @param {number} at milliseconds since 1970
 */
export function relative(at) {
  const seconds = Math.trunc((now() - at) / 1000);
  const unit = UNITS.find(([size]) => Math.abs(seconds) >= size);
  if (!unit) return 'now';
  const text = `${Math.floor(Math.abs(seconds) / unit[0])} ${unit[1]}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/**
 * A duration, as the server writes it: `0.42 s`, `12 s`, `3 min 05 s`, `2 h 03 min`, `1 d 02 h`.
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 0.995) return `${Number(Math.max(seconds, 0).toPrecision(2))} s`;
  if (seconds < 9.995) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const pad = (number) => String(number).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3_600)} h ${pad(Math.floor((whole % 3_600) / 60))} min`;
  return `${Math.floor(whole / 86_400)} d ${pad(Math.floor((whole % 86_400) / 3_600))} h`;
}

const FORMATS = {
  relative,
  elapsed: (at) => duration(Math.max(0, Math.round((now() - at) / 1000))),
  moment: (at) => exact.format(at),
  clock: (at) => clock.format(at),
};

/**
 * Writes the times within an element in the viewer's zone; called again after each change of the page.
 * @param {ParentNode} root
 */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll('time[data-format]')) {
    const at = Date.parse(time.dateTime);
    const text = FORMATS[time.dataset.format](at);
    if (time.textContent !== text) time.textContent = text;
    if (!time.dataset.exact) {
      time.dataset.exact = 'true';
      time.title = `${time.dataset.format === 'elapsed' ? 'since ' : ''}${exact.format(at)}`;
    }
  }
}

showTimes();
setInterval(() => document.hidden || showTimes(), 1_000);
document.addEventListener('visibilitychange', () => document.hidden || showTimes());
