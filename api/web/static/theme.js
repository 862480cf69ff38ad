// Changes the theme at once. The cookie is what the server renders the next page by, so that it never flashes.

const YEAR_S = 365 * 86_400;
const forms = document.querySelectorAll('form.themes');

/** @param {string} theme `system`, `light` or `dark` */
function choose(theme) {
  document.cookie = `trainshed_theme=${theme}; path=/; max-age=${YEAR_S}; samesite=lax`;
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of document.querySelectorAll('form.themes button[name="theme"]')) {
    button.setAttribute('aria-pressed', String(button.value === theme));
  }
  // charts are drawn in colours that they read from the stylesheet
  document.dispatchEvent(new CustomEvent('themechange'));
}

/** Calls a function after each change of the theme: the viewer's, or the system's. */
export function onThemeChange(change) {
  document.addEventListener('themechange', change);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', change);
}

for (const form of forms) {
  form.addEventListener('submit', (event) => {
    if (event.submitter?.name !== 'theme') return;
    event.preventDefault();
    choose(event.submitter.value);
  });
}
