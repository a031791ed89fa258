/** The image with its overlay: three canvases, one above the other, and a tip at the pointer. */
import { captionOf } from './regions.js';

const CLEAR = 'rgb(255 255 255 / 55%)';
const MOST_HEIGHT = 0.75; // of the window

/** Shows an image, colours its regions, and names the one below the pointer. */
export class Viewer {
  /**
   * @param {Function} find Gets an element by its id.
   * @param {Function} onRegion Called with the region below the pointer, or undefined.
   */
  constructor(find, onRegion) {
    this.root = find('viewer');
    this.frame = find('canvases');
    [this.overlay, this.highlight] = [find('overlay'), find('highlight')];
    [this.hint, this.tip] = [find('hint'), find('tip')];
    this.onRegion = onRegion;
    this.image = null;
    this.shown = null; // what `regionsOf` gives
    this.hidden = () => false;
    this.frame.addEventListener('pointermove', (event) => this.point(event));
    this.frame.addEventListener('pointerdown', (event) => this.point(event));
    this.frame.addEventListener('pointerleave', ({ pointerType }) => {
      if (pointerType === 'mouse') this.mark(undefined); // a finger leaves at once
    });
    window.addEventListener('resize', () => this.fit());
  }

  /** Show an image, without regions. */
  showImage(canvas, name) {
    this.image?.remove();
    this.image = canvas;
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', name);
    this.frame.prepend(canvas);
    for (const layer of [this.overlay, this.highlight]) {
      [layer.width, layer.height] = [canvas.width, canvas.height];
    }
    this.root.classList.remove('empty');
    [this.hint.hidden, this.frame.hidden] = [true, false];
    this.shown = null;
    this.mark(undefined);
    this.fit();
  }

  /** What a screen reader says of the image. */
  describe(text) {
    this.image?.setAttribute('aria-label', text);
  }

  /** Fill the width that there is, but not more than a part of the window's height. */
  fit() {
    if (!this.image) return;
    const ratio = this.image.width / this.image.height;
    const width = Math.min(this.root.clientWidth, MOST_HEIGHT * window.innerHeight * ratio);
    this.frame.style.width = `${Math.floor(width)}px`;
    this.frame.style.aspectRatio = `${this.image.width} / ${this.image.height}`;
  }

  /**
   * Colour regions.
   *
   * @param {object|null} shown What `regionsOf` gives, null for none.
   * @param {Function} hidden Whether a region is switched off.
   */
  showRegions(shown, hidden) {
    [this.shown, this.hidden] = [shown, hidden];
    const { width, height } = this.overlay;
    const context = this.overlay.getContext('2d');
    context.clearRect(0, 0, width, height);
    if (shown) {
      const picture = context.createImageData(width, height);
      shown.paint(
        picture.data,
        shown.regions.filter((region) => !hidden(region)),
      );
      context.putImageData(picture, 0, 0);
    }
    this.mark(undefined);
  }

  setOpacity(share) {
    this.overlay.style.opacity = String(share);
  }

  /** The region at a pointer's place. */
  point(event) {
    if (!this.shown) return;
    const box = this.frame.getBoundingClientRect();
    const place = (value, start, length, pixels) =>
      Math.min(pixels - 1, Math.max(0, Math.floor(((value - start) / length) * pixels)));
    const x = place(event.clientX, box.left, box.width, this.image.width);
    const y = place(event.clientY, box.top, box.height, this.image.height);
    const region = this.regionAt(x, y);
    this.mark(region);
    if (region) this.moveTip(event.clientX, event.clientY);
  }

  /** The visible region at a pixel, or undefined. */
  regionAt(x, y) {
    const found = this.shown?.at(x, y, this.hidden);
    return found && !this.hidden(found) ? found : undefined;
  }

  /** Light up a region and name it; undefined for none. */
  mark(region) {
    if (region !== this.marked) {
      const { width, height } = this.highlight;
      const context = this.highlight.getContext('2d');
      context.clearRect(0, 0, width, height);
      if (region) {
        context.fillStyle = CLEAR;
        const [x, y, w, h] = region.bbox;
        const light = context.createImageData(Math.max(w, 1), Math.max(h, 1));
        this.shown.forEachPixel(region, (px, py) => {
          light.data.fill(255, 4 * ((py - y) * w + px - x), 4 * ((py - y) * w + px - x) + 3);
          light.data[4 * ((py - y) * w + px - x) + 3] = 110;
        });
        context.putImageData(light, x, y);
        this.tip.textContent = captionOf(region, width * height);
      }
      this.marked = region;
      this.onRegion(region);
    }
    this.tip.hidden = !region;
  }

  /** Mark a region from elsewhere, with its name at its box. */
  markFromList(region) {
    this.mark(region);
    if (!region) return;
    const box = this.frame.getBoundingClientRect();
    const [x, y, w] = region.bbox;
    const scale = box.width / this.image.width;
    this.moveTip(box.left + (x + w / 2) * scale, box.top + y * scale);
  }

  moveTip(clientX, clientY) {
    const box = this.root.getBoundingClientRect();
    const [w, h] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const left = Math.min(Math.max(0, clientX - box.left + 12), Math.max(0, box.width - w));
    const above = clientY - box.top - h - 10;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${above < 0 ? clientY - box.top + 18 : above}px`;
  }

  /** The image with what is coloured, as it is seen. */
  picture() {
    const [width, height] = [this.image.width, this.image.height];
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d');
    context.drawImage(this.image, 0, 0);
    context.globalAlpha = Number(this.overlay.style.opacity);
    context.drawImage(this.overlay, 0, 0);
    return canvas;
  }
}
