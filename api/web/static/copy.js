// Buttons that copy: `<button data-copy="ID">` copies the text of the element with that id.

const SHOWN_MS = 1_500;

document.addEventListener('click', async (event) => {
  const button = event.target.closest?.('[data-copy]');
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const isCopied = await copy(source);
  const label = button.dataset.label ?? (button.dataset.label = button.textContent);
  button.textContent = isCopied ? 'Copied' : 'Press Ctrl+C';
  setTimeout(() => (button.textContent = label), SHOWN_MS);
});

/** Copies an element's text; without permission, as over plain HTTP, it selects the text. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand('copy');
  }
}
