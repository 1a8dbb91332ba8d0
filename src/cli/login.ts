/**
 * `hutch login`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { DEFAULT_REGISTRY } from "../images/reference.ts";
import { registryName } from "../images/registry/registries.ts";
import { ask, canAsk } from "./ask.ts";
import type { Invocation } from "./command.ts";
import { type ByteSource, type CliIo, print } from "./io.ts";
import { relaySignals } from "./session.ts";

interface Flags {
  readonly username?: string;
  readonly password?: string;
  readonly passwordStdin?: boolean;
}

/** Longest password, in bytes. */
const LIMIT = 64 * 1024;

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .usage("[options] [REGISTRY]")
    .argument("[REGISTRY]", "such as ghcr.io or localhost:5000 (default: docker.io)")
    .option("-u, --username <NAME>", "user name")
    .option("--password-stdin", "read the password from standard input")
    .option("-p, --password <PASSWORD>", "password; other users of this machine can see it there")
    .addHelpText(
      "after",
      "\nPasswords are tried at the registry, and kept in hutch's home or with the\n" +
        "credential helper that the configuration names.",
    );
}

/** Tries a user name and a password at a registry, and keeps them. */
export async function run({ args, command, io, open }: Invocation): Promise<number> {
  const registry = registryName(args[0] ?? DEFAULT_REGISTRY);
  const flags = command.opts<Flags>();
  if (flags.password !== undefined && flags.passwordStdin) {
    throw usage("--password and --password-stdin exclude each other");
  }
  if (flags.passwordStdin && flags.username === undefined) {
    throw usage("--password-stdin needs a user name", "give it with -u");
  }
  using signals = relaySignals(io);
  try {
    const given = await readCredentials(flags, io, { registry, signal: signals.signal });
    await using runtime = await open();
    const login = await runtime.images.login(registry, given, { signal: signals.signal });
    if (!login.checked) {
      await print(
        io.stderr,
        `hutch: ${login.registry} lets in everybody: the password wasn't checked\n`,
      );
    }
    await print(io.stdout, `Logged in to ${login.registry}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}

async function readCredentials(
  flags: Flags,
  { stdin, stderr }: CliIo,
  { registry, signal }: { readonly registry: string; readonly signal: AbortSignal },
): Promise<{ username: string; password: string }> {
  const typed = async (prompt: string, hidden: boolean): Promise<string> => {
    if (canAsk(stdin)) return await ask({ stdin, stderr }, { prompt, hidden, signal });
    throw new HutchError(
      "invalid_option",
      `Cannot ask for a ${hidden ? "password" : "user name"}: standard input is not a terminal`,
      { hint: "give -u NAME and --password-stdin, and pipe the password in" },
    );
  };
  const username = flags.username ?? await typed(`User name at ${registry}: `, false);
  if (flags.password !== undefined) {
    await print(
      stderr,
      "hutch: --password shows the password to other users of this machine; " +
        "--password-stdin doesn't\n",
    );
    return { username, password: flags.password };
  }
  const password = flags.passwordStdin
    ? await readPassword(stdin, signal)
    : await typed("Password: ", true);
  return { username, password };
}

/** All of standard input but the end of its line. */
async function readPassword(stdin: ByteSource, signal: AbortSignal): Promise<string> {
  const bytes = new Uint8Array(LIMIT + 1);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  let size = 0;
  try {
    for (;;) {
      const count = await Promise.race([stdin.read(bytes.subarray(size)), aborted]);
      if (count === null) break;
      size += count;
      if (size > LIMIT) throw usage(`the password is longer than ${LIMIT} bytes`);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, size));
    return text.replace(/\r?\n$/, "");
  } catch {
    throw usage("the password isn't UTF-8");
  }
}

function usage(problem: string, hint?: string): HutchError {
  return new HutchError(
    "invalid_option",
    `Cannot log in: ${problem}`,
    hint === undefined ? {} : { hint },
  );
}
