// The columns of the export page: which are chosen, and in which order.
'use strict';

const columnItems = () => [...document.querySelectorAll('#columns li')];
const boxOf = (item) => item.querySelector('input');

function chosenColumns() {
  const items = columnItems();
  const checked = items.filter((item) => boxOf(item).checked);
  // None is as good as not to say which.
  return checked.length > 0 ? checked : inDeclaredOrder(items).filter((item) => item.dataset.default === 'true');
}

// As the dataset declares them, whatever the order on the page.
function inDeclaredOrder(items) {
  return [...items].sort((first, second) => first.dataset.index - second.dataset.index);
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
byId('columns').addEventListener('change', ({ target }) => {
  // A file has at least one.
  if (columnItems().every((item) => !boxOf(item).checked)) {
    target.checked = true;
    byId('announcement').textContent = 'A file has at least one column.';
  }
  columnsChanged();
});
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

columnsChanged();
