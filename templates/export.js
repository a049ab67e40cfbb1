// The export page beyond its form: it shows at once what a choice gives. Downloads are in downloads.js.
'use strict';

const DEBOUNCE = 250;
// As many rows as a preview has, if there are more than these.
const SHOWN_ROWS = 20;

const byId = (id) => document.getElementById(id);
const main = document.querySelector('main');
const form = byId('export');
const number = new Intl.NumberFormat('en');
const { dataset: many, row: one, page } = main.dataset;

document.documentElement.classList.add('js');

const counted = (count) => `${number.format(count)} ${count === 1 ? one : many}`;

const columnItems = () => [...document.querySelectorAll('#columns li')];
const boxOf = (item) => item.querySelector('input');
// As the dataset declares them, whatever the order on the page.
const declared = main.dataset.columns.split(' ');

// ---- The choice

const HOW = ['format', 'preset', 'delimiter', 'strategy'];
const DEFAULTS = { delimiter: ',', strategy: main.dataset.strategy };

const isCsv = () => form.elements.format.value === 'csv';
// What the file's name ends in.
const extension = () => (isCsv() ? 'csv' : 'xlsx');
const kind = () => (isCsv() ? 'CSV' : 'Excel');

// The export as the form has it, as parameters of the page's address: either the format, or a preset, which is of CSV.
function chosen() {
  const all = [...new FormData(form)];
  const columns = all.filter(([name]) => name === 'columns').map(([, value]) => value);
  const query = new URLSearchParams(all.filter(([name, value]) => name !== 'columns' && value !== '' && value !== DEFAULTS[name]));
  if (columns.length > 0 && columns.join() !== defaultColumns().join()) query.set('columns', columns.join());
  (isCsv() ? ['format'] : ['preset', 'delimiter']).forEach((name) => query.delete(name));
  return query;
}

// The same for the download, whose path says the format.
function chosenFile() {
  const query = chosen();
  query.delete('format');
  return query.toString();
}

// Without what does not change the rows that are shown.
function chosenRows() {
  const query = chosen();
  HOW.forEach((name) => query.delete(name));
  return query.toString();
}

// Without what does not change their number.
function chosenFilter() {
  const query = chosen();
  [...HOW, 'columns'].forEach((name) => query.delete(name));
  return query.toString();
}

// ---- The preview

let request = new AbortController();
let timer;
// What the shown count is of; `null` while it is not known.
let known = { filter: chosenFilter(), count: byId('count').dataset.count === undefined ? null : Number(byId('count').dataset.count) };
// The rows that are shown, or on their way.
let asked = chosenRows();

function changed(delay = DEBOUNCE) {
  const query = chosen();
  history.replaceState(null, '', `${page}?${query}`);
  showFile();
  clearTimeout(timer);
  if (chosenRows() === asked) return;
  request.abort();
  asked = undefined;
  timer = setTimeout(preview, delay);
}

// What one gets: on the button, and as a command.
function showFile() {
  byId('download').textContent = `Download ${known.count == null ? kind() : `${counted(known.count)} as ${kind()}`}`;
  byId('curl').value = `${main.dataset.curl}/${many}.${extension()}${chosenFile() && `?${chosenFile()}`}'`;
  main.dispatchEvent(new Event('file'));
}

function settled() {
  byId('preview').removeAttribute('aria-busy');
  byId('trouble').hidden = true;
}

// The rows come at once; the count follows, as it takes the longer the more rows there are.
async function preview() {
  const filter = chosenFilter();
  const rows = (asked = chosenRows());
  const { signal } = (request = new AbortController());
  const isCounted = known.filter === filter && known.count !== null;
  byId('preview').setAttribute('aria-busy', 'true');
  if (!isCounted) {
    known = {};
    showFile();
    byId('count').textContent = `Looking for ${many}…`;
  }
  try {
    const found = (await ask(`/api/${many}?${rows}&count=false`, signal)).rows;
    if (signal.aborted) return;
    byId('trouble').hidden = true;
    showRows(found);
    if (isCounted) showCount(filter, known.count);
    else if (found.length < SHOWN_ROWS) showCount(filter, found.length);
    else await count(filter, signal);
  } catch (error) {
    if (signal.aborted) return;
    asked = undefined;
    known = {};
    const refused = error instanceof Refusal ? error : new Refusal('The server cannot be reached.', 5);
    byId('preview').removeAttribute('aria-busy');
    byId('count').textContent = capitalized(many);
    showFile();
    showRows([]);
    byId('trouble').hidden = false;
    byId('trouble').textContent = refused.status === 504
      ? 'To find these takes too long. The download works all the same.'
      : `${refused.message}${refused.seconds ? ` Asked again in ${refused.seconds} seconds.` : ''}`;
    if (refused.seconds) timer = setTimeout(preview, refused.seconds * 1000);
  }
}

async function count(filter, signal) {
  if (byId('count').querySelector('strong') === null) byId('count').textContent = `Counting the ${many}…`;
  byId('preview').setAttribute('aria-busy', 'true');
  try {
    showCount(filter, (await ask(`/api/${many}/count?${filter}`, signal)).count);
  } catch (error) {
    if (signal.aborted || error.status !== 504) throw error;
    byId('preview').removeAttribute('aria-busy');
    byId('count').textContent = `Many ${many} match, too many to count quickly`;
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

const capitalized = (word) => word[0].toUpperCase() + word.slice(1);

function showCount(filter, count) {
  known = { filter, count };
  settled();
  const strong = document.createElement('strong');
  strong.textContent = number.format(count);
  byId('count').replaceChildren(strong, count === 1 ? ` ${one} matches` : ` ${many} match`);
  showFile();
  byId('none').hidden = count !== 0 || Boolean(byId('no-rows'));
}

function showRows(rows) {
  if (rows.length > 0) byId('no-rows')?.remove();
  byId('none').hidden = true;
  byId('rows').hidden = byId('first').hidden = rows.length === 0;
  const columns = chosenColumns().map((item) => ({
    header: item.querySelector('span').textContent,
    className: item.dataset.number === 'true' ? 'number' : '',
  }));
  byId('rows').querySelector('thead tr').replaceChildren(...columns.map(({ header, className }) => {
    const cell = document.createElement('th');
    return Object.assign(cell, { scope: 'col', textContent: header, className });
  }));
  byId('rows').querySelector('tbody').replaceChildren(...rows.map((row) => {
    const line = document.createElement('tr');
    columns.forEach(({ header, className }) => { Object.assign(line.insertCell(), { textContent: row[header] ?? '', className }); });
    return line;
  }));
}

// ---- The columns


function chosenColumns() {
  const items = columnItems();
  const checked = items.filter((item) => boxOf(item).checked);
  // None is as good as not to say which.
  return checked.length > 0 ? checked : inDeclaredOrder(items).filter((item) => item.dataset.default === 'true');
}

function inDeclaredOrder(items) {
  return [...items].sort((first, second) => declared.indexOf(boxOf(first).value) - declared.indexOf(boxOf(second).value));
}

function defaultColumns() {
  return inDeclaredOrder(columnItems()).filter((item) => item.dataset.default === 'true').map((item) => boxOf(item).value);
}

function columnsChanged() {
  const items = columnItems();
  items.forEach((item) => {
    item.draggable = true;
    item.querySelectorAll('.move').forEach((button) => { button.hidden = !boxOf(item).checked; });
  });
  byId('chosen-columns').textContent = `${chosenColumns().length} of ${items.length}`;
}

function moveColumn(item, isUp) {
  const other = isUp ? item.previousElementSibling : item.nextElementSibling;
  if (!other) return;
  other[isUp ? 'before' : 'after'](item);
  byId('announcement').textContent = `${item.querySelector('span').textContent}: place ${columnItems().indexOf(item) + 1}`;
  columnsChanged();
  changed();
}

byId('columns').addEventListener('click', (event) => {
  const button = event.target.closest('.move');
  if (!button) return;
  event.preventDefault();
  moveColumn(button.closest('li'), button.value.startsWith('up:'));
  button.focus();
});
byId('columns').addEventListener('keydown', (event) => {
  if (!event.altKey || !['ArrowUp', 'ArrowDown'].includes(event.key)) return;
  event.preventDefault();
  moveColumn(event.target.closest('li'), event.key === 'ArrowUp');
  event.target.focus();
});
byId('columns').addEventListener('change', columnsChanged);
byId('default-columns').addEventListener('click', (event) => {
  event.preventDefault();
  byId('columns').append(...inDeclaredOrder(columnItems()));
  columnItems().forEach((item) => { boxOf(item).checked = item.dataset.default === 'true'; });
  columnsChanged();
  changed();
});

let dragged;
byId('columns').addEventListener('dragstart', (event) => {
  dragged = event.target.closest('li');
  event.dataTransfer.effectAllowed = 'move';
  event.dataTransfer.setData('text/plain', boxOf(dragged).value);
  dragged.classList.add('dragged');
});
byId('columns').addEventListener('dragover', (event) => {
  const over = event.target.closest('li');
  if (!dragged || !over) return;
  event.preventDefault();
  if (over === dragged) return;
  const items = columnItems();
  over[items.indexOf(over) < items.indexOf(dragged) ? 'before' : 'after'](dragged);
});
byId('columns').addEventListener('drop', (event) => event.preventDefault());
byId('columns').addEventListener('dragend', () => {
  dragged?.classList.remove('dragged');
  dragged = undefined;
  columnsChanged();
  changed();
});

// ---- The lists to choose from: a combobox each, by the pattern of the ARIA Authoring Practices, in front of the select, which keeps
// the value.

class Combobox {
  constructor(box) {
    this.select = byId(box.dataset.for);
    this.of = box.dataset.of;
    this.narrowedBy = box.dataset.narrowedBy.split(' ').filter(Boolean);
    this.hint = box.querySelector('.hint');
    this.more = box.dataset.more === 'true';
    this.request = new AbortController();
    this.found = this.options();
    this.input = document.createElement('input');
    this.list = document.createElement('ul');
    Object.assign(this.input, { id: `${this.select.id}-box`, type: 'text', role: 'combobox', autocomplete: 'off', spellcheck: false });
    Object.assign(this.list, { id: `${this.select.id}-list`, role: 'listbox', hidden: true });
    this.input.setAttribute('aria-autocomplete', 'list');
    this.input.setAttribute('aria-controls', this.list.id);
    const label = document.querySelector(`label[for="${this.select.id}"]`);
    label.htmlFor = this.input.id;
    this.list.setAttribute('aria-label', label.textContent);
    box.querySelectorAll('input, .find').forEach((element) => element.remove());
    box.className = 'combobox';
    box.hidden = this.select.hidden = true;
    box.prepend(this.input, this.list);
    box.hidden = false;
    this.show();
    this.close();
    this.input.addEventListener('focus', () => this.input.select());
    this.input.addEventListener('click', () => this.open());
    this.input.addEventListener('input', () => this.search());
    this.input.addEventListener('keydown', (event) => this.pressed(event));
    this.input.addEventListener('blur', () => this.leave());
    // The list takes no focus, so that the field does not lose it.
    this.list.addEventListener('mousedown', (event) => event.preventDefault());
    this.list.addEventListener('click', (event) => {
      const option = event.target.closest('li');
      if (option) this.choose(this.found[option.dataset.index]);
    });
  }

  options() {
    return [...this.select.options].map(({ value, text }) => ({ value, text }));
  }

  // What is always there: all, and none if there is such a choice.
  fixed() {
    return this.options().filter(({ value }) => ['', 'none'].includes(value));
  }

  show() {
    const option = this.select.selectedOptions[0];
    this.input.value = option.value === '' ? '' : option.text;
    this.input.placeholder = this.fixed()[0].text;
  }

  render(active) {
    this.list.replaceChildren(...this.found.map(({ value, text }, index) => {
      const option = document.createElement('li');
      Object.assign(option, { id: `${this.list.id}-${index}`, role: 'option', textContent: text });
      option.dataset.index = index;
      option.dataset.value = value;
      option.setAttribute('aria-selected', value === this.select.value);
      return option;
    }));
    this.list.hidden = this.found.length === 0;
    this.input.setAttribute('aria-expanded', !this.list.hidden);
    this.activate(active);
  }

  activate(index) {
    this.active = index;
    [...this.list.children].forEach((option, at) => option.classList.toggle('active', at === index));
    const option = this.list.children[index];
    if (option) {
      this.input.setAttribute('aria-activedescendant', option.id);
      option.scrollIntoView({ block: 'nearest' });
    } else this.input.removeAttribute('aria-activedescendant');
  }

  get isOpen() {
    return !this.list.hidden;
  }

  open() {
    if (this.isOpen) return;
    this.found = this.options();
    this.render(this.found.findIndex(({ value }) => value === this.select.value));
    this.hint.textContent = this.more ? 'The first 200 are listed; find others by words of their name.' : '';
  }

  close() {
    clearTimeout(this.timer);
    this.request.abort();
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
    this.hint.textContent = '';
  }

  // What was typed is no choice yet: the field says again what is chosen, or nothing if it was emptied.
  leave() {
    if (this.input.value === '' && this.select.value !== '') this.choose(this.fixed()[0]);
    this.close();
    this.show();
  }

  pressed(event) {
    const last = this.found.length - 1;
    const moves = { ArrowDown: Math.min(this.active + 1, last), ArrowUp: Math.max(this.active - 1, 0) };
    if (event.key in moves) {
      if (this.isOpen) this.activate(moves[event.key]);
      else this.open();
    } else if (event.key === 'Enter') {
      if (this.isOpen && this.found[this.active]) this.choose(this.found[this.active]);
      else if (this.pending) this.choosesFound = true;
    } else if (event.key === 'Escape') {
      this.close();
      this.show();
    } else return;
    event.preventDefault();
  }

  search() {
    clearTimeout(this.timer);
    this.request.abort();
    this.choosesFound = false;
    this.list.hidden = true;
    if (this.input.value.trim() === '') {
      this.pending = false;
      this.open();
      return;
    }
    this.pending = true;
    this.timer = setTimeout(() => this.find(), DEBOUNCE);
  }

  async ask(text) {
    const { signal } = (this.request = new AbortController());
    const query = new URLSearchParams({ of: this.of, q: text });
    this.narrowedBy.forEach((name) => query.set(name, byId(name).value));
    const answer = await ask(`/api/filters?${query}`, signal);
    return { ...answer, isOld: signal.aborted };
  }

  async find() {
    try {
      const { choices, more, isOld } = await this.ask(this.input.value);
      if (isOld) return;
      this.pending = false;
      this.found = choices.map(({ id, name }) => ({ value: String(id), text: name }));
      this.render(0);
      this.hint.textContent = more ? 'The first 200 are listed; type more to find others.' : `${choices.length} found.`;
      if (this.choosesFound && this.found.length > 0) this.choose(this.found[0]);
    } catch (error) {
      if (error.name !== 'AbortError') this.hint.textContent = error instanceof Refusal ? error.message : 'The server cannot be reached.';
    }
  }

  choose({ value, text }) {
    if (![...this.select.options].some((option) => option.value === value)) this.select.add(new Option(text, value));
    this.select.value = value;
    this.close();
    this.show();
    this.changed();
  }

  async changed() {
    const narrowed = comboboxes.filter((other) => other.narrowedBy.includes(this.select.id));
    await Promise.all(narrowed.map((other) => other.reload()));
    changed();
  }

  // The choices are others now; what was chosen may not be among them.
  async reload() {
    try {
      const { choices, more, isOld } = await this.ask('');
      if (isOld) return;
      const { value } = this.select;
      const fixed = this.fixed().map((option) => new Option(option.text, option.value));
      this.select.replaceChildren(...fixed, ...choices.map(({ id, name }) => new Option(name, id)));
      this.select.value = [...this.select.options].some((option) => option.value === value) ? value : '';
      this.more = more;
      this.show();
    } catch (error) {
      if (error.name !== 'AbortError') this.hint.textContent = error instanceof Refusal ? error.message : 'The server cannot be reached.';
    }
  }
}

const comboboxes = [...document.querySelectorAll('.search')].map((box) => new Combobox(box));

// ---- The file format: what a person has chosen before, else what fits the browser's language

const REMEMBERED = ['format', 'preset', 'delimiter'];
const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const store = (name, value) => { try { localStorage.setItem(name, value); } catch { /* Then it is not remembered. */ } };

function remembered(name) {
  // Excel takes the semicolon for the separator if the comma is in numbers.
  const fitting = name === 'delimiter' && new Intl.NumberFormat(navigator.language).format(1.5).includes(',') ? ';' : null;
  return stored(name) ?? fitting;
}

// An address that says the format is obeyed.
const said = new URLSearchParams(location.search);
if (!said.get('format') && !said.get('preset')) {
  REMEMBERED.forEach((name) => {
    const value = remembered(name);
    if (value !== null) form.elements[name].value = value;
  });
}

// ---- The form

form.addEventListener('input', (event) => {
  if (event.target.form === form && event.target.role !== 'combobox') changed();
});
form.addEventListener('change', (event) => {
  if (REMEMBERED.includes(event.target.name)) store(event.target.name, event.target.value);
});
form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (event.submitter?.id === 'download') startDownload();
  else if (event.submitter?.id === 'prepare') prepare();
  else changed(0);
});

byId('reset').addEventListener('click', async (event) => {
  event.preventDefault();
  byId('which').querySelectorAll('select, input[type=search]').forEach((field) => { field.value = ''; });
  byId('which').querySelectorAll('input[type=radio]').forEach((radio) => { radio.checked = radio.value === ''; });
  comboboxes.forEach((combobox) => combobox.show());
  await Promise.all(comboboxes.filter(({ narrowedBy }) => narrowedBy.length > 0).map((combobox) => combobox.reload()));
  changed(0);
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

columnsChanged();
showFile();

// The server did not wait for the count, to show the page at once.
if (known.count === null) {
  request = new AbortController();
  const { signal } = request;
  count(known.filter, signal).catch(() => signal.aborted || preview());
}
