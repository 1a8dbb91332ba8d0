/**
 * Podman with a storage of its own, and its service that speaks as Docker's engine does.
 *
 * @module
 */
import { join } from "node:path";
import { until } from "./processes.ts";
import { TempFolder } from "./temp.ts";
import { runTool } from "./tools.ts";

/** What {@link TempPodman} needs. */
export const PODMAN_TOOLS: readonly string[] = ["podman", "crun", "conmon", "env"];

/** Images and nothing else: it starts no containers, and touches no other Podman's storage. */
export class TempPodman extends TempFolder {
  /** Runs a command; gives its output. */
  async run(...args: readonly string[]): Promise<string> {
    return await runTool("env", ...this.#command(), ...args);
  }

  /** Serves on a socket until disposed. */
  async serve(): Promise<AsyncDisposable & { readonly socket: string }> {
    const socket = join(this.path, "podman.sock");
    const service = new Deno.Command("env", {
      args: [...this.#command(), "system", "service", "--time=0", `unix://${socket}`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const stop = async () => {
      service.kill("SIGTERM");
      await service.status;
    };
    try {
      const answers = async () => {
        try {
          (await Deno.connect({ transport: "unix", path: socket })).close();
          return true;
        } catch {
          return false;
        }
      };
      await until(answers, () => Promise.resolve("podman doesn't serve"));
    } catch (error) {
      await stop();
      throw error;
    }
    return { socket, [Symbol.asyncDispose]: stop };
  }

  #command(): readonly string[] {
    const at = (name: string) => join(this.path, name);
    Deno.writeTextFileSync(
      at("containers.conf"),
      '[engine]\nruntime = "crun"\nevents_logger = "none"\n',
    );
    // deno-fmt-ignore
    return [
      `CONTAINERS_CONF=${at("containers.conf")}`, `XDG_RUNTIME_DIR=${this.path}`,
      "podman", "--root", at("root"), "--runroot", at("run"), "--tmpdir", at("tmp"),
      "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
    ];
  }
}
