// Exports that the user has given a name, kept by this browser.
'use strict';

const SAVED = `saved ${base} ${dataset}`;
let renamed = null;
let deleted = null;

// Another version, or the user, may have written anything.
function savedExports() {
  try {
    const all = JSON.parse(stored(SAVED)) ?? [];
    return all.filter(({ name, query }) => typeof name === 'string' && typeof query === 'string');
  } catch {
    return [];
  }
}

function keep(all, said) {
  try {
    localStorage.setItem(SAVED, JSON.stringify(all));
  } catch {
    byId('save-said').textContent = 'This browser keeps nothing for this page.';
    return;
  }
  byId('save-said').textContent = said;
  showSaved();
}

function savedItem({ name, query }, index) {
  const item = document.createElement('li');
  const link = Object.assign(document.createElement('a'), { href: `${page}?${query}`, textContent: name });
  if (query === chosen().toString()) link.setAttribute('aria-current', 'true');
  const button = (text, label, click) => {
    const element = Object.assign(document.createElement('button'), { type: 'button', textContent: text });
    element.setAttribute('aria-label', `${label} ${name}`);
    element.addEventListener('click', click);
    return element;
  };
  item.append(link, button('✎', 'Rename', () => {
    renamed = index;
    Object.assign(byId('save-name'), { value: name }).select();
    byId('save-button').textContent = 'Rename';
  }), button('×', 'Delete', () => {
    const all = savedExports();
    deleted = { index, export: all.splice(index, 1)[0] };
    keep(all, `Deleted “${name}”.`);
    byId('undo').hidden = false;
    byId('undo').focus();
  }));
  return item;
}

function showSaved() {
  byId('undo').hidden = true;
  byId('save-name').placeholder = chosenWords().join(', ') || `All ${many}`;
  byId('saved').querySelector('ul').replaceChildren(...savedExports().map(savedItem));
}

byId('undo').addEventListener('click', () => {
  const all = savedExports();
  all.splice(deleted.index, 0, deleted.export);
  keep(all, `“${deleted.export.name}” is back.`);
});

byId('save').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = byId('save-name');
  const name = field.value.trim() || field.placeholder;
  const all = savedExports();
  if (renamed !== null && all[renamed]) all[renamed].name = name;
  else {
    // The same name is the same export, as it is chosen now.
    const others = all.filter((one) => one.name !== name);
    all.splice(0, all.length, ...others, { name, query: chosen().toString() });
  }
  renamed = null;
  field.value = '';
  byId('save-button').textContent = 'Save this choice';
  keep(all, `“${name}” is saved in this browser.`);
});

// In another tab.
addEventListener('storage', ({ key }) => { if (key === SAVED) showSaved(); });
main.addEventListener('file', showSaved);
byId('saved').hidden = false;
