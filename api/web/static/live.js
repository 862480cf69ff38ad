// The page's one event stream: subscribers get its events in batches, at most ten a second, none while hidden.
//
// The page says in <meta name="stream" content="ADDRESS" data-after="ID"> what it follows, and which event it
// shows already. A hidden or paused page has no connection (browsers allow six to a host) and catches up after.

const BATCH_MS = 100;
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 3_000;
const TYPES = [
  'submitted', 'claimed', 'progress', 'cancel_requested', 'edited', 'released',
  'lease_expired', 'retry_scheduled', 'succeeded', 'failed', 'cancelled', 'steps', 'end',
];
const WORDS = {
  connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting', paused: 'Paused',
  ended: 'Finished', 'signed-out': 'Signed out',
};

/**
 * @typedef {{type: string, id: string, data: any}} LiveEvent `data` is the event's JSON; of `end`, the final state
 */
class Live {
  #address;
  #after;
  #source = null;
  #batch = [];
  #timer = 0;
  #retry = 0;
  #retryMs = MIN_RETRY_MS;
  #isPaused = false;
  #subscribers = new Set();
  #listeners = new Set();
  /** `off`, `connecting`, `live`, `reconnecting`, `paused`, `ended` or `signed-out` */
  state = 'off';

  constructor(meta) {
    this.#address = meta?.content;
    this.#after = meta?.dataset.after;
    if (!this.#address) return;
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#disconnect() : this.#connect()));
    window.addEventListener('online', () => this.#connect());
    window.addEventListener('pagehide', () => this.#disconnect());
    window.addEventListener('pageshow', (event) => event.persisted && this.#connect());
    this.#enter('connecting');
    this.#connect();
  }

  /**
   * Calls `handler` with each batch of events, oldest first.
   * @param {(events: LiveEvent[]) => void} handler
   * @returns {() => void} ends it
   */
  subscribe(handler) {
    this.#subscribers.add(handler);
    return () => this.#subscribers.delete(handler);
  }

  /**
   * Calls `handler` with the state, now and when it changes.
   * @param {(state: string) => void} handler
   */
  onState(handler) {
    this.#listeners.add(handler);
    handler(this.state);
  }

  /** Stops the page where it is, until `resume`; nothing is missed. */
  pause() {
    this.#isPaused = true;
    this.#disconnect();
    this.#enter('paused');
  }

  /** Shows what happened since `pause`, and goes on. */
  resume() {
    this.#isPaused = false;
    this.#enter('connecting');
    this.#connect();
  }

  get isPaused() {
    return this.#isPaused;
  }

  #connect() {
    if (this.#source || this.#isPaused || document.hidden || this.state === 'ended') return;
    clearTimeout(this.#retry);
    const source = new EventSource(`${this.#address}?after=${encodeURIComponent(this.#after)}`);
    this.#source = source;
    source.onopen = () => {
      this.#retryMs = MIN_RETRY_MS;
      this.#enter('live');
    };
    // the browser's own reconnection gives up after an HTTP error such as 503, so each interruption ends here
    source.onerror = () => this.#retryLater();
    // the job is older than this page shows it: the database was restored from a backup
    source.addEventListener('reset', () => location.reload());
    for (const type of TYPES) source.addEventListener(type, (event) => this.#receive(type, event));
  }

  #disconnect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  async #retryLater() {
    this.#disconnect();
    this.#enter('reconnecting');
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
    // an event stream does not say why it failed
    const me = await fetch('/v1/me').catch(() => null);
    if (me?.status === 401) {
      this.#disconnect();
      this.#enter('signed-out');
    }
  }

  #receive(type, event) {
    if (event.lastEventId) this.#after = event.lastEventId;
    this.#batch.push({ type, id: event.lastEventId, data: JSON.parse(event.data) });
    this.#timer ||= setTimeout(() => this.#flush(), BATCH_MS);
    if (type === 'end') {
      this.#disconnect();
      this.#enter('ended');
    }
  }

  #flush() {
    const batch = this.#batch;
    this.#batch = [];
    this.#timer = 0;
    for (const handler of this.#subscribers) handler(batch);
  }

  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    for (const handler of this.#listeners) handler(state);
  }
}

/** The stream of this page; without one, its state stays `off`. */
export const live = new Live(document.querySelector('meta[name="stream"]'));

const button = document.querySelector('#live');
const word = document.querySelector('#live-word');
if (button) {
  button.hidden = false;
  live.onState((state) => {
    button.dataset.state = state;
    word.textContent = WORDS[state] ?? '';
    button.title = { live: 'Pause this page', paused: 'Go on', 'signed-out': 'Sign in again' }[state] ?? '';
  });
  button.addEventListener('click', () => {
    if (live.state === 'signed-out') location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    else if (live.isPaused) live.resume();
    else if (live.state !== 'ended') live.pause();
  });
}
