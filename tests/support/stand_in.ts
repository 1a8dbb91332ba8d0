/**
 * What stands in for a program made with `deno compile`, whose base can't be downloaded everywhere: a
 * script that runs the program's first module and is its own `Deno.execPath()`. What isn't tested
 * with it is Deno's: that modules and embedded files are found in the program itself.
 *
 * @module
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { firstModule } from "../../compile.ts";

/** A program that stands in; its files are in a folder that the test takes away. */
export class StandIn {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes one.
   *
   * @param script Text of the user's script; hutch's command line without.
   */
  static async make(
    folder: string,
    script?: string,
    plugins: readonly string[] = [],
  ): Promise<StandIn> {
    const at = (name: string) => join(folder, `stand-in-${name}`);
    if (script !== undefined) await Deno.writeTextFile(at("script.ts"), script);
    const url = script === undefined ? {} : { script: pathToFileURL(at("script.ts")).href };
    await Deno.writeTextFile(at("first.ts"), firstModule({ ...url, plugins, output: "" }));
    await Deno.writeTextFile(
      at("before.js"),
      `Object.defineProperty(Deno, "build", { value: { ...Deno.build, standalone: true } });
Deno.execPath = () => ${JSON.stringify(at("program"))};
`,
    );
    const words = [
      Deno.execPath(),
      "run",
      "-A",
      "--quiet",
      "--no-prompt",
      "--no-check",
      "--preload",
    ];
    const command = [...words, at("before.js"), at("first.ts")].map((word) => `'${word}'`).join(
      " ",
    );
    await Deno.writeTextFile(at("program"), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
    return new StandIn(at("program"));
  }

  /** Runs it to its end. */
  async run(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    const { code, stdout, stderr } = await new Deno.Command(this.path, {
      args: [...args],
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }
}
