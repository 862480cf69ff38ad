// The selection of rows in the list of jobs, by mouse and by keyboard, and of all jobs that match its filters.

import { get } from './api.js';
import { startBulk } from './bulk.js';

const KEYS = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 };

const list = document.querySelector('#jobs');
const MAX_MATCHING = 5_000; // jobs that are selected beyond the page
const PAGE = 200;
let matching = null; // all jobs that match the filters, if these are selected
let anchor = null; // the checkbox at which a range begins

const boxes = () => [...list.querySelectorAll('tbody .select input')];
const rowsSelected = () => boxes().filter((box) => box.checked).map((box) => box.closest('tr'));
const shortId = (id) => id.slice(-8);
const itemOf = (row) => ({ id: row.dataset.key, state: row.dataset.state, name: row.querySelector('.name').textContent.trim(), isOthers: 'others' in row.dataset });
const selected = () => matching ?? rowsSelected().map(itemOf);

/** Makes rows selectable: a range with Shift, all by the box in the head. */
export function startSelection() {
  const bar = document.querySelector('#bulk');
  if (!bar) return;
  list.addEventListener('click', (event) => {
    if (event.target.id === 'select-all') select(boxes(), event.target.checked);
    else if (event.target.matches('tbody .select input')) selectTo(event.target, event.shiftKey);
    else return;
    change();
  });
  list.addEventListener('keydown', (event) => {
    const row = event.target.closest('tbody tr');
    if (row && press(event, row)) event.preventDefault();
  });
  document.querySelector('#select-none').addEventListener('click', () => {
    select(boxes(), false);
    change();
  });
  document.querySelector('#select-matching').addEventListener('click', selectMatching);
  document.addEventListener('rowschange', show);
  startBulk(selected, change);
  show(); // a browser may restore checked boxes
}

/** Acts on a key within a row; returns whether the key has a meaning there. */
function press(event, row) {
  const box = row.querySelector('.select input');
  if (event.key === 'Escape') select(boxes(), false);
  else if (event.key === 'a' && (event.ctrlKey || event.metaKey)) select(boxes(), true);
  else if (event.ctrlKey || event.metaKey || event.altKey) return false;
  else if (event.key === 'x') {
    box.checked = !box.checked;
    anchor = box;
  } else if (event.key in KEYS || event.key.toLowerCase() in KEYS) {
    const step = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    if (!next) return true;
    if (event.shiftKey) {
      anchor ??= box;
      box.checked = true;
      next.querySelector('.select input').checked = true;
    }
    const target = event.target.matches('a') ? 'a' : '.select input';
    next.querySelector(target).focus();
  } else return false;
  change();
  return true;
}

function selectTo(box, isRange) {
  const all = boxes();
  const from = all.indexOf(anchor);
  if (isRange && from >= 0) {
    const to = all.indexOf(box);
    select(all.slice(Math.min(from, to), Math.max(from, to) + 1), box.checked);
  }
  anchor = box;
}

function select(some, isSelected) {
  for (const box of some) box.checked = isSelected;
}

/** Shows a selection of rows; it takes the place of one of all that match. */
function change() {
  matching = null;
  show();
}

/** Selects all jobs that match the filters in the address, on this page of the list and on others. */
async function selectMatching({ target }) {
  const query = new URLSearchParams(location.search);
  query.delete('cursor');
  query.set('limit', PAGE);
  const found = [];
  target.disabled = true;
  try {
    for (let next = ''; next !== null && found.length < MAX_MATCHING;) {
      if (next) query.set('cursor', next);
      const page = await get(`/v1/jobs?${query}`);
      found.push(...page.data.map(({ id, state, name, kind }) => ({ id, state, name: name ?? `${kind} ${shortId(id)}` })));
      next = page.next_cursor;
    }
    matching = found;
  } catch (error) {
    document.querySelector('#selected').title = error.message; // the rows of this page stay selected
  }
  target.disabled = false;
  show();
}

/** Says how many rows are selected, and offers what can be done with them. */
function show() {
  const all = boxes();
  const rows = rowsSelected();
  const items = selected();
  const head = document.querySelector('#select-all');
  if (head) {
    head.checked = rows.length > 0 && rows.length === all.length;
    head.indeterminate = rows.length > 0 && rows.length < all.length;
  }
  const bar = document.querySelector('#bulk');
  bar.classList.toggle('inactive', !items.length);
  document.querySelector('#selected').textContent = `${items.length.toLocaleString('en')} selected`;
  const hasMore = document.querySelector('#jobs .pages a') !== null;
  document.querySelector('#select-matching').hidden = matching !== null || !hasMore || rows.length < all.length;
  const isOthers = items.length > 0 && items.every((item) => item.isOthers);
  for (const button of bar.querySelectorAll('[data-action]:not([data-action="retry"])')) button.hidden = isOthers;
  const compare = document.querySelector('#compare');
  compare.disabled = matching !== null || rows.length < 2 || rows.length > 10;
  compare.title = compare.disabled ? 'Select 2 to 10 jobs to compare them' : '';
}
