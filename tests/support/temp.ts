/**
 * Folders that go with the test.
 *
 * @module
 */

/** A new folder, removed when disposed. */
export class TempFolder implements AsyncDisposable {
  readonly path: string;

  /** @param parent Folder to make it in. @default {the system's} */
  constructor(parent?: string) {
    this.path = Deno.makeTempDirSync({
      prefix: "hutch-test-",
      ...(parent === undefined ? {} : { dir: parent }),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
