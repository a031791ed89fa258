/** Colours of classes and segments, [R, G, B] of 0 to 255. */

function fromHue(hue, saturation, value) {
  return [5, 3, 1].map((n) => {
    const k = (n + hue / 60) % 6;
    return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  });
}

/** The palette of a model, or one of hues that are far apart. */
export function paletteOf(model) {
  if (model.palette) return model.palette.map((colour) => colour.map(Math.round));
  return model.classes.map((_, label) =>
    fromHue((label * 137.508) % 360, 0.65, label % 2 ? 0.75 : 0.95),
  );
}

const SHADES = [0, 0.28, -0.28, 0.5, -0.45, 0.14, -0.14];

/** The colour of the n-th segment of a class: a shade of the class's. */
export function shade(colour, n) {
  const amount = SHADES[n % SHADES.length];
  return colour.map((part) =>
    Math.round(amount > 0 ? part + (255 - part) * amount : part * (1 + amount)),
  );
}

/** As CSS has it. */
export const css = (colour) => `rgb(${colour.join(' ')})`;
