// The selection of rows in the list of jobs, by mouse and by keyboard.

import { startBulk } from './bulk.js';

const KEYS = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 };

const list = document.querySelector('#jobs');
let anchor = null; // the checkbox at which a range begins

const boxes = () => [...list.querySelectorAll('tbody .select input')];
const rowsSelected = () => boxes().filter((box) => box.checked).map((box) => box.closest('tr'));

/** Makes rows selectable: a range with Shift, all by the box in the head. */
export function startSelection() {
  const bar = document.querySelector('#bulk');
  if (!bar) return;
  list.addEventListener('click', (event) => {
    if (event.target.id === 'select-all') select(boxes(), event.target.checked);
    else if (event.target.matches('tbody .select input')) selectTo(event.target, event.shiftKey);
    else return;
    show();
  });
  list.addEventListener('keydown', (event) => {
    const row = event.target.closest('tbody tr');
    if (row && press(event, row)) event.preventDefault();
  });
  document.querySelector('#select-none').addEventListener('click', () => {
    select(boxes(), false);
    show();
  });
  document.addEventListener('rowschange', show);
  startBulk(rowsSelected, show);
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
  show();
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

/** Says how many rows are selected, and offers what can be done with them. */
function show() {
  const all = boxes();
  const rows = rowsSelected();
  const head = document.querySelector('#select-all');
  if (head) {
    head.checked = rows.length > 0 && rows.length === all.length;
    head.indeterminate = rows.length > 0 && rows.length < all.length;
  }
  const bar = document.querySelector('#bulk');
  bar.classList.toggle('inactive', !rows.length);
  document.querySelector('#selected').textContent = `${rows.length} selected`;
  const compare = document.querySelector('#compare');
  compare.disabled = rows.length < 2 || rows.length > 10;
  compare.title = compare.disabled ? 'Select 2 to 10 jobs to compare them' : '';
}
