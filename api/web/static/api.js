// Requests to the REST API: JSON in and out, and problem documents as errors with a message for people.

const SCOPES = ['read', 'submit', 'admin']; // each includes those before it
const scope = document.querySelector('meta[name="scope"]')?.content ?? '';

/** A response that is a problem document, or none at all. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0 if the API did not answer @param {object} problem */
  constructor(message, status, problem = {}) {
    super(message);
    this.status = status;
    this.problem = problem;
  }

  /** The message for each invalid field, by JSON pointer (`/spec/epochs`) or parameter. */
  get fields() {
    return new Map((this.problem.errors ?? []).map((error) => [error.pointer ?? error.parameter, error.detail]));
  }
}

/**
 * Whether the visitor may do what needs a scope; what they may not do is not offered.
 * @param {'read' | 'submit' | 'admin'} needed
 */
export const may = (needed) => SCOPES.indexOf(scope) >= SCOPES.indexOf(needed);

/** A new idempotency key: a request that is repeated with it is carried out once. */
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * Sends a request and returns the JSON of the response, or null if it has no body.
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, key?: string, signal?: AbortSignal}} options `key`: an idempotency key
 * @throws {ApiError}
 */
export async function request(method, path, { body, key, signal } = {}) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The API does not answer. Nothing is lost; try again in a moment.', 0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(explain(response.status, problem), response.status, problem);
}

/** @param {string} path @param {object} [options] as of `request` */
export const get = (path, options) => request('GET', path, options);

/** @param {string} path @param {unknown} [body] @param {object} [options] as of `request` */
export const post = (path, body, options) => request('POST', path, { body, ...options });

function explain(status, problem) {
  if (status === 401) return 'You are signed out: sign in again.';
  if (status === 503) return `Not available at the moment: ${problem.detail ?? 'try again soon'}.`;
  const detail = problem.detail ?? problem.title ?? `The API answered with status ${status}`;
  return detail.charAt(0).toUpperCase() + detail.slice(1);
}
