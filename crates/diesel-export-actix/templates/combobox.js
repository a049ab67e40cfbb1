// The lists to choose from, as locations: a combobox each, by the pattern of the ARIA Authoring Practices. It stands before the select,
// which keeps the values; each of them is a chip that removes it.
'use strict';

class Combobox {
  constructor(box) {
    this.select = byId(box.dataset.for);
    this.of = box.dataset.of;
    this.narrowedBy = box.dataset.narrowedBy.split(',').filter(Boolean);
    this.hint = box.querySelector('.hint');
    this.more = box.dataset.more === 'true';
    this.request = new AbortController();
    this.select.multiple = true;
    this.found = this.options();
    this.input = document.createElement('input');
    this.list = document.createElement('ul');
    this.chips = Object.assign(document.createElement('ul'), { className: 'chips' });
    Object.assign(this.input, { id: `${this.select.id}-box`, type: 'text', role: 'combobox', autocomplete: 'off', spellcheck: false });
    Object.assign(this.list, { id: `${this.select.id}-list`, role: 'listbox', hidden: true });
    this.input.setAttribute('aria-autocomplete', 'list');
    this.input.setAttribute('aria-controls', this.list.id);
    const label = document.querySelector(`label[for="${this.select.id}"]`);
    label.htmlFor = this.input.id;
    this.list.setAttribute('aria-label', label.textContent);
    this.list.setAttribute('aria-multiselectable', 'true');
    this.chips.setAttribute('aria-label', `Chosen: ${label.textContent}`);
    box.querySelectorAll('input, .find').forEach((element) => element.remove());
    box.className = 'combobox';
    box.hidden = this.select.hidden = true;
    box.prepend(this.chips, this.input, this.list);
    box.hidden = false;
    this.show();
    this.close();
    this.input.addEventListener('click', () => this.open());
    this.input.addEventListener('input', () => this.search());
    this.input.addEventListener('keydown', (event) => this.pressed(event));
    this.input.addEventListener('blur', () => this.leave());
    // The lists take no focus, so that the field does not lose it.
    [this.list, this.chips].forEach((list) => list.addEventListener('mousedown', (event) => event.preventDefault()));
    this.list.addEventListener('click', (event) => {
      const option = event.target.closest('li');
      if (option) this.choose(this.found[option.dataset.index]);
    });
    this.chips.addEventListener('click', (event) => {
      const { value } = event.target.closest('button') ?? {};
      if (value === undefined) return;
      this.remove(value);
      this.input.focus();
      this.close();
    });
  }

  options() {
    return [...this.select.options].map(({ value, text }) => ({ value, text }));
  }

  values() {
    return [...this.select.selectedOptions].map(({ value }) => value).filter(Boolean);
  }

  isChosen(value) {
    return value === '' ? this.values().length === 0 : this.values().includes(value);
  }

  // What is always there: all, and none if there is such a choice.
  fixed() {
    return this.options().filter(({ value }) => ['', 'none'].includes(value));
  }

  show() {
    this.input.value = '';
    this.input.placeholder = this.values().length === 0 ? this.fixed()[0].text : 'Add another…';
    const chosen = [...this.select.selectedOptions].filter(({ value }) => value);
    this.chips.replaceChildren(...chosen.map(({ value, text }) => {
      const item = document.createElement('li');
      const button = Object.assign(document.createElement('button'), { type: 'button', value, textContent: `${text} ×` });
      button.setAttribute('aria-label', `Remove ${text}`);
      item.append(button);
      return item;
    }));
  }

  render(active) {
    this.list.replaceChildren(...this.found.map(({ value, text }, index) => {
      const option = document.createElement('li');
      Object.assign(option, { id: `${this.list.id}-${index}`, role: 'option', textContent: text });
      option.dataset.index = index;
      option.dataset.value = value;
      option.setAttribute('aria-selected', this.isChosen(value));
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
    this.render(this.found.findIndex(({ value }) => this.isChosen(value)));
    this.hint.textContent = this.more ? 'The first 100 are listed; find others by words of their name.' : '';
  }

  close() {
    clearTimeout(this.timer);
    this.request.abort();
    this.pending = false;
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
    this.hint.textContent = '';
  }

  // What was typed chooses the highlighted one, as Enter does, and takes nothing away.
  leave() {
    const isTyped = this.input.value.trim() !== '';
    if (isTyped && this.pending) {
      this.choosesFound = true;
      return;
    }
    const option = isTyped && this.isOpen ? this.found[this.active] : undefined;
    if (option && !this.isChosen(option.value)) this.choose(option);
    else this.close();
    this.input.value = '';
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
    } else if (event.key === 'Backspace' && this.input.value === '' && this.values().length > 0) {
      this.remove(this.values().at(-1));
    } else return;
    event.preventDefault();
  }

  search() {
    this.submitter = null;
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
    const narrowing = comboboxes.filter(({ select }) => this.narrowedBy.includes(select.name));
    narrowing.forEach((other) => other.values().forEach((value) => query.append(other.select.name, value)));
    const answer = await ask(`${base}/api/filters?${query}`, signal);
    return { ...answer, isOld: signal.aborted };
  }

  async find() {
    try {
      const { choices, more, isOld } = await this.ask(this.input.value);
      if (isOld) return;
      this.pending = false;
      this.found = choices.map(({ id, name }) => ({ value: String(id), text: name }));
      this.render(0);
      this.hint.textContent = more ? 'The first 100 are listed; type more to find others.' : `${choices.length} found.`;
      const { submitter } = this;
      this.submitter = null;
      if (submitter && this.found.length === 0) {
        this.input.focus();
        return;
      }
      if (this.choosesFound && this.found.length > 0 && !this.isChosen(this.found[0].value)) this.choose(this.found[0]);
      else if (document.activeElement !== this.input) this.leave();
      if (submitter) form.requestSubmit(submitter);
    } catch (error) {
      if (error.name !== 'AbortError') this.hint.textContent = error instanceof Refusal ? error.message : UNREACHABLE;
    }
  }

  // All is the choice of nothing. What is chosen already is taken away.
  choose({ value, text }) {
    const options = [...this.select.options];
    if (value === '') options.forEach((option) => { option.selected = false; });
    else {
      const known = options.find((option) => option.value === value) ?? this.select.appendChild(new Option(text, value));
      known.selected = !known.selected;
    }
    this.close();
    this.show();
    this.changed();
  }

  remove(value) {
    this.choose({ value });
  }

  async changed() {
    const narrowed = comboboxes.filter((other) => other.narrowedBy.includes(this.select.name));
    await Promise.all(narrowed.map((other) => other.reload()));
    changed();
  }

  // The choices are others now; what was chosen stays, though it may not be among them.
  async reload() {
    try {
      const { choices, more, isOld } = await this.ask('');
      if (isOld) return;
      this.select.options[0].selected = false;
      const kept = [...this.select.options].filter(({ value, selected }) => selected || ['', 'none'].includes(value));
      const known = kept.map(({ value }) => value);
      const others = choices.filter(({ id }) => !known.includes(String(id)));
      this.select.replaceChildren(...kept, ...others.map(({ id, name }) => new Option(name, id)));
      this.more = more;
      this.show();
    } catch (error) {
      if (error.name !== 'AbortError') this.hint.textContent = error instanceof Refusal ? error.message : UNREACHABLE;
    }
  }
}

const comboboxes = [...document.querySelectorAll('.search')].map((box) => new Combobox(box));
