import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { obtainPart, type ObtainRequest } from "../../ffi/obtain.ts";
import { type Part, PART_NAMES, PARTS, sourcesOf } from "../../ffi/parts.ts";
import { SOURCES } from "../../ffi/sources.ts";
import { HutchError } from "../../src/errors.ts";
import { FileServer } from "../support/file_server.ts";
import { TempFolder } from "../support/temp.ts";

const PART: Part = {
  file: "answer",
  variable: "HUTCH_ANSWER",
  sources: ["answer"],
  headers: [""],
  flags: ["-O0"],
  libraries: [],
};
const FILES = {
  "answer/main.c": '#include "number.h"\nint main(void) { return NUMBER; }\n',
  "number.h": "#define NUMBER 42\n",
  "other.c": "no C at all\n",
};

function sha256(content: string): string {
  return createHash("sha256").update(content).digest("hex");
}

/** A server that has the sources of {@link PART}, and where the part goes. */
async function withServer(
  test: (request: ObtainRequest, server: FileServer, folder: string) => Promise<void>,
): Promise<void> {
  await using folder = new TempFolder();
  const ffi = join(folder.path, "www", "ffi");
  await Deno.mkdir(join(ffi, "answer"), { recursive: true });
  for (const [name, text] of Object.entries(FILES)) await Deno.writeTextFile(join(ffi, name), text);
  await using server = new FileServer(join(folder.path, "www"));
  const digests = Object.fromEntries(
    Object.entries(FILES).map(([name, text]) => [name, sha256(text)]),
  );
  const path = join(folder.path, "cache", "key", PART.file);
  await test({ part: PART, base: server.url, sources: { digests, path } }, server, folder.path);
}

function release(folder: string, content: string): NonNullable<ObtainRequest["prebuilt"]> {
  const digest = sha256(content);
  return {
    file: "prebuilt/here/answer",
    sha256: digest,
    path: join(folder, "cache", digest, PART.file),
  };
}

async function putRelease(folder: string, content: string): Promise<void> {
  await Deno.mkdir(join(folder, "www", "prebuilt", "here"), { recursive: true });
  await Deno.writeTextFile(join(folder, "www", "prebuilt", "here", "answer"), content);
}

async function run(path: string): Promise<number> {
  return (await new Deno.Command(path).output()).code;
}

function isMissing(words: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HutchError);
    assert.equal(error.code, "part_missing");
    assert.match(error.message, words);
    assert.match(error.hint ?? "", /C compiler.*or name a built one with HUTCH_ANSWER/);
    return true;
  };
}

Deno.test("obtainPart compiles the sources beside the modules, once for two who want them", () =>
  withServer(async (request, server) => {
    await Promise.all([obtainPart(request), obtainPart(request)]);
    assert.equal(await run(request.sources.path), 42);
    assert.deepEqual(server.served.sort(), ["/ffi/answer/main.c", "/ffi/number.h"]);
    await obtainPart(request);
    assert.equal(server.served.length, 2);
    const left = [...Deno.readDirSync(join(request.sources.path, ".."))].map(({ name }) => name);
    assert.deepEqual(left, ["answer"]);
  }));

Deno.test("obtainPart refuses a source with another digest, and leaves nothing", () =>
  withServer(async (request) => {
    const digests = { ...request.sources.digests, "number.h": sha256("#define NUMBER 41\n") };
    const changed = { ...request, sources: { ...request.sources, digests } };
    await assert.rejects(obtainPart(changed), isMissing(/number\.h has the SHA-256/));
    assert.deepEqual([...Deno.readDirSync(join(request.sources.path, ".."))], []);
  }));

Deno.test("obtainPart names both ways to mend it where there is no compiler, or none that can", () =>
  withServer(async (request) => {
    const without = { ...request, compiler: "hutch-no-such-compiler" };
    await assert.rejects(obtainPart(without), isMissing(/"hutch-no-such-compiler" is not there/));
    const unlinkable = { ...PART, libraries: ["-lhutch-no-such-library"] };
    await assert.rejects(
      obtainPart({ ...request, part: unlinkable }),
      isMissing(/hutch-no-such-library/),
    );
  }));

Deno.test("obtainPart takes a release's file, keeps it by digest and mends a damaged one", () =>
  withServer(async (request, server, folder) => {
    await putRelease(folder, "#!/bin/sh\nexit 7\n");
    const prebuilt = release(folder, "#!/bin/sh\nexit 7\n");
    await obtainPart({ ...request, prebuilt });
    assert.equal(await run(prebuilt.path), 7);
    await obtainPart({ ...request, prebuilt });
    assert.deepEqual(server.served, ["/prebuilt/here/answer"]);
    await Deno.writeTextFile(prebuilt.path, "half of");
    await obtainPart({ ...request, prebuilt });
    assert.equal(await run(prebuilt.path), 7);
  }));

Deno.test("obtainPart compiles where a release's file is another one or isn't there", () =>
  withServer(async (request, _server, folder) => {
    const prebuilt = release(folder, "#!/bin/sh\nexit 7\n");
    await putRelease(folder, "#!/bin/sh\nexit 8\n");
    await obtainPart({ ...request, prebuilt });
    assert.equal(await run(request.sources.path), 42);
    await assert.rejects(Deno.stat(prebuilt.path), Deno.errors.NotFound);
    await Deno.remove(request.sources.path);
    await Deno.remove(join(folder, "www", "prebuilt"), { recursive: true });
    const neither = { ...request, prebuilt, compiler: "hutch-no-such-compiler" };
    await assert.rejects(obtainPart(neither), isMissing(/answers 404; .*compiler/));
  }));

Deno.test("SOURCES has what each part is made from, and nothing else", () => {
  const all = Object.keys(SOURCES);
  const used = new Set(PART_NAMES.flatMap((name) => sourcesOf(PARTS[name], all)));
  assert.deepEqual([...used].sort(), all);
  for (const name of PART_NAMES) {
    assert.ok(sourcesOf(PARTS[name], all).some((file) => file.endsWith(".c")), name);
  }
});
