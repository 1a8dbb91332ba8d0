/**
 * Volumes that are commits of git repositories: `git:URL#REF[:GUEST[:ro]]`, or
 * `{ git: URL, ref, guest, readOnly, submodules }`. URL is `https`, `http`, `ssh`, `git` or `file`,
 * or a path that begins with `/`, `./`, `../` or `~/`; REF a branch, a tag or a whole commit id, and
 * the remote's HEAD when it is empty; GUEST is `/` and the repository's name unless given.
 *
 * The system's git (or `HUTCH_GIT`) fetches that one commit when the box is started first; later
 * starts find what is there. A writable volume is the box's own and goes with it. Read-only ones are
 * kept in the home's `cache/git`, one folder a commit, shared by all boxes; it may be removed while no
 * box has one. No hook runs, and nothing asks for a password: use a credential helper or ssh's agent,
 * since the URL is recorded with the box. Submodules come where asked for.
 *
 * Options: none.
 *
 * @example The repository in the working folder, as it was last committed
 * ```ts
 * import { Runtime } from "../mod.ts";
 * import { gitVolume } from "./git_volume.ts";
 * await using runtime = await Runtime.open({ plugins: [gitVolume()] });
 * const volumes = ["git:./#HEAD:/src:ro"]; // or such as "git:https://host/team/site.git#v1.2"
 * await using box = await runtime.create({ image: "builtin:busybox", volumes });
 * console.log((await box.exec("ls", ["/src"])).stdout);
 * ```
 * @module
 */
import { createHash } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { definePlugin, findProgram, HutchError } from "../mod.ts";
import type { Plugin, PluginContext, VolumeSpec } from "../mod.ts";

/** What is asked for, with every default filled in. */
type Wanted = ReturnType<typeof checked>;

const SAFE = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
const REMOTE = "https:http:ssh:git";
const KEPT_ENV = /^(?!GIT_)|^GIT_(SSH|SSL|PROXY)/;

/** Makes the plugin. */
export function gitVolume(): Plugin {
  return definePlugin({
    name: "git_volume",
    resolve: {
      async volume({ spec, start }, context) {
        const wanted = typeof spec === "string" ? fromText(spec) : fromObject(spec);
        if (!wanted) return undefined;
        const answer = { guestPath: wanted.guest, readOnly: wanted.readOnly, spec: { ...wanted } };
        return start
          ? { ...answer, hostPath: await provide(wanted, start.folder, context) }
          : answer;
      },
    },
  });
}

function fromText(spec: string): Wanted | undefined {
  if (!spec.startsWith("git:")) return undefined;
  const parts = /^git:([^#]+)#([^:]*)(?::([^:]+)(?::(ro|rw))?)?$/.exec(spec);
  const [, git, ref = "", guest = "", mode] = parts ?? refuse(spec, "it isn't git:URL#REF:GUEST");
  return checked(git ?? "", ref, guest, mode === "ro", false);
}

function fromObject(spec: Exclude<VolumeSpec, string>): Wanted | undefined {
  const { git, ref = "", guest, readOnly = false, submodules = false, ...more } = spec;
  if (git === undefined) return undefined;
  for (const name of Object.keys(more)) refuse(guest, `"${name}" is not an option of git volumes`);
  if (typeof git !== "string" || typeof ref !== "string") refuse(guest, "git or ref is no text");
  if (typeof readOnly !== "boolean" || typeof submodules !== "boolean") {
    refuse(guest, "readOnly or submodules is neither true nor false");
  }
  return checked(git, ref, guest, readOnly, submodules);
}

/** Nothing of it can be taken for an option, or for a protocol that runs programs. */
function checked(url: string, ref: string, path: string, readOnly: boolean, submodules: boolean) {
  const isPath = /^(\/|\.\.?(\/|$)|~\/)/.test(url);
  if (/[\p{Cc} ]/u.test(url) || !isPath && !/^(https?|ssh|git|file):\/\/[^-]/.test(url)) {
    refuse(shown(url), "its URL is neither of https, http, ssh, git, file nor a path");
  }
  if (!/^([A-Za-z0-9_][A-Za-z0-9._\/+@-]*)?$/.test(ref) || ref.includes("..")) {
    refuse(shown(url), `"${ref}" is no branch, tag or commit`);
  }
  const git = isPath ? resolve(url.replace(/^~/, () => Deno.env.get("HOME") ?? "/")) : url;
  const guest = path || `/${basename(git, ".git")}`;
  return { git, ref: ref || "HEAD", guest, readOnly, submodules };
}

/** The folder with the commit's files; fetched unless it is there. */
async function provide(wanted: Wanted, folder: string, context: PluginContext): Promise<string> {
  const { git, ref, readOnly, submodules } = wanted;
  const [fresh, pinned] = [join(folder, "new"), join(folder, "commit")];
  const placeOf = (commit: string) => {
    if (!readOnly) return join(folder, "tree");
    const key = createHash("sha256").update(JSON.stringify([git, commit, submodules]));
    return join(context.runtime.home, "cache", "git", key.digest("hex"));
  };
  const known = await Deno.readTextFile(pinned).then(placeOf, () => undefined);
  if (known !== undefined && await Deno.stat(known).catch(() => undefined)) return known;
  await Deno.mkdir(folder, { recursive: true });
  await Deno.remove(fresh, { recursive: true }).catch(() => {}); // of a start that was killed
  const run = await runner(wanted, context.signal);
  await run("", "init", "--quiet", "--template=", "--", fresh);
  await run("", "-C", fresh, "remote", "add", "--", "origin", git);
  await run(`file:${REMOTE}`, "-C", fresh, "fetch", "--depth=1", "--no-tags", "origin", ref);
  await run("", "-C", fresh, "checkout", "--quiet", "--detach", "FETCH_HEAD");
  if (submodules) { // not by "file": a repository could name what is on this machine
    await run(REMOTE, "-C", fresh, "submodule", "update", "--init", "--recursive", "--depth=1");
  }
  const commit = (await run("", "-C", fresh, "rev-parse", "HEAD")).trim();
  const place = placeOf(commit);
  await Deno.mkdir(dirname(place), { recursive: true });
  // Another box may be faster; what was put here before it was pinned is whole.
  await Deno.rename(fresh, place).catch(async (error) => {
    if (!await Deno.stat(place).catch(() => undefined)) throw error;
  });
  await Deno.writeTextFile(pinned, commit);
  return place;
}

/** Runs git, as far as it may talk some protocols; gives what it prints. */
async function runner({ git, ref }: Wanted, signal: AbortSignal) {
  const program = await findProgram("HUTCH_GIT", ["git"]) ?? refuse(shown(git), "git is missing");
  const kept = Object.entries(Deno.env.toObject()).filter(([name]) => KEPT_ENV.test(name));
  const inherited = { GIT_SSH_COMMAND: "ssh -oBatchMode=yes", ...Object.fromEntries(kept) };
  const fixed = { GIT_TERMINAL_PROMPT: "0", GIT_ASKPASS: "false", LC_ALL: "C.UTF-8" };
  return async (protocols: string, ...args: string[]): Promise<string> => {
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args: [...SAFE, ...args],
      clearEnv: true,
      env: { ...inherited, ...fixed, GIT_ALLOW_PROTOCOL: protocols },
      stdin: "null",
      signal,
    }).output();
    signal.throwIfAborted();
    const text = new TextDecoder().decode(success ? stdout : stderr);
    if (success) return text;
    const words = text.replaceAll(git, shown(git)).trim().split("\n").slice(-3).join("; ");
    return refuse(`${shown(git)}#${ref}`, `git says: ${words}`);
  };
}

/** The URL without a password. */
function shown(url: string): string {
  return url.replace(/^(\w+:\/\/[^\/@:]*):[^\/@]*@/, "$1:…@");
}

function refuse(what: string, why: string): never {
  throw new HutchError("invalid_option", `Cannot use git volume "${what}": ${why}`);
}
