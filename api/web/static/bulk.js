// Actions on the selected jobs: a dialog counts what will happen, asks, and then lists what happened to each.

import { newKey, post } from './api.js';
import { refresh } from './parts.js';

const UNFINISHED = ['queued', 'running'];
const MAX_IDS = 200; // of a batch
const MAX_SHOWN = 200; // results
const ACTIONS = {
  cancel: {
    applies: (state) => UNFINISHED.includes(state),
    text: (states) => (states.has('running') ? 'What a running job has trained so far is not kept as a model.' : ''),
    left: ['has already finished, and stays as it is.', 'have already finished, and stay as they are.'],
    done: 'Cancelled',
  },
  retry: {
    applies: (state) => !UNFINISHED.includes(state),
    text: () => 'Each is submitted again as a new job, with the same seed.',
    isOpen: true,
    left: ['is not finished: wait for it, or cancel it first.', 'are not finished: wait for them, or cancel them first.'],
    done: 'Submitted again',
  },
  delete: {
    applies: (state) => !UNFINISHED.includes(state),
    text: () => 'Their history and their models are deleted too. This cannot be undone.',
    left: ['is not finished, and stays: cancel it first.', 'are not finished, and stay: cancel them first.'],
    done: 'Deleted',
  },
};

const dialog = document.querySelector('#bulk-dialog');
const title = document.querySelector('#bulk-title');
const body = document.querySelector('#bulk-body');
const go = document.querySelector('#bulk-go');
const close = document.querySelector('#bulk-close');
let begin = null; // carries out the action that the dialog asks about

const jobs = (count) => `${count} ${count === 1 ? 'job' : 'jobs'}`;
const make = (tag, text, className = '') => Object.assign(document.createElement(tag), { textContent: text, className });

/**
 * @typedef {object} Item a selected job
 * @property {string} id
 * @property {string} state
 * @property {string} name
 * @property {boolean} [isOthers] whether it belongs to others, whose jobs the visitor may only retry
 */

/**
 * Makes the buttons work.
 * @param {() => Item[]} selected
 * @param {() => void} show updates what is said about the selection
 */
export function startBulk(selected, show) {
  for (const button of document.querySelectorAll('#bulk [data-action]')) {
    button.addEventListener('click', () => ask(button.dataset.action, selected()));
  }
  go.addEventListener('click', () => begin?.());
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', async () => {
    if (dialog.dataset.isDone) await refresh(); // deleted jobs leave, new ones come: what one asked for
    show();
  });
}

function ask(name, items) {
  if (!items.length) return;
  const action = ACTIONS[name];
  const own = items.filter(({ isOthers }) => action.isOpen || !isOthers);
  const others = items.length - own.length;
  const concerned = own.filter(({ state }) => action.applies(state));
  const left = own.length - concerned.length;
  const verb = name.charAt(0).toUpperCase() + name.slice(1);
  title.textContent = concerned.length ? `${verb} ${jobs(concerned.length)}?` : `Nothing to ${name}`;
  body.replaceChildren();
  if (concerned.length) {
    const states = countStates(concerned);
    const counts = [...states].map(([state, count]) => `${count} ${state}`).join(', ');
    body.append(make('p', `${counts}. ${action.text(states)}`));
  }
  if (left) body.append(make('p', `${left} of the ${items.length} selected ${action.left[Number(left > 1)]}`, 'quiet'));
  if (others) body.append(make('p', `${others} of the ${items.length} selected ${others > 1 ? 'belong' : 'belongs'} to others, and ${others > 1 ? 'stay' : 'stays'}.`, 'quiet'));
  go.hidden = !concerned.length;
  go.disabled = false;
  go.className = name === 'delete' ? 'danger' : 'primary';
  go.textContent = `${verb} ${jobs(concerned.length)}`;
  close.textContent = concerned.length ? 'Not now' : 'Close';
  delete dialog.dataset.isDone;
  begin = () => carryOut(name, concerned);
  dialog.showModal();
  if (!concerned.length || name === 'delete') close.focus(); // Enter must not delete by accident
}

function countStates(items) {
  const counts = new Map();
  for (const { state } of items) counts.set(state, (counts.get(state) ?? 0) + 1);
  return counts;
}

async function carryOut(name, items) {
  const names = new Map(items.map((item) => [item.id, item.name]));
  const ids = [...names.keys()];
  begin = null;
  go.disabled = true;
  const results = [];
  let refusal = '';
  for (let start = 0; start < ids.length && !refusal; start += MAX_IDS) {
    try {
      const batch = { action: name, ids: ids.slice(start, start + MAX_IDS) };
      results.push(...(await post('/v1/jobs/batch', batch, { key: newKey() })).data);
      go.textContent = `${results.length} of ${jobs(ids.length)}`;
    } catch (error) {
      refusal = error.message;
    }
  }
  dialog.dataset.isDone = 'true';
  showResults(name, names, results, refusal);
}

function showResults(name, names, results, refusal) {
  const failed = results.filter((result) => result.problem).length;
  const summary = `${ACTIONS[name].done}: ${jobs(results.length - failed)}${failed ? `, ${failed} not` : ''}`;
  title.textContent = results.length ? summary : 'Not carried out';
  const table = make('table', '');
  const shown = [...results].sort((first, second) => Number(!first.problem) - Number(!second.problem)).slice(0, MAX_SHOWN);
  for (const result of shown) {
    const row = table.insertRow();
    row.append(make('th', names.get(result.id)));
    row.querySelector('th').scope = 'row';
    row.insertCell().append(...outcome(name, result));
  }
  const scroll = make('div', '', 'scroll results');
  scroll.tabIndex = 0;
  scroll.append(table);
  body.replaceChildren(...(refusal ? [make('p', refusal, 'field-error')] : []), ...(results.length ? [scroll] : []));
  if (results.length > shown.length) body.append(make('p', `and ${jobs(results.length - shown.length)} more`, 'quiet'));
  go.hidden = true;
  close.textContent = 'Close';
  close.focus();
}

/** What happened to a job, as text or a link to the new one. */
function outcome(name, { status, new_id: newId, problem }) {
  if (problem) return [make('span', `✗ ${problem.detail}`, 'field-error')];
  if (newId) return ['✓ ', Object.assign(make('a', ACTIONS[name].done), { href: `/jobs/${newId}` })];
  return [`✓ ${name === 'cancel' && status === 202 ? 'Being cancelled' : ACTIONS[name].done}`];
}
