// The texts of the page, a string for each paragraph, heading, label or button, hidden ones too. `…` stands for data.
const INLINE = 'a, abbr, b, code, em, small, span, strong, time';
const DATA = 'code, time, abbr, .hash, .filter, #columns label span, .swatch + *, dt > *, #machine dd, .lines dd, .kept a, .unseen';
const SKIPPED = 'script, style, svg, #rows table, #results td, #results th[scope=row], [aria-label="Compared, table"] td, '
  + '[aria-label="Compared, table"] tbody th, [aria-label="Compared, table"] ~ td, .reference th[scope=row], [role=listbox], '
  + '#strategy option, #which option:not([value=""]):not([value="none"]), .choices label, .lines dt, dt, .strategies dd';
const texts = new Set();
let text = '';
function flush() {
  const words = text.replace(/\s+/g, ' ').trim();
  if (/\p{L}{2}/u.test(words)) texts.add(words);
  text = '';
}
function visit(node) {
  if (node.nodeType === Node.TEXT_NODE) text += node.data;
  if (node.nodeType !== Node.ELEMENT_NODE || node.matches(SKIPPED)) return;
  ['aria-label', 'placeholder', 'title'].forEach((name) => {
    if (node.getAttribute(name)) texts.add(node.getAttribute(name));
  });
  const isInline = node.matches(INLINE) && !node.parentElement.matches('nav, .actions');
  if (!isInline) flush();
  if (node.matches(DATA)) text += '…';
  else (node.content ?? node).childNodes.forEach(visit);
  if (!isInline) flush();
}
visit(document.body);
texts.add(document.title);
Object.values(JSON.parse(document.querySelector('main')?.dataset.failures ?? '{}')).forEach((advice) => texts.add(advice));
return [...texts];
