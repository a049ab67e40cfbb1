// The export page beyond its form: it shows at once what a choice comes to.
'use strict';

const DEBOUNCE = 250;
// As many rows as a preview has, if there are more than these.
const SHOWN_ROWS = 20;

const counted = (count) => `${number.format(count)} ${count === 1 ? one : many}`;

// ---- The choice

const HOW = ['format', 'preset', 'delimiter', 'strategy'];
const DEFAULTS = { delimiter: ',', strategy: main.dataset.strategy };

const isCsv = () => elements.format.value === 'csv';
// What the file's name ends in.
const extension = () => elements.format.value;
const kind = () => ({ csv: 'CSV', xlsx: 'Excel', ndjson: 'JSON lines' })[extension()];

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
  [...HOW, 'columns', 'order'].forEach((name) => query.delete(name));
  return query.toString();
}

// ---- The preview

let request = new AbortController();
let timer;
// What the shown count is of; `null` while it is not known. Rows that could not be counted quickly are many.
let known = byId('count').dataset.count === undefined
  ? { filter: chosenFilter(), count: null, areMany: true }
  : { filter: chosenFilter(), count: Number(byId('count').dataset.count) };
// The rows that are shown, or on their way.
let asked = chosenRows();

// Changes that follow each other at once, as those of typing do, are one step of the browser's history.
const ONE_STEP = 1000;
let lastChange = 0;

function changed(delay = DEBOUNCE) {
  const address = `${page}?${chosen()}`;
  if (address !== location.pathname + location.search) {
    history[Date.now() - lastChange > ONE_STEP ? 'pushState' : 'replaceState'](null, '', address);
    lastChange = Date.now();
  }
  showFile();
  clearTimeout(timer);
  if (chosenRows() === asked) return;
  request.abort();
  asked = undefined;
  timer = setTimeout(preview, delay);
}

addEventListener('popstate', () => location.reload());

// What is chosen, in words.
function chosenWords() {
  const words = comboboxes.flatMap(({ select, input }) => [...select.selectedOptions].filter(({ value }) => value).map(({ value, text }) => (
    value === 'none' ? `${input.labels[0].textContent}: ${text}` : text)));
  const legend = (field) => field.closest('fieldset').querySelector('legend').textContent;
  byId('which').querySelectorAll('.segmented :checked').forEach((radio) => {
    if (radio.value) words.push(radio.nextElementSibling.textContent.toLowerCase());
  });
  byId('which').querySelectorAll('.labels :checked').forEach((box) => words.push(`${legend(box)}: ${box.value}`));
  byId('which').querySelectorAll('.range input').forEach((field) => {
    if (field.value) words.push(`${legend(field)} ${field.labels[0].textContent.trim().toLowerCase()} ${field.value}`);
  });
  byId('which').querySelectorAll('.field > input, .field > textarea').forEach(({ value }) => { if (value) words.push(`“${value}”`); });
  return words;
}

// What one gets: on the button, as a command, and in the tab's title, by which bookmarks are told apart.
function showFile() {
  document.title = [...(chosenWords().length > 0 ? [chosenWords().join(', ')] : []), `Export ${many}`].join(' · ');
  byId('download').textContent = `Download ${known.count == null ? kind() : `${counted(known.count)} as ${kind()}`}`;
  byId('curl').value = `${main.dataset.curl}/${dataset}.${extension()}${chosenFile() && `?${chosenFile()}`}'`;
  const file = new URL(`${base}/${dataset}.${extension()}${chosenFile() && `?${chosenFile()}`}`, location.href).href;
  byId('page-link').value = new URL(`${page}?${chosen()}`, location.href).href;
  byId('file-link').value = file;
  byId('sheets-link').value = `=IMPORTDATA("${file.replaceAll('"', '""')}")`;
  document.querySelectorAll('[data-shared]').forEach((link) => {
    const names = JSON.parse(link.dataset.shared);
    link.search = new URLSearchParams([...chosen()].filter(([name]) => names.includes(name)));
  });
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
    const { rows: found, cut } = await ask(`${base}/api/${dataset}?${rows}&count=false`, signal);
    if (signal.aborted) return;
    byId('trouble').hidden = true;
    showRows(found, cut);
    if (isCounted) showCount(filter, known.count);
    else if (found.length < SHOWN_ROWS) showCount(filter, found.length);
    else await count(filter, signal);
  } catch (error) {
    if (signal.aborted) return;
    asked = undefined;
    known = {};
    const refused = error instanceof Refusal ? error : new Refusal(UNREACHABLE, 5);
    byId('preview').removeAttribute('aria-busy');
    byId('count').textContent = capitalized(many);
    showFile();
    showRows([]);
    byId('trouble').hidden = false;
    byId('trouble').textContent = refused.status === 504
      ? 'Finding these rows takes too long to show them here. The download still works.'
      : `${refused.message}${refused.seconds ? ` Trying again in ${refused.seconds} seconds.` : ''}`;
    if (refused.seconds) timer = setTimeout(preview, refused.seconds * 1000);
  }
}

async function count(filter, signal) {
  if (byId('count').querySelector('strong') === null) byId('count').textContent = `Counting the ${many}…`;
  byId('preview').setAttribute('aria-busy', 'true');
  try {
    showCount(filter, (await ask(`${base}/api/${dataset}/count?${filter}`, signal)).count);
  } catch (error) {
    if (signal.aborted || error.status !== 504) throw error;
    byId('preview').removeAttribute('aria-busy');
    byId('count').textContent = `Many ${many} match, too many to count quickly`;
    known = { filter, count: null, areMany: true };
    showFile();
  }
}

function showCount(filter, count) {
  known = { filter, count };
  settled();
  const strong = document.createElement('strong');
  strong.textContent = number.format(count);
  byId('count').replaceChildren(strong, count === 1 ? ` ${one} matches` : ` ${many} match`);
  showFile();
  byId('none').hidden = count !== 0 || Boolean(byId('no-rows'));
}

// The head of a column, by which the rows are sorted: up, down, and then no more.
function head({ header, className, name, isOrdered }) {
  const cell = Object.assign(document.createElement('th'), { scope: 'col', className });
  if (!isOrdered) {
    cell.textContent = header;
    return cell;
  }
  const [first] = elements.order.value.split(',');
  const next = { [name]: `-${name}`, [`-${name}`]: '' }[first] ?? name;
  if (first === name) cell.ariaSort = 'ascending';
  if (first === `-${name}`) cell.ariaSort = 'descending';
  cell.append(Object.assign(document.createElement('button'), { className: 'sort', name: 'sort', value: next, textContent: header }));
  return cell;
}

function showRows(rows, cut = []) {
  const isCut = new Set(cut.map(({ row, column }) => `${row} ${column}`));
  if (rows.length > 0) byId('no-rows')?.remove();
  byId('none').hidden = true;
  byId('rows').hidden = byId('first').hidden = rows.length === 0;
  const columns = chosenColumns().map((item) => ({
    header: item.querySelector('span').textContent,
    className: item.dataset.number === 'true' ? 'number' : '',
    name: boxOf(item).value,
    isOrdered: item.dataset.ordered === 'true',
  }));
  const focused = document.activeElement?.closest('th')?.cellIndex;
  byId('rows').querySelector('thead tr').replaceChildren(...columns.map(head));
  if (focused !== undefined) byId('rows').querySelectorAll('th')[focused]?.querySelector('button')?.focus();
  byId('rows').querySelector('tbody').replaceChildren(...rows.map((row, number) => {
    const line = document.createElement('tr');
    columns.forEach(({ header, className }) => {
      const cell = Object.assign(line.insertCell(), { textContent: row[header] ?? '', className, dir: 'auto' });
      if (isCut.has(`${number} ${header}`)) cell.append(byId('rest').content.cloneNode(true));
    });
    return line;
  }));
}

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
    if (value !== null) elements[name].value = value;
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
  // What is typed in a list, and is not found yet, is a part of the choice.
  const searching = comboboxes.find(({ pending }) => pending);
  if (searching) {
    // Again, as the last search may have failed.
    searching.search();
    Object.assign(searching, { submitter: event.submitter, choosesFound: true });
    return;
  }
  if (event.submitter?.id === 'download') startDownload();
  else if (event.submitter?.id === 'prepare') prepare();
  else if (event.submitter?.name === 'sort') {
    elements.order.value = event.submitter.value;
    changed(0);
  }
  else changed(0);
});

byId('reset').addEventListener('click', async (event) => {
  event.preventDefault();
  byId('which').querySelectorAll('select, textarea, input:not([type=radio], [type=checkbox])').forEach((field) => { field.value = ''; });
  byId('which').querySelectorAll('[type=radio], [type=checkbox]').forEach((box) => { box.checked = box.value === ''; });
  comboboxes.forEach((combobox) => combobox.show());
  await Promise.all(comboboxes.filter(({ narrowedBy }) => narrowedBy.length > 0).map((combobox) => combobox.reload()));
  changed(0);
});

byId('copy').hidden = byId('links').hidden = false;
document.querySelector('.curl').addEventListener('click', async ({ target }) => {
  if (!target.matches('button')) return;
  const field = target.previousElementSibling;
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    byId('copied').textContent = 'Copied.';
  } catch {
    byId('copied').textContent = 'It is selected: copy it with the keyboard.';
  }
});

// Their controls are not made yet.
addEventListener('DOMContentLoaded', showFile);

// The server did not wait for the count, to show the page at once.
if (known.count === null) {
  request = new AbortController();
  const { signal } = request;
  count(known.filter, signal).catch(() => signal.aborted || preview());
}
