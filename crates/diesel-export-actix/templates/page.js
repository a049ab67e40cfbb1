// What the scripts of the export page share: the page's parts, and how they ask the server.
'use strict';

const byId = (id) => document.getElementById(id);
const main = document.querySelector('main');
const form = byId('export');
// A filter may be called as a property of the form: `form.elements` would be its field.
const elements = Reflect.get(HTMLFormElement.prototype, 'elements', form);
const number = new Intl.NumberFormat('en');
const { dataset, rows: many, row: one, page } = main.dataset;
// The path that all addresses of the service begin with.
const { base } = document.body.dataset;

document.documentElement.classList.add('js');

// The list of datasets, where there are too many for tabs.
byId('find-dataset')?.removeAttribute('hidden');
byId('find-dataset')?.addEventListener('input', ({ target }) => {
  const words = target.value.toLowerCase().split(/\s+/);
  target.nextElementSibling.querySelectorAll('a').forEach((link) => {
    link.hidden = !words.every((word) => link.textContent.toLowerCase().includes(word));
  });
});

const UNREACHABLE = 'The server cannot be reached. Check your connection.';

async function ask(path, signal) {
  const response = await fetch(path, { signal });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

class Refusal extends Error {
  constructor(message, seconds, status) {
    super(message);
    Object.assign(this, { seconds, status });
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  // The page itself says when to try again.
  const title = problem.title?.replace(/; retry later$/, '');
  const message = [title ?? `The server answers ${response.status}`, problem.detail].filter(Boolean).join(': ');
  const seconds = Number(response.headers.get('Retry-After'));
  const advice = response.status >= 500 && response.status !== 504 && !seconds ? ' Try again in a moment.' : '';
  return new Refusal(`${message}.${advice}`, seconds, response.status);
}

const capitalized = (word) => word[0].toUpperCase() + word.slice(1);
