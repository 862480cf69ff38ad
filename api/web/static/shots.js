// Cards of test images with what was predicted for them. Their pictures come in strips of up to 100.

import { guesses, verdict } from './predictions.js';

export const AT_ONCE = 100;

const SIDE = 28;
const MARKS = { correct: '✓', wrong: '✗', rejected: '?' };
const WORDS = { correct: 'correct', wrong: 'wrong', rejected: 'no digit found' };
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** A list of cards; a page has several. */
export class Shots {
  #list;
  #more;
  #view;
  #images = [];
  #cards = [];
  #guesses;
  /** called with how many cards are shown, and of how many images */
  onShow = () => {};

  /**
   * @param {HTMLElement} list
   * @param {HTMLButtonElement} more shows the next 100
   * @param {{predictions: import('./predictions.js').Predictions, names: string[], dataset: string, threshold: number}} view
   * @param {number} [count] how many guesses a card names
   */
  constructor(list, more, view, count = 1) {
    this.#list = list;
    this.#more = more;
    this.#view = view;
    this.#guesses = count;
    more.addEventListener('click', () => this.#append());
  }

  /**
   * Shows the first 100 of some images; the button shows more.
   * @param {number[]} images their places among the predictions
   */
  show(images) {
    this.#images = images;
    this.#cards = [];
    this.#list.replaceChildren();
    this.#append();
  }

  /** Marks the cards that are shown by the view's threshold. */
  mark() {
    this.#cards.forEach((card, place) => this.#mark(card, this.#images[place]));
  }

  #append() {
    const first = this.#cards.length;
    const images = this.#images.slice(first, first + AT_ONCE);
    const { predictions, dataset } = this.#view;
    const indices = images.map((image) => predictions.indices[image]);
    const address = `/v1/datasets/${encodeURIComponent(dataset)}/images?split=test&indices=${indices.join(',')}`;
    images.forEach((image, place) => this.#cards.push(this.#card(image, place, address, images.length)));
    this.#list.append(...this.#cards.slice(first));
    this.#more.hidden = this.#cards.length >= this.#images.length;
    this.onShow(this.#cards.length, this.#images.length);
    if (first) this.#cards[first]?.scrollIntoView({ block: 'nearest' });
  }

  #card(image, place, address, count) {
    const { predictions, names } = this.#view;
    const card = document.querySelector('#shot').content.firstElementChild.cloneNode(true);
    const frame = card.querySelector('.picture');
    frame.setAttribute('viewBox', `0 ${place * SIDE} ${SIDE} ${SIDE}`);
    const picture = document.createElementNS('http://www.w3.org/2000/svg', 'image');
    picture.setAttribute('href', address);
    picture.setAttribute('width', SIDE);
    picture.setAttribute('height', count * SIDE);
    frame.append(picture);
    const [[label, chance], ...others] = guesses(predictions, image, this.#guesses);
    card.querySelector('.guess').textContent = names[label];
    card.querySelector('.chance').textContent = percent(chance);
    card.querySelector('.truth').textContent = `is ${names[predictions.labels[image]]}`;
    card.querySelector('.index').textContent = predictions.indices[image];
    frame.setAttribute('aria-label', `Test image ${predictions.indices[image]}`);
    for (const [other, share] of others) {
      const line = document.createElement('span');
      line.className = 'other num';
      line.textContent = `${names[other]} ${percent(share)}`;
      card.querySelector('.index').before(line);
    }
    this.#mark(card, image);
    return card;
  }

  #mark(card, image) {
    const found = verdict(this.#view.predictions, image, this.#view.threshold);
    card.className = `shot ${found}`;
    card.querySelector('.mark').textContent = MARKS[found];
    card.querySelector('.word').textContent = `${WORDS[found]}: `;
  }
}
