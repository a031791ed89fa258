/** Boxes and radio buttons with a label. */

/**
 * Add a choice to a group.
 *
 * @param {HTMLElement} group Its id names the choices.
 * @param {'checkbox'|'radio'} type Of the choice.
 * @param {string} value Of the choice.
 * @param {string} text Its label.
 * @returns {HTMLInputElement}
 */
export function addChoice(group, type, value, text) {
  const label = document.createElement('label');
  const input = Object.assign(document.createElement('input'), { type, name: group.id, value });
  label.append(input, text);
  group.append(label);
  return input;
}

/**
 * Offer what can be shown; choices that are there stay, since one of them may have the focus.
 *
 * @param {HTMLElement} group Of the choices.
 * @param {string[]} views Tasks, and 'image'.
 * @param {string} chosen One of them.
 * @param {Function} onChoice Called with one that is chosen.
 */
export function offerViews(group, views, chosen, onChoice) {
  const choices = [...group.querySelectorAll('input')];
  if (choices.map(({ value }) => value).join() !== views.join()) {
    choices.forEach((choice) => choice.parentElement.remove());
    for (const view of views) {
      const choice = addChoice(group, 'radio', view, view === 'image' ? 'image alone' : view);
      choice.addEventListener('change', () => onChoice(view));
    }
  }
  group.querySelector(`input[value=${chosen}]`).checked = true;
}
