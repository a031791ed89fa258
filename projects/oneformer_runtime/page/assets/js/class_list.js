/** The list of classes with their switches, and of the regions of each. */
import { css } from './colours.js';
import { captionOf } from './regions.js';

const make = (name, properties = {}) => Object.assign(document.createElement(name), properties);

function grouped(regions) {
  const groups = new Map();
  for (const region of regions) {
    if (!groups.has(region.label)) groups.set(region.label, []);
    groups.get(region.label).push(region);
  }
  const area = (group) => group.reduce((sum, region) => sum + region.area, 0);
  return [...groups.values()].sort((a, b) => area(b) - area(a));
}

/** Shows the classes of an image. */
export class ClassList {
  /**
   * @param {HTMLElement} root The list.
   * @param {{onSwitch: Function, onRegion: Function}} calls `onSwitch()` after a class was
   *   switched; `onRegion(region)` when a region is pointed at, undefined when none is.
   */
  constructor(root, calls) {
    [this.root, this.calls] = [root, calls];
    this.off = new Set(); // labels
    this.buttons = new Map();
  }

  /** List the regions, of which those that are left out have been taken away. */
  show(regions, pixels) {
    this.buttons.clear();
    this.labels = new Set(regions.map(({ label }) => label));
    this.root.replaceChildren(...grouped(regions).map((group) => this.item(group, pixels)));
    if (!regions.length)
      this.root.replaceChildren(make('li', { textContent: 'Nothing was found.' }));
  }

  item(group, pixels) {
    const [{ label, name }] = group;
    const box = make('input', { type: 'checkbox', checked: !this.off.has(label) });
    box.addEventListener('change', () => this.set([label], box.checked));
    const swatch = make('span', { className: 'swatch' });
    swatch.style.background = css(group[0].colour);
    const area = group.reduce((sum, region) => sum + region.area, 0);
    const share = `${((100 * area) / pixels).toFixed(1)} %`;
    const text = make('span', {
      textContent: group.length > 1 ? `${name} × ${group.length}` : name,
    });
    const row = make('label');
    row.append(box, swatch, text, make('span', { className: 'share', textContent: share }));
    const item = make('li');
    item.append(row, this.chips(group, pixels));
    return item;
  }

  chips(group, pixels) {
    const chips = make('div', { className: 'regions' });
    for (const region of group) {
      const text = region.score === null ? 'find' : `${Math.floor(100 * region.score)} %`;
      const button = make('button', { type: 'button', textContent: text });
      button.setAttribute('aria-label', captionOf(region, pixels));
      for (const event of ['focus', 'pointerenter', 'click']) {
        button.addEventListener(event, () => this.calls.onRegion(region));
      }
      for (const event of ['blur', 'pointerleave']) {
        button.addEventListener(event, () => this.calls.onRegion(undefined));
      }
      this.buttons.set(region, button);
      chips.append(button);
    }
    return chips;
  }

  /** Show which region is pointed at. */
  mark(region) {
    for (const [own, button] of this.buttons) button.classList.toggle('current', own === region);
  }

  /** Switch classes on or off. */
  set(labels, on) {
    for (const label of labels) {
      if (on) this.off.delete(label);
      else this.off.add(label);
    }
    this.calls.onSwitch();
  }

  /** Switch all listed classes, and their boxes. */
  setAll(on) {
    for (const box of this.root.querySelectorAll('input')) box.checked = on;
    this.set(this.labels, on);
  }
}
