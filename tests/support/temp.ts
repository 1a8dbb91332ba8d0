/**
 * Folders that go with the test.
 *
 * @module
 */

/** A folder in memory, if there is one: there it costs nothing to sync thousands of files. */
export const MEMORY: string | undefined = isFolder("/dev/shm") ? "/dev/shm" : undefined;

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

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
