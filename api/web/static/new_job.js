// The form for a new job: while one types, the server says what is not possible, and shows the commands.

import { refresh } from './parts.js';

const PAUSE_MS = 150;

const form = document.querySelector('#new-job');
let timer = 0;
let typed = 0; // how often something was typed

form.addEventListener('input', () => {
  typed += 1;
  clearTimeout(timer);
  timer = setTimeout(preview, PAUSE_MS);
});

async function preview() {
  const asked = typed;
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value && name !== 'idempotency_key') query.append(name, value);
  }
  // so that a reload of this page, and a link to it, has the same values
  history.replaceState(null, '', `/jobs/new?${query}`);
  await refresh(location.href, () => asked === typed);
}
