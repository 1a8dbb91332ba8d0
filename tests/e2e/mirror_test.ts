/**
 * Debian's package manager in a box that may talk to its mirror alone. The one test that leaves this
 * machine, where its mirror answers.
 */
import assert from "node:assert/strict";
import { DEBIAN_LAYER, DebianLayout, needsDebian } from "../support/debian_image.ts";
import { runTool } from "../support/tools.ts";
import { BOX, withRuntime } from "./support.ts";

const LONGEST_MS = 5_000;
const debian = needsDebian();
const mirror = debian.ignore ? undefined : await findMirror();
const note = debian.note || (mirror ? "" : " (no mirror of Debian answers by plain HTTP)");

interface Mirror {
  readonly url: URL;
  readonly suite: string;
  readonly addresses: readonly string[];
}

/** Where the image's sources say that packages are, and of which release, if it answers. */
async function findMirror(): Promise<Mirror | undefined> {
  const sources = await runTool("tar", "-xOf", DEBIAN_LAYER, "--wildcards", "./etc/apt/sources*");
  const url = /^(?:URIs:|deb(?: \[.*?\])?) (http:\/\/\S+)/im.exec(sources)?.[1];
  const release = await Deno.readTextFile("/etc/os-release");
  const suite = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (url === undefined || suite === undefined) return undefined;
  try {
    const answer = await fetch(`${url}/dists/${suite}-updates/InRelease`, {
      signal: AbortSignal.timeout(LONGEST_MS),
    });
    await answer.body?.cancel();
    if (!answer.ok) return undefined;
    const addresses = await Deno.resolveDns(new URL(url).hostname, "A");
    // One on this machine's loopback has no address that a box could use.
    if (addresses.some((address) => address.startsWith("127."))) return undefined;
    return { url: new URL(url), suite, addresses };
  } catch {
    return undefined;
  }
}

Deno.test(`apt-get update works in a box whose mirror is all that it may talk to${note}`, {
  ignore: mirror === undefined,
}, () =>
  withRuntime(async (runtime) => {
    assert.ok(mirror);
    const { url, suite, addresses } = mirror;
    await using layout = new DebianLayout();
    const port = url.port || "80";
    await using box = await runtime.create({
      ...{ ...BOX, image: layout.reference, memory: 256, disk: 512 },
      // A mirror in a private network takes rules for its addresses, too.
      allowNet: [url.hostname, ...addresses].map((target) => `${target}:${port}`),
    });
    // The release of updates is small; nothing of the image is configured, so it has no users.
    const source = `deb ${url} ${suite}-updates main`;
    const script = `busybox ln -sf busybox /bin/sh
      echo "$1" > /etc/apt/sources.list; busybox rm -rf /etc/apt/sources.list.d
      exec apt-get -o APT::Sandbox::User=root -o Acquire::Check-Date=false -o Acquire::Check-Valid-Until=false \\
        -o Acquire::Languages=none -o Acquire::Retries=0 -o APT::Update::Error-Mode=any update`;
    const update = (of: string) =>
      box.exec("/bin/busybox", ["sh", "-c", script, "sh", of], { env: { PATH: "/usr/bin:/bin" } });
    const { code, stdout, stderr } = await update(source);
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^Get:1 /m);
    const elsewhere = await update(source.replace(url.host, "elsewhere.test"));
    assert.equal(elsewhere.code, 100);
    assert.match(elsewhere.stderr, /resolving 'elsewhere\.test'/);
  }));
