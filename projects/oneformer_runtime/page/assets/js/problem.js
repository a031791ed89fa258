/** What went wrong and what to do about it, in words for the person in front of the page. */
export class Problem extends Error {
  /**
   * @param {string} what What was found.
   * @param {string} remedy What to do.
   */
  constructor(what, remedy) {
    super(`${what} ${remedy}`.trim());
    this.name = 'Problem';
    this.what = what;
    this.remedy = remedy;
  }
}

/** The text of anything that was thrown. */
export function textOf(error) {
  return error instanceof Error ? error.message || error.name : String(error);
}
