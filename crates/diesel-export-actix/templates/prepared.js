// The list of exports that were prepared for later: ordered from the form, and shown as the server has it.
'use strict';

const SOON = 1000;
const LATER = 30000;
// With so many rows, it is better to prepare than to download.
const MANY_ROWS = 100000;

const prepareButton = byId('prepare');
const paces = JSON.parse(prepareButton.dataset.paces);
let refreshTimer;

// What is said of it before it is done; the server says the same of the choice that the page was loaded with.
function estimate() {
  const { count, areMany } = known;
  const pace = paces[extension()];
  const isKnown = pace && count;
  byId('cost').textContent = isKnown ? `≈ ${formatBytes(count * pace[0])}, ${formatSeconds(count * pace[1])}` : '';
  const size = isKnown ? `About ${formatBytes(count * pace[0])}, ready in about ${formatSeconds(count * pace[1])}. ` : '';
  const better = areMany || count >= MANY_ROWS ? ' With so many rows, this is the better way.' : '';
  byId('estimate').textContent = `${size}The server makes the file and keeps it for a while: download it when you like.${better}`;
}

// ---- What each is to come to, which only the page that ordered it knows

const totals = () => JSON.parse(stored('prepared') ?? '{}');

function rememberTotal(id, count) {
  store('prepared', JSON.stringify(Object.fromEntries([...Object.entries(totals()), [id, count]].slice(-100))));
}

// ---- The list

const items = (list) => [...list.querySelectorAll('li')];
const stateOf = (item) => item.className;

// What a browser can say better than the server: names, and times as they are here.
function localize(item) {
  item.querySelectorAll('time').forEach((time) => {
    time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  });
  item.querySelectorAll('.filter').forEach((filter) => {
    const options = item.dataset.dataset === dataset ? [...(elements.namedItem(filter.dataset.name)?.options ?? [])] : [];
    const texts = filter.dataset.value.split(',').map((id) => id !== 'none' && options.find(({ value }) => value === id)?.text);
    if (texts.every(Boolean)) filter.textContent = texts.join(', ');
  });
  const progress = item.querySelector('progress');
  const total = progress && totals()[item.id.replace('export-', '')];
  if (total && stateOf(item) === 'running') Object.assign(progress, { max: Math.max(total, Number(progress.dataset.rows)), value: Number(progress.dataset.rows) });
}

const DELETE = 'Delete';
const SURE = 'Really delete?';

function show(list) {
  const old = byId('prepared');
  const before = new Map(items(old).map((item) => [item.id, item]));
  items(list).forEach((item) => {
    localize(item);
    const known = before.get(item.id);
    if (!known) return;
    if (stateOf(known) !== stateOf(item)) byId('announcement').textContent = `Prepared export: ${item.querySelector('.state').textContent}`;
    const [asked, asks] = [known, item].map((one) => one.querySelector('.actions button'));
    if (asked?.textContent === SURE && asks?.textContent === DELETE) asks.textContent = SURE;
    const isOpen = known.querySelector('details')?.open ?? false;
    if (isOpen && item.querySelector('details')) item.querySelector('details').open = true;
  });
  // What has not changed stays, with the focus that may be on it.
  const focused = document.activeElement?.closest('#prepared li')?.id;
  items(list).forEach((item) => {
    const known = before.get(item.id);
    if (known && known.outerHTML === item.outerHTML) item.replaceWith(known);
  });
  old.replaceWith(list);
  if (focused && !document.activeElement?.closest('#prepared')) byId(focused)?.querySelector('.actions a, .actions button')?.focus();
}

async function refresh() {
  clearTimeout(refreshTimer);
  const page = await fetch(`${base}/exports?latest=true`).then((response) => (response.ok ? response.text() : null)).catch(() => null);
  const list = page && new DOMParser().parseFromString(page, 'text/html').getElementById('prepared');
  if (list) show(document.adoptNode(list));
  const isBusy = items(byId('prepared')).some((item) => ['queued', 'running'].includes(stateOf(item)));
  refreshTimer = setTimeout(refresh, isBusy ? SOON : LATER);
}

async function prepare() {
  const order = new URLSearchParams(chosenFile());
  order.set('dataset', dataset);
  order.set('format', extension());
  order.set('fresh', main.dataset.fresh);
  const total = known.count;
  byId('prepare-trouble').hidden = true;
  prepareButton.disabled = true;
  try {
    const response = await fetch(`${base}/api/exports`, { method: 'POST', body: order });
    if (!response.ok) throw await refusal(response);
    const { id } = await response.json();
    if (total) rememberTotal(id, total);
    await refresh();
    byId('announcement').textContent = 'It is being prepared.';
    byId(`export-${id}`)?.scrollIntoView({ block: 'nearest' });
  } catch (error) {
    byId('prepare-trouble').hidden = false;
    byId('prepare-trouble').textContent = error instanceof Refusal ? error.message : UNREACHABLE;
  } finally {
    prepareButton.disabled = false;
  }
}

document.addEventListener('submit', async (event) => {
  const item = event.target.closest('#prepared li');
  if (!item) return;
  event.preventDefault();
  // A file that is gone may take hours to make again.
  if (event.submitter.textContent === DELETE) {
    event.submitter.textContent = SURE;
    return;
  }
  event.submitter.disabled = true;
  const response = await fetch(`${base}/api/exports/${item.id.replace('export-', '')}`, { method: 'DELETE' }).catch(() => null);
  if (!response) event.submitter.disabled = false;
  await refresh();
});
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });

items(byId('prepared')).forEach(localize);
main.addEventListener('file', estimate);
estimate();
refresh();
