/** The camera: a dialog that shows what it sees and takes an image. */
import { drawOnWhite, fittedSize } from './decode_image.js';
import { Problem } from './problem.js';

const REASONS = {
  NotAllowedError: [
    'The camera was not allowed.',
    "Allow it in the browser's settings of this page.",
  ],
  NotFoundError: ['No camera was found.', 'Connect one, or choose a file.'],
  NotReadableError: ['The camera is used by another program.', 'Close that program.'],
};

/** Opens the camera on a click and gives images. */
export class Camera {
  /**
   * @param {Function} find Gets an element by its id.
   * @param {Function} take Called with a canvas.
   * @param {Function} fail Called with a Problem.
   */
  constructor(find, take, fail) {
    [this.dialog, this.video] = [find('camera-dialog'), find('video')];
    [this.take, this.fail] = [take, fail];
    this.facing = 'environment';
    find('camera').addEventListener('click', () => this.open());
    find('shoot').addEventListener('click', () => this.shoot());
    find('turn').addEventListener('click', () => {
      this.facing = this.facing === 'environment' ? 'user' : 'environment';
      this.open();
    });
    find('camera-close').addEventListener('click', () => this.dialog.close());
    this.dialog.addEventListener('close', () => this.release());
  }

  async open() {
    this.release();
    try {
      if (!navigator.mediaDevices?.getUserMedia) {
        throw new Problem(
          'This page may not use a camera.',
          'Open it by https or on the machine that serves it, or choose a file.',
        );
      }
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: this.facing, width: { ideal: 1280 } },
      });
      this.video.srcObject = this.stream;
      if (!this.dialog.open) this.dialog.showModal();
    } catch (error) {
      this.dialog.close();
      if (error instanceof Problem) return this.fail(error);
      const [what, remedy] = REASONS[error.name] ?? [
        `The camera failed (${error.name}).`,
        'Choose a file.',
      ];
      this.fail(new Problem(what, remedy));
    }
  }

  shoot() {
    const [width, height] = [this.video.videoWidth, this.video.videoHeight];
    if (!width) return; // nothing has been seen yet
    const { canvas } = drawOnWhite(this.video, ...fittedSize(width, height));
    this.dialog.close();
    this.take(canvas);
  }

  /** Switch the camera off. */
  release() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }
}
