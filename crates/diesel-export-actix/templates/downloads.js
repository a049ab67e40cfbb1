// The export page's downloads: how they get on, one item of the list for each.
'use strict';

// Each download takes two of the six connections that a browser opens to a server; the others are for the page.
const AT_ONCE = 2;
const START_INTERVAL = 100;
const START_TRIES = 10;
const LATE_START_TRIES = 100;
// Downloads that the list still has after a reload.
const LISTED = 10;

const queue = [];
let running = 0;

function formatBytes(bytes) {
  const unit = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), 4);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)}\u00a0${unit[power]}`;
}

function formatSeconds(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 90) return `${whole}\u00a0${whole === 1 ? 'second' : 'seconds'}`;
  return whole < 5400 ? `${Math.round(whole / 60)}\u00a0minutes` : `${(whole / 3600).toFixed(1)}\u00a0hours`;
}

const rowsOf = (count) => `${number.format(count)} ${count === 1 ? 'row' : 'rows'}`;

const FAILURES = JSON.parse(main.dataset.failures);
const INCOMPLETE = 'The file is incomplete: delete what the browser may have kept of it.';

// What the server sends before it has everything may be there as a part.
const isStreamed = (ending) => ending !== 'xlsx';

function describe() {
  const which = chosenWords();
  const preset = elements.preset.value === 'excel' ? 'CSV for Excel' : 'CSV for programs';
  return `${which.length > 0 ? `${capitalized(many)}: ${which.join(', ')}` : `All ${many}`} · ${isCsv() ? preset : kind()} · ${new Date().toLocaleTimeString()}`;
}

// The newest download, in the bar.
let newest;

byId('now').querySelector('button').addEventListener('click', () => newest.cancel());

function showNow() {
  const now = byId('now');
  const [progress, of] = [now.querySelector('progress'), newest.part('progress')];
  now.hidden = false;
  now.className = newest.element.className;
  now.querySelector('.state').textContent = newest.part('state').textContent;
  const cancel = now.querySelector('button');
  if (newest.over && document.activeElement === cancel) byId('download').focus();
  cancel.hidden = newest.over;
  progress.hidden = of.hidden;
  if (of.hasAttribute('value')) Object.assign(progress, { max: of.max, value: of.value });
  else progress.removeAttribute('value');
}

class Download {
  constructor(what) {
    Object.assign(this, { dataset, extension: extension(), query: chosenFile(), filter: chosenFilter(), title: describe(), ...what });
    this.total = this.known();
    this.element = byId('item').content.firstElementChild.cloneNode(true);
    this.part('what').textContent = this.title;
    this.part('cancel').addEventListener('click', () => this.cancel());
    this.part('retry').addEventListener('click', () => this.enqueue());
    byId('downloads').hidden = false;
    byId('downloads').querySelector('ul').prepend(this.element);
    newest = this;
  }

  part(name) {
    return this.element.querySelector(name === 'progress' ? name : `.${name}`);
  }

  // How many rows there will be, if the page has counted them.
  known() {
    return this.dataset === dataset && known.filter === this.filter ? known.count ?? null : null;
  }

  say(state, text, { advice = '', announced = state !== 'running' } = {}) {
    this.element.className = state;
    this.part('state').textContent = text;
    this.part('advice').textContent = advice;
    this.part('advice').hidden = advice === '';
    if (announced) byId('announcement').textContent = `Download: ${text} ${advice}`;
    if (newest === this) showNow();
  }

  enqueue() {
    clearInterval(this.countdown);
    this.over = this.isCancelled = false;
    const hadFocus = this.element.contains(document.activeElement);
    this.id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
    this.part('retry').hidden = true;
    this.part('cancel').hidden = this.part('progress').hidden = false;
    this.part('progress').removeAttribute('value');
    if (hadFocus) this.part('cancel').focus();
    this.say('running', 'Waiting for another download to end.');
    queue.push(this);
    startNext();
  }

  // Goes on to show a download that the page knew before it was loaded again.
  async resume() {
    const response = await fetch(`${base}/api/exports/${this.id}`).catch(() => null);
    if (!response?.ok) {
      this.element.remove();
      byId('downloads').hidden = byId('downloads').querySelector('li') === null;
      return;
    }
    running += 1;
    this.started = true;
    this.follow(await response.json());
  }

  path(id) {
    return `${base}/${this.dataset}.${this.extension}?${this.query}${main.dataset.fresh === 'true' ? '&fresh=true' : ''}&export_id=${id}`;
  }

  async start() {
    this.started = true;
    remember(this);
    this.say('running', 'Starting…', { announced: true });
    // The browser itself saves the file: none of it goes through this script.
    const link = document.createElement('a');
    link.href = this.path(this.id);
    link.download = '';
    link.click();
    if (await this.appears(START_TRIES)) return;
    const refused = await this.whyNot();
    if (!refused && await this.appears(LATE_START_TRIES)) return;
    const { message, seconds } = refused ?? new Refusal('The browser did not start the download. Allow downloads from this page, and try again.', 0);
    this.end('failed', 'Not started', { advice: message, seconds });
  }

  // Waits until the server knows the export, and follows it then.
  async appears(tries) {
    for (; tries > 0 && !this.over; tries -= 1) {
      const response = await fetch(`${base}/api/exports/${this.id}`).catch(() => null);
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
      return new Refusal(UNREACHABLE, 5);
    } finally {
      request.abort();
    }
  }

  follow(manifest) {
    this.update(manifest);
    if (this.over) return;
    let missed = 0;
    const events = new EventSource(`${base}/api/exports/${this.id}/events`);
    events.onmessage = ({ data }) => {
      missed = 0;
      this.update(JSON.parse(data));
      if (this.over) events.close();
    };
    events.onerror = () => {
      missed += 1;
      if (missed < 4 && events.readyState !== EventSource.CLOSED) return;
      events.close();
      this.end('failed', 'Connection lost', { advice: 'The server no longer answers. The browser’s own list of downloads shows whether the file is complete.' });
    };
  }

  update({ state, rows, bytes, seconds, sha256, error }) {
    const progress = this.part('progress');
    this.total ??= this.known();
    if (state === 'running') {
      if (this.total) Object.assign(progress, { max: Math.max(this.total, rows), value: rows });
      if (rows === 0) return this.say('running', 'Waiting for the first rows…');
      const left = this.total && rows < this.total ? `, ${formatSeconds(((this.total - rows) * seconds) / rows)} left` : '';
      const of = this.total ? `${number.format(rows)} of ${rowsOf(Math.max(this.total, rows))}` : rowsOf(rows);
      return this.say('running', `${of}, ${formatBytes(bytes)}, ${formatBytes(bytes / seconds)} a second${left}`);
    }
    if (state === 'complete') {
      // Not the total from before: the export has its own moment of the database.
      progress.max = progress.value = Math.max(rows, 1);
      this.element.querySelector('details').hidden = false;
      this.part('hash').textContent = sha256;
      return this.end(state, `${number.format(rows)} of ${rowsOf(rows)}, ${formatBytes(bytes)}, complete`);
    }
    const incomplete = isStreamed(this.extension) && bytes > 0 ? INCOMPLETE : '';
    if (state === 'failed') return this.end(state, `Failed after ${rowsOf(rows)}`, { advice: `${FAILURES[error] ?? ''} ${incomplete}` });
    if (this.isCancelled) return this.end(state, `Cancelled after ${rowsOf(rows)}`, { advice: incomplete });
    const better = byId('prepare') ? ' “Prepare for later” makes a file whose download can go on where it broke off.' : '';
    return this.end('failed', `Broken off after ${rowsOf(rows)}`, { advice: `The browser, or the line to it, ended the download. ${incomplete}${better}` });
  }

  end(state, text, { advice, seconds = 0 } = {}) {
    if (this.over) return;
    this.over = true;
    const hadFocus = this.element.contains(document.activeElement);
    this.part('cancel').hidden = true;
    this.part('progress').hidden = state !== 'complete';
    this.say(state, text, { advice });
    if (state !== 'complete') this.offerRetry(seconds);
    if (hadFocus) this.part('retry').focus();
    if (!this.started) return;
    this.started = false;
    running -= 1;
    startNext();
  }

  offerRetry(seconds) {
    const button = this.part('retry');
    const show = () => {
      button.disabled = seconds > 0;
      button.textContent = seconds > 0 ? `Try again in ${formatSeconds(seconds)}` : 'Try again';
      seconds -= 1;
      if (seconds < 0) clearInterval(this.countdown);
    };
    button.hidden = false;
    this.countdown = setInterval(show, 1000);
    show();
  }

  async cancel() {
    this.isCancelled = true;
    if (!this.started) {
      queue.splice(queue.indexOf(this), 1);
      this.end('cancelled', 'Cancelled before it started');
      return;
    }
    this.part('state').textContent = 'Cancelling…';
    const response = await fetch(`${base}/api/exports/${this.id}`, { method: 'DELETE' }).catch(() => null);
    if (!response?.ok && !this.over) this.say('running', 'It could not be cancelled. Cancel it in the browser’s list of downloads.', { announced: true });
  }
}

function startNext() {
  while (running < AT_ONCE && queue.length > 0) {
    running += 1;
    queue.shift().start();
  }
}

// ---- The list, for as long as the tab is open

function listed() {
  try {
    return JSON.parse(sessionStorage.getItem('downloads')) ?? [];
  } catch {
    return [];
  }
}

function remember({ id, dataset, extension: ending, query, filter, title }) {
  try {
    sessionStorage.setItem('downloads', JSON.stringify([...listed(), { id, dataset, extension: ending, query, filter, title }].slice(-LISTED)));
  } catch { /* Then a reload forgets it. */ }
}

// Two clicks at once are one.
const ONE_CLICK = 1000;
let lastStart = -ONE_CLICK;

function startDownload() {
  if (performance.now() - lastStart < ONE_CLICK) return;
  lastStart = performance.now();
  new Download().enqueue();
}

listed().forEach((what) => new Download(what).resume());
