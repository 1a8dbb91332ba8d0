/**
 * An engine whose machines are agent doubles: whole boxes, with box processes, locks and sockets,
 * that start in a fraction of a second and run nothing.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { helperPath } from "../../ffi/library.ts";
import { definePlugin, type MachinePauser, type MemoryOrder, type Plugin } from "../../mod.ts";
import "../support/native.ts"; // a box on it has a disk, which the helper makes

const RAM_BYTES = 64 * 1024;

/** Options of {@link engineDouble}. */
export interface EngineDoubleOptions {
  /** URL of the runner's module. @default {the double's own} */
  readonly runner?: string;
  /** What the runner is told beside, asked at each start. @default {nothing} */
  readonly parts?: () => Readonly<Record<string, string>>;
  /** Whether its boxes get an overlay each, over no disk. @default {false} */
  readonly overlay?: boolean;
  /** Whether its machines, which never write to their disks, say that they go on in another file. */
  readonly diskSwitch?: boolean;
  /** Whether its machines, which have none, say that their memory is kept. @default {false} */
  readonly memory?: boolean;
  /** Whether its machines want to go on from a kept boot, which can never be kept; called at each try. */
  readonly preboots?: () => void;
}

/** Makes the plugin with the engine `double`; its machines use no disks. */
export function engineDouble(options: EngineDoubleOptions = {}): Plugin {
  const nothing = { path: "/dev/null", format: "raw", readOnly: true } as const;
  return definePlugin({
    name: "double",
    engines: [{
      name: "double",
      ...options.diskSwitch ? { diskSwitch: { switchDisk: () => Promise.resolve(undefined) } } : {},
      ...options.memory
        ? { pauser: standing(), memory: { save: (_machine, order) => saveNothing(order) } }
        : {},
      ...options.preboots
        ? { pauser: standing(), memory: { save: () => failing(options.preboots) } }
        : {},
      runner: options.runner ?? new URL("./engine_runner.ts", import.meta.url).href,
      probe: () =>
        Promise.resolve({
          usable: true,
          isolated: false,
          rank: 0,
          preboots: options.preboots !== undefined,
          parts: {
            deno: Deno.execPath(),
            agent: fileURLToPath(new URL("./agent_process.ts", import.meta.url)),
            helper: helperPath(),
            ...options.parts?.(),
          },
          permissions: { run: [Deno.execPath()], ffi: [helperPath()] },
          found: [],
        }),
    }],
    stages: {
      image: { wrap: ({ box }) => ({ digest: box.image.digest, disk: nothing }) },
      system: { wrap: () => ({ kernelPath: "/dev/null", commandLine: "", disk: nothing }) },
      ...(options.overlay ? {} : { disk: { wrap: () => nothing } }),
    },
  });
}

/** Writes as an engine would. */
async function saveNothing({ ramPath, statePath }: MemoryOrder): Promise<Record<string, string>> {
  await Deno.writeFile(ramPath, new Uint8Array(RAM_BYTES).fill(1), { mode: 0o600 });
  await Deno.writeFile(statePath, new Uint8Array(RAM_BYTES).fill(2), { mode: 0o600 });
  return {};
}

function failing(told: (() => void) | undefined): Promise<never> {
  told?.();
  return Promise.reject(new Error("the double keeps nothing"));
}

/** Its machines do nothing: the box process has to go on, as it does with an engine of its own process. */
function standing(): MachinePauser {
  let paused = false;
  return {
    pause: () => Promise.resolve(void (paused = true)),
    resume: () => Promise.resolve(void (paused = false)),
    isPaused: () => Promise.resolve(paused),
  };
}
