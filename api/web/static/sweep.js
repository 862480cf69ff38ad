// A sweep: the line of the job that one points at, or whose row has the focus, stands out.

import './shown_jobs.js';

const part = document.querySelector('[data-part="sweep"]');

for (const type of ['pointerover', 'focusin']) part.addEventListener(type, ({ target }) => mark(target));
for (const type of ['pointerleave', 'focusout']) part.addEventListener(type, () => mark(null));

function mark(target) {
  const id = target?.closest('tbody tr')?.dataset.key ?? target?.dataset?.job;
  for (const line of part.querySelectorAll('polyline')) line.classList.toggle('marked', line.dataset.job === id);
  for (const row of part.querySelectorAll('tbody tr')) row.classList.toggle('marked', row.dataset.key === id);
}
