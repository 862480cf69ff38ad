// The tab `logs` of a job's page: follows the log by a cursor, so that each line is fetched once.

import { get } from './api.js';
import { live } from './live.js';
import { showTimes } from './times.js';

const INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 10_000;
const PAGE = 1_000;
const NEAR_END_PX = 40;

const log = document.querySelector('#log');
const list = log.querySelector('ol');
const jobId = location.pathname.split('/')[2];
const { attempt, level, q } = log.dataset;
let { after } = log.dataset;

const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
const toEnd = () => log.scrollTo(0, log.scrollHeight);

function part(name, className, text) {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

/** A line as the server renders it. */
function row(line) {
  const item = part('li', line.level, '');
  const time = Object.assign(part('time', '', ''), { dateTime: line.at });
  time.dataset.format = 'clock';
  const number = Object.assign(part('span', 'num', line.attempt), { title: `Attempt ${line.attempt}` });
  const message = part('span', 'message', line.message);
  for (const [name, value] of Object.entries(line.fields)) {
    message.append(' ', part('span', 'quiet', `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`));
  }
  item.append(time, part('span', 'level', line.level), number, message);
  return item;
}

/** Fetches the lines after the last one. @returns {Promise<boolean>} whether there may be more at once */
async function fetchNew() {
  const query = new URLSearchParams({ after, level, q, limit: PAGE });
  const { data, next_cursor: next, has_more: hasMore } = await get(`/v1/jobs/${jobId}/logs?${query}`);
  after = next ?? after;
  const own = data.filter((line) => !attempt || String(line.attempt) === attempt);
  if (!own.length) return hasMore;
  const wasAtEnd = isAtEnd();
  list.append(...own.map(row));
  showTimes(list);
  log.querySelector('.log-empty').hidden = true;
  if (wasAtEnd) toEnd();
  return hasMore;
}

/** Follows until the job has ended, and a moment longer: a worker writes its last lines after the end. */
async function follow() {
  let wait = INTERVAL_MS;
  for (let more = 3; more > 0; more -= live.state === 'ended' ? 1 : 0) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (document.hidden || live.isPaused) continue;
    try {
      while (await fetchNew());
      wait = INTERVAL_MS;
    } catch (error) {
      if ([401, 403, 404].includes(error.status)) return;
      wait = Math.min(2 * wait, MAX_INTERVAL_MS);
    }
  }
}

const copy = document.querySelector('#copy-log');
copy.hidden = false;
copy.addEventListener('click', async () => {
  await navigator.clipboard.writeText([...list.children].map((line) => [...line.children].map((cell) => cell.textContent).join(' ')).join('\n'));
  copy.textContent = 'Copied';
});

toEnd();
if (log.dataset.live === 'yes') follow();
