/**
 * Folders that go with the test.
 *
 * @module
 */

/** A new folder, removed when disposed. */
export class TempFolder implements AsyncDisposable {
  readonly path: string;

  constructor() {
    this.path = Deno.makeTempDirSync({ prefix: "hutch-test-" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
