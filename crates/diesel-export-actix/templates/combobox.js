// The lists to choose from, as locations: a combobox each, by the pattern of the ARIA Authoring Practices. It stands before the select,
// which keeps the value.
'use strict';

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
      if (error.name !== 'AbortError') this.hint.textContent = error instanceof Refusal ? error.message : UNREACHABLE;
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
      if (error.name !== 'AbortError') this.hint.textContent = error instanceof Refusal ? error.message : UNREACHABLE;
    }
  }
}

const comboboxes = [...document.querySelectorAll('.search')].map((box) => new Combobox(box));
