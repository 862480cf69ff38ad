// The list of jobs: its rows change where they are, and new jobs wait behind a button, so that nothing jumps.

import { live } from './live.js';
import { fetchPage, morph, refresh } from './parts.js';
import { startSelection } from './selection.js';
import { showTimes } from './times.js';

const INTERVAL_MS = 1_000;
const MAX_ASKED = 200; // ids in a request
const MAX_WAITING = 1_000; // new jobs that are counted one by one

const button = document.querySelector('#new-jobs');
const changed = new Set(); // ids of shown jobs with events since they were fetched
const candidates = new Set(); // ids of other jobs with events, which may match the filters now
const found = new Set(); // those that do
let isBusy = false;

const rowOf = (id) => document.querySelector(`#jobs tr[data-key="${id}"]`);

live.subscribe((events) => {
  for (const { data } of events) {
    if (!data.job_id) continue;
    if (rowOf(data.job_id)) changed.add(data.job_id);
    else if (!found.has(data.job_id) && candidates.size + found.size < MAX_WAITING) candidates.add(data.job_id);
  }
  update();
});

button.addEventListener('click', async () => {
  if (button.dataset.first) {
    location.assign(button.dataset.first);
    return;
  }
  const known = new Set([...document.querySelectorAll('#jobs tr[data-key]')].map((row) => row.dataset.key));
  if (!known.size) location.reload(); // there is no table yet
  else if (await refresh()) {
    found.clear();
    announce();
    const rows = [...document.querySelectorAll('#jobs tr[data-key]')];
    for (const row of rows) row.classList.toggle('arrived', !known.has(row.dataset.key));
    rows[0]?.querySelector('a').focus();
  }
});

startSelection();

/** Fetches the rows that changed, at most once a second; events that come meanwhile are next. */
async function update() {
  if (isBusy || !(changed.size || candidates.size)) return;
  isBusy = true;
  const shown = take(changed);
  const asked = take(candidates);
  const fetched = await fetchPage(address(shown, asked));
  if (fetched) {
    for (const row of fetched.querySelectorAll('tr[data-key]')) {
      const old = rowOf(row.dataset.key);
      if (old) morph(old, row);
    }
    morph(document.querySelector('[data-part="counts"]'), fetched.querySelector('[data-part="counts"]'));
    for (const id of fetched.querySelector('#matching').value.split(' ')) {
      if (id && !rowOf(id)) found.add(id);
    }
    announce();
    showTimes();
    document.dispatchEvent(new CustomEvent('rowschange'));
  } else {
    for (const id of shown) changed.add(id);
    for (const id of asked) candidates.add(id);
  }
  setTimeout(() => {
    isBusy = false;
    update();
  }, INTERVAL_MS);
}

function take(ids) {
  const taken = [...ids].slice(0, MAX_ASKED);
  for (const id of taken) ids.delete(id);
  return taken;
}

function address(shown, asked) {
  const query = new URLSearchParams(location.search);
  for (const name of ['cursor', 'limit']) query.delete(name);
  for (const id of shown) query.append('shown', id);
  for (const id of asked) query.append('new', id);
  return `/jobs/rows?${query}`;
}

function announce() {
  const count = found.size >= MAX_WAITING ? `${MAX_WAITING.toLocaleString('en')} or more` : found.size;
  const text = `${count} new ${found.size === 1 ? 'job' : 'jobs'}`;
  if (button.textContent !== text) button.textContent = text;
  button.hidden = !found.size;
}
