// What a model reads: the digit, the ten scores, and what each pixel added to the score of one of them.

import { make, Sheet } from './sheet.js';

const DIGITS = [...Array(10).keys()];

/** The answer of one model, in an element of its own. */
export class Answer {
  #digit = make('output', { class: 'digit', text: '–' });
  #words = make('span', { class: 'words', text: 'Draw a digit' });
  #rows = DIGITS.map((digit) => row(digit, () => this.#choose(digit)));
  #added;
  #caption = make('figcaption', {});
  #all;
  #chosen = null; // a digit whose pixels are shown; null: that of the highest score
  #last = null;

  /** @param {string} name of the model, for those who do not see the page */
  constructor(name) {
    this.#added = new Sheet({ label: `What each pixel adds to a score of ${name}`, height: 28, width: 28, largest: 8 });
    this.#all = new Sheet({ label: `What each pixel adds to each of the ten scores of ${name}, from 0 to 9`, height: 28, width: 28, count: 10, columns: 5, largest: 3 });
    this.element = make('div', { class: 'answer' },
      make('p', { class: 'reading' }, this.#digit, this.#words),
      make('ul', { class: 'scores', 'aria-label': `Probability and score of each digit by ${name}` }, ...this.#rows.map((each) => each.element)),
      make('figure', { class: 'added' }, this.#added.element, this.#caption),
      make('figure', { class: 'added-all' }, this.#all.element, make('figcaption', { text: 'The same for 0 to 9, in one scale' })),
    );
  }

  /**
   * Shows a result.
   * @param {import('./network.js').Trace} trace
   * @param {{pixels: Float32Array, constants: Float32Array}} contributions
   * @param {{threshold: number, isBlank: boolean}} options below the threshold, no digit is found
   */
  show(trace, contributions, { threshold, isBlank }) {
    const best = trace.probabilities.indexOf(Math.max(...trace.probabilities));
    const sure = trace.probabilities[best];
    const isFound = !isBlank && sure >= threshold;
    this.#digit.textContent = isFound ? best : '–';
    this.#words.textContent = isBlank ? 'Draw a digit'
      : isFound ? `with a probability of ${percent(sure)}` : `No digit found: ${best} has only ${percent(sure)}`;
    this.#rows.forEach((each, digit) => {
      each.fill.style.width = `${100 * trace.probabilities[digit]}%`;
      each.limit.style.left = `${100 * threshold}%`;
      each.limit.hidden = threshold === 0;
      each.probability.textContent = percent(trace.probabilities[digit]);
      each.score.textContent = signed(trace.scores[digit]);
      each.element.classList.toggle('best', isFound && digit === best);
    });
    this.#last = { best, scores: trace.scores, ...contributions };
    this.#all.paint(contributions.pixels);
    this.#showAdded();
  }

  /** Forgets the pictures. */
  close() {
    this.#added.forget();
    this.#all.forget();
    this.element.remove();
  }

  #choose(digit) {
    this.#chosen = this.#chosen === digit ? null : digit;
    this.#showAdded();
  }

  #showAdded() {
    if (!this.#last) return;
    const { best, pixels, constants, scores } = this.#last;
    const digit = this.#chosen ?? best;
    const added = pixels.filter((_, place) => place % 10 === digit);
    const of = (sign) => added.reduce((sum, value) => (sign * value > 0 ? sum + value : sum), 0);
    this.#added.paint(added);
    this.#rows.forEach((each, row) => {
      each.button.setAttribute('aria-pressed', String(row === this.#chosen));
      each.element.classList.toggle('shown', row === digit);
    });
    this.#caption.replaceChildren(
      make('strong', { text: `What the pixels added to ${digit}` }),
      make('span', { class: 'num plus', text: `${signed(of(1))} for it` }),
      make('span', { class: 'num minus', text: `${signed(of(-1))} against it` }),
      make('span', { class: 'num', text: `${signed(constants[digit])} biases` }),
      make('span', { class: 'num', text: `${signed(scores[digit])} score` }),
    );
  }
}

function row(digit, choose) {
  const button = make('button', { type: 'button', class: 'quiet-button', 'aria-pressed': 'false', title: `What the pixels added to ${digit}`, text: digit });
  const fill = make('span', { class: 'fill' });
  const limit = make('span', { class: 'limit', hidden: '' });
  const probability = make('span', { class: 'num', text: '–' });
  const score = make('span', { class: 'num quiet', text: '–', title: 'score before the softmax' });
  button.addEventListener('click', choose);
  const element = make('li', {}, button, make('span', { class: 'track' }, fill, limit), probability, score);
  return { element, button, fill, limit, probability, score };
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const signed = (value) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
