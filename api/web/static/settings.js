// Copies a new key. Without permission to write to the clipboard, the key is selected for the viewer to copy.

const key = document.querySelector('#new-key');
const button = document.querySelector('#copy-key');

async function copy() {
  try {
    await navigator.clipboard.writeText(key.textContent);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(key);
    button.textContent = 'Selected: press Ctrl+C';
  }
}

if (button) {
  button.hidden = false;
  button.addEventListener('click', copy);
  button.focus();
}
