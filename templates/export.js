// What the export page does beyond its form: it shows at once what a choice gives, and how a download gets on.
'use strict';

const DEBOUNCE = 250;
// As many rows as a preview has, if there are more tasks than these.
const SHOWN_ROWS = 20;
// Each download takes two of the six connections that a browser opens to a server; the others are for the page.
const AT_ONCE = 2;
const START_INTERVAL = 100;
const START_TRIES = 10;
const LATE_START_TRIES = 100;

const byId = (id) => document.getElementById(id);
const main = document.querySelector('main');
const form = byId('export');
const number = new Intl.NumberFormat('en');

document.documentElement.classList.add('js');

// ---- The choice

const HOW = ['preset', 'delimiter', 'strategy'];
const DEFAULTS = { delimiter: ',', strategy: main.dataset.strategy };

function chosen() {
  return new URLSearchParams([...new FormData(form)].filter(([name, value]) => value !== '' && value !== DEFAULTS[name]));
}

function chosenTasks() {
  const query = chosen();
  HOW.forEach((name) => query.delete(name));
  return query.toString();
}

// ---- The preview

let request = new AbortController();
let timer;
// What the shown count is of; `null` while it is not known.
let counted = { tasks: chosenTasks(), count: byId('count').dataset.count === undefined ? null : Number(byId('count').dataset.count) };
// What is shown, or on its way.
let asked = counted.tasks;

function changed(delay = DEBOUNCE) {
  const query = chosen();
  history.replaceState(null, '', `/?${query}`);
  byId('curl').value = `${main.dataset.curl}/tasks.csv?${query}'`;
  clearTimeout(timer);
  const tasks = chosenTasks();
  if (tasks === asked) return;
  request.abort();
  asked = undefined;
  if (tasks === counted.tasks && counted.count !== null) {
    asked = tasks;
    settled();
  } else timer = setTimeout(preview, delay);
}

function settled() {
  byId('preview').removeAttribute('aria-busy');
  byId('trouble').hidden = true;
}

// The rows come at once; the count follows, as it takes the longer the more tasks there are.
async function preview() {
  const tasks = (asked = chosenTasks());
  const { signal } = (request = new AbortController());
  counted = {};
  byId('download').textContent = 'Download CSV';
  byId('preview').setAttribute('aria-busy', 'true');
  byId('count').textContent = 'Looking for tasks…';
  try {
    const { rows } = await ask(`/api/tasks?${tasks}&count=false`, signal);
    if (signal.aborted) return;
    byId('trouble').hidden = true;
    showRows(rows);
    if (rows.length < SHOWN_ROWS) showCount(tasks, rows.length);
    else await count(tasks, signal);
  } catch (error) {
    if (signal.aborted) return;
    asked = undefined;
    const refused = error instanceof Refusal ? error : new Refusal('The server cannot be reached.', 5);
    byId('preview').removeAttribute('aria-busy');
    byId('count').textContent = 'Tasks';
    showRows([]);
    byId('trouble').hidden = false;
    byId('trouble').textContent = refused.status === 504
      ? 'To find these takes too long. The download works all the same.'
      : `${refused.message}${refused.seconds ? ` Asked again in ${refused.seconds} seconds.` : ''}`;
    if (refused.seconds) timer = setTimeout(preview, refused.seconds * 1000);
  }
}

async function count(tasks, signal) {
  if (byId('count').querySelector('strong') === null) byId('count').textContent = 'Counting the tasks…';
  byId('preview').setAttribute('aria-busy', 'true');
  try {
    showCount(tasks, (await ask(`/api/tasks/count?${tasks}`, signal)).count);
  } catch (error) {
    if (signal.aborted || error.status !== 504) throw error;
    byId('preview').removeAttribute('aria-busy');
    byId('count').textContent = 'Many tasks match, too many to count quickly';
  }
}

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
  const message = [problem.title ?? `The server answers ${response.status}`, problem.detail].filter(Boolean).join(': ');
  return new Refusal(`${message}.`, Number(response.headers.get('Retry-After')), response.status);
}

function showCount(tasks, count) {
  counted = { tasks, count };
  settled();
  const strong = document.createElement('strong');
  strong.textContent = number.format(count);
  byId('count').replaceChildren(strong, count === 1 ? ' task matches' : ' tasks match');
  byId('download').textContent = `Download ${number.format(count)} ${count === 1 ? 'task' : 'tasks'}`;
  byId('none').hidden = count !== 0 || Boolean(byId('no-tasks'));
}

function showRows(rows) {
  if (rows.length > 0) byId('no-tasks')?.remove();
  byId('none').hidden = true;
  byId('rows').hidden = byId('first').hidden = rows.length === 0;
  const names = [...document.querySelectorAll('#rows th')].map((cell) => cell.textContent);
  byId('rows').querySelector('tbody').replaceChildren(...rows.map((row) => {
    const line = document.createElement('tr');
    names.forEach((name) => { line.insertCell().textContent = row[name] ?? ''; });
    return line;
  }));
}

// ---- Long lists of choices

const lists = [...document.querySelectorAll('.search')].map((box) => ({
  box,
  of: box.dataset.of,
  select: byId(box.dataset.for),
  input: box.querySelector('input'),
  hint: box.querySelector('.hint'),
  request: new AbortController(),
  timer: undefined,
}));

async function loadChoices(list, keepsChosen) {
  list.request.abort();
  const { signal } = (list.request = new AbortController());
  const query = new URLSearchParams({ of: list.of, q: list.input.value });
  if (list.of === 'assets') query.set('location_id', byId('location_id').value);
  try {
    const response = await fetch(`/api/filters?${query}`, { signal });
    if (!response.ok) throw await refusal(response);
    const { choices, more } = await response.json();
    if (signal.aborted) return;
    const { select } = list;
    const kept = [...select.options].filter((option) => ['', 'none'].includes(option.value));
    const current = select.selectedOptions[0];
    const options = choices.map(({ id, name }) => new Option(name, id, false, String(id) === current.value));
    if (!kept.includes(current) && !options.some((option) => option.selected)) {
      if (keepsChosen) kept.push(current);
      else kept[0].selected = true;
    }
    select.replaceChildren(...kept, ...options);
    list.box.hidden = !more && list.input.value === '';
    list.hint.textContent = more ? 'The first 200 are listed; find others by a part of their name.' : list.input.value && `${choices.length} found.`;
  } catch (error) {
    if (!signal.aborted) list.hint.textContent = error instanceof Refusal ? error.message : 'The server cannot be reached.';
  }
}

lists.forEach((list) => {
  list.input.addEventListener('input', () => {
    clearTimeout(list.timer);
    list.timer = setTimeout(() => loadChoices(list, true), DEBOUNCE);
  });
  list.input.form.addEventListener('submit', (event) => event.preventDefault());
});

byId('location_id').addEventListener('change', async () => {
  const assets = lists.find((list) => list.of === 'assets');
  assets.input.value = '';
  await loadChoices(assets, false);
  changed();
});

// ---- Downloads

const queue = [];
let running = 0;

function formatBytes(bytes) {
  const unit = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), 4);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)}\u00a0${unit[power]}`;
}

function formatSeconds(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))}\u00a0s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const rowsOf = (count) => `${number.format(count)} ${count === 1 ? 'row' : 'rows'}`;

const FAILURES = {
  'database': 'The database broke it off. Try again; if it fails again, tell whoever looks after the database.',
  'database-unavailable': 'The database went away. Try again in a moment.',
  'statement-timeout': 'The database took longer than it may. Choose fewer tasks, or tell whoever looks after the server.',
  'too-many-rows': 'These are too many rows for this strategy. Choose fewer tasks, or another strategy under Advanced.',
  'reader-timeout': 'Nothing was taken for too long. Try again.',
  'output': 'It could not be handed over. Try again.',
  'internal': 'Something went wrong in the server, whose log says what. Try again.',
};
const NOT_WHOLE = 'The file is not whole: do not use what the browser may have kept of it.';

class Download {
  constructor(query, tasks) {
    this.query = query;
    this.tasks = tasks;
    this.total = counted.tasks === tasks ? counted.count : null;
    this.element = byId('item').content.firstElementChild.cloneNode(true);
    this.part('what').textContent = this.describe();
    this.part('cancel').addEventListener('click', () => this.cancel());
    this.part('retry').addEventListener('click', () => this.enqueue());
    byId('downloads').hidden = false;
    byId('downloads').querySelector('ul').prepend(this.element);
  }

  part(name) {
    return this.element.querySelector(name === 'progress' ? name : `.${name}`);
  }

  describe() {
    const which = [...document.querySelectorAll('#which select')]
      .filter((select) => select.value)
      .map((select) => select.selectedOptions[0].textContent);
    const done = form.elements.done.value;
    if (done) which.push(done === 'true' ? 'done' : 'not done');
    if (form.elements.title.value) which.push(`“${form.elements.title.value}”`);
    const preset = form.elements.preset.value === 'excel' ? 'Excel' : 'Data';
    const at = new Date().toLocaleTimeString();
    return `${which.join(', ') || 'All tasks'} · ${preset} · ${at}`;
  }

  say(state, text, { advice = '', announced = state !== 'running' } = {}) {
    this.element.className = state;
    this.part('state').textContent = text;
    this.part('advice').textContent = advice;
    this.part('advice').hidden = advice === '';
    if (announced) byId('announcement').textContent = `Download: ${text} ${advice}`;
  }

  enqueue() {
    clearInterval(this.countdown);
    this.over = false;
    this.id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
    this.part('retry').hidden = true;
    this.part('cancel').hidden = this.part('progress').hidden = false;
    this.part('progress').removeAttribute('value');
    this.say('running', 'Waits for another download to end.');
    queue.push(this);
    startNext();
  }

  path(id) {
    return `/tasks.csv?${this.query}&fresh=true&export_id=${id}`;
  }

  async start() {
    this.started = true;
    this.say('running', 'Starts…', { announced: true });
    // The browser itself saves the file: none of it goes through this script.
    const link = document.createElement('a');
    link.href = this.path(this.id);
    link.download = '';
    link.click();
    if (await this.appears(START_TRIES)) return;
    const refused = await this.whyNot();
    if (!refused && await this.appears(LATE_START_TRIES)) return;
    const { message, seconds } = refused ?? new Refusal('The browser has not started it.', 0);
    this.end('failed', 'Not started', { advice: message, seconds });
  }

  // Waits until the server knows the export, and follows it then.
  async appears(tries) {
    for (; tries > 0 && !this.over; tries -= 1) {
      const response = await fetch(`/api/exports/${this.id}`).catch(() => null);
      if (response?.ok) {
        this.follow(await response.json());
        return true;
      }
      await new Promise((resolve) => setTimeout(resolve, START_INTERVAL));
    }
    return this.over;
  }

  // The browser keeps to itself why a download was refused, so another request has to find out.
  async whyNot() {
    const request = new AbortController();
    try {
      const response = await fetch(this.path(`${this.id}-why`), { signal: request.signal });
      return response.ok ? null : await refusal(response);
    } catch {
      return new Refusal('The server cannot be reached.', 5);
    } finally {
      request.abort();
    }
  }

  follow(manifest) {
    this.update(manifest);
    if (this.over) return;
    let missed = 0;
    const events = new EventSource(`/api/exports/${this.id}/events`);
    events.onmessage = ({ data }) => {
      missed = 0;
      this.update(JSON.parse(data));
      if (this.over) events.close();
    };
    events.onerror = () => {
      missed += 1;
      if (missed < 4 && events.readyState !== EventSource.CLOSED) return;
      events.close();
      this.end('failed', 'Lost sight of', { advice: 'The server cannot be asked any more how it goes. The browser’s own list of downloads says whether the file is whole.' });
    };
  }

  update({ state, rows, bytes, seconds, sha256, error }) {
    const progress = this.part('progress');
    if (this.total === null && counted.tasks === this.tasks) this.total = counted.count;
    if (state === 'running') {
      if (this.total) Object.assign(progress, { max: Math.max(this.total, rows), value: rows });
      if (rows === 0) return this.say('running', 'Waits for the first rows…');
      const left = this.total && rows < this.total ? `, ${formatSeconds(((this.total - rows) * seconds) / rows)} left` : '';
      const of = this.total ? `${number.format(rows)} of ${rowsOf(Math.max(this.total, rows))}` : rowsOf(rows);
      return this.say('running', `${of}, ${formatBytes(bytes)}, ${formatBytes(bytes / seconds)}/s${left}`);
    }
    if (state === 'complete') {
      // Not the total from before: the export has its own moment of the database.
      progress.max = progress.value = Math.max(rows, 1);
      this.part('hash').hidden = false;
      this.part('hash').textContent = `SHA-256 ${sha256}`;
      return this.end(state, `${number.format(rows)} of ${rowsOf(rows)}, ${formatBytes(bytes)}, whole`);
    }
    if (state === 'cancelled') return this.end(state, `Cancelled after ${rowsOf(rows)}`, { advice: NOT_WHOLE });
    return this.end('failed', `Failed after ${rowsOf(rows)}`, { advice: `${FAILURES[error] ?? ''} ${NOT_WHOLE}` });
  }

  end(state, text, { advice, seconds = 0 } = {}) {
    if (this.over) return;
    this.over = true;
    this.part('cancel').hidden = true;
    this.part('progress').hidden = state !== 'complete';
    this.say(state, text, { advice });
    if (state !== 'complete') this.offerRetry(seconds);
    if (!this.started) return;
    this.started = false;
    running -= 1;
    startNext();
  }

  offerRetry(seconds) {
    const button = this.part('retry');
    const show = () => {
      button.disabled = seconds > 0;
      button.textContent = seconds > 0 ? `Try again in ${seconds} s` : 'Try again';
      seconds -= 1;
      if (seconds < 0) clearInterval(this.countdown);
    };
    button.hidden = false;
    this.countdown = setInterval(show, 1000);
    show();
  }

  async cancel() {
    if (!this.started) {
      queue.splice(queue.indexOf(this), 1);
      this.end('cancelled', 'Cancelled before it started');
      return;
    }
    this.part('state').textContent = 'Cancels…';
    const response = await fetch(`/api/exports/${this.id}`, { method: 'DELETE' }).catch(() => null);
    if (!response?.ok && !this.over) this.say('running', 'It could not be cancelled. Cancel it in the browser’s list of downloads.', { announced: true });
  }
}

function startNext() {
  while (running < AT_ONCE && queue.length > 0) {
    running += 1;
    queue.shift().start();
  }
}

// ---- The form

form.addEventListener('input', (event) => {
  // A change of the location first asks for its assets.
  if (event.target.id !== 'location_id' && event.target.form === form) changed();
});
form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (event.submitter?.id === 'download') new Download(chosen().toString(), chosenTasks()).enqueue();
  else changed(0);
});

byId('copy').hidden = false;
byId('copy').addEventListener('click', async () => {
  const field = byId('curl');
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    byId('copied').textContent = 'Copied.';
  } catch {
    byId('copied').textContent = 'Selected: copy it with the keyboard.';
  }
});

// The server did not wait for the count, to show the page at once.
if (counted.count === null) {
  request = new AbortController();
  const { signal } = request;
  count(counted.tasks, signal).catch(() => signal.aborted || preview());
}
