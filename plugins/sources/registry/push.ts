/**
 * Bringing an image to a registry: blobs that it hasn't, then the manifest that names them.
 *
 * @module
 */
import {
  digestOf,
  formatReference,
  HutchError,
  type ImageReference,
  parseReference,
  type PushAnswer,
  type PushBlob,
  type PushRequest,
} from "../../../mod.ts";
import type { RegistrySession } from "./session.ts";
import { type Answer, PassingError, TRANSIENT, type TransportOptions } from "./transport.ts";

/** Blobs on their way at once. */
const PARALLEL = 3;
/** Answers of an upload that has to begin anew: forgotten, or not where we think it is. */
const LOST: ReadonlySet<number> = new Set([404, 409, 416]);

/** What became of a blob. */
type Outcome = "there" | "mounted" | "sent";

/** One push. */
interface Push {
  readonly session: RegistrySession;
  readonly target: ImageReference;
  readonly request: PushRequest;
  readonly patience: Omit<TransportOptions, "clientFor">;
}

/**
 * Pushes an image.
 *
 * @throws {HutchError} `registry_denied`, `registry_failed`, `registry_unreachable`, `cancelled`,
 * `digest_mismatch` when a blob isn't what it should be.
 */
export async function pushImage(
  session: RegistrySession,
  target: ImageReference,
  request: PushRequest,
  patience: Omit<TransportOptions, "clientFor">,
): Promise<PushAnswer> {
  const failed = new AbortController();
  const signal = AbortSignal.any([request.signal, failed.signal]);
  const push = { session, target, request: { ...request, signal }, patience };
  const counts = { there: 0, mounted: 0, sent: 0 };
  const waiting = [...request.blobs];
  let failure: unknown;
  const worker = async () => {
    for (let blob = waiting.shift(); blob && !signal.aborted; blob = waiting.shift()) {
      try {
        counts[await pushBlob(push, blob)]++;
      } catch (error) {
        failure ??= error; // what the others end with for that says nothing
        failed.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  if (failure !== undefined) throw failure;
  request.signal.throwIfAborted();
  await putManifest(push);
  return { digest: digestOf(request.manifest), blobs: counts };
}

async function pushBlob(push: Push, blob: PushBlob): Promise<Outcome> {
  const { request, patience } = push;
  const tell = (bytes: number, outcome?: Outcome) =>
    request.onProgress({
      type: outcome === undefined ? "blob" : "blob.done",
      digest: blob.digest,
      bytes,
      size: blob.size,
      ...outcome === undefined ? {} : { outcome },
    });
  tell(0);
  for (let attempt = 1;; attempt++) {
    const last = attempt >= patience.attempts;
    const outcome = await tryBlob(push, blob, { last, tell });
    if (outcome !== undefined) {
      tell(blob.size, outcome);
      return outcome;
    }
    await pause(patience.retryDelayMs * 2 ** (attempt - 1), request.signal);
  }
}

/** Undefined when another try may do better. */
async function tryBlob(
  push: Push,
  blob: PushBlob,
  { last, tell }: { readonly last: boolean; readonly tell: (bytes: number) => void },
): Promise<Outcome | undefined> {
  if (await hasBlob(push, blob)) return "there";
  const begun = await begin(push, blob);
  if (begun === "mounted") return begun;
  const sent = await sendBytes(push, blob, begun, { last, tell });
  if (sent === undefined) return undefined;
  const place = new URL(sent);
  place.searchParams.set("digest", blob.digest);
  const answer = await write(push, place, { method: "PUT", headers: {} });
  if (answer.status === 201) {
    await answer.body.cancel();
    return "sent";
  }
  return await againOr(push, answer, blob, last);
}

async function hasBlob({ session, request }: Push, { digest }: PushBlob): Promise<boolean> {
  const sent = { method: "HEAD", headers: {} } as const;
  const answer = await session.send(session.url(`blobs/${digest}`), sent, request);
  await answer.body.cancel();
  // Others than "no" and "not you", too: to upload it says more.
  return answer.status === 200 || (answer.status >= 300 && answer.status < 400);
}

/** Begins an upload; or has the registry take the blob from another repository that may have it. */
async function begin(push: Push, blob: PushBlob): Promise<URL | "mounted"> {
  const { session, target } = push;
  const url = session.url("blobs/uploads/");
  const [from] = blob.from.map(parseReference).filter(({ registry, repository }) =>
    registry === target.registry && repository !== target.repository
  );
  if (from) {
    url.searchParams.set("mount", blob.digest);
    url.searchParams.set("from", from.repository);
  }
  let answer = await write(push, url, { method: "POST", headers: {} });
  if (from && (answer.status === 401 || answer.status === 403)) {
    // We may write here, but not read there.
    await answer.body.cancel();
    answer = await write(push, session.url("blobs/uploads/"), { method: "POST", headers: {} });
  }
  if (answer.status === 201 && from) {
    await answer.body.cancel();
    return "mounted";
  }
  if (answer.status !== 202) throw await session.refusal(answer, doing(push, blob));
  return await locationOf(push, answer, url);
}

/** Sends the blob's bytes; gives where the upload is to be ended. */
async function sendBytes(
  push: Push,
  blob: PushBlob,
  place: URL,
  { last, tell }: { readonly last: boolean; readonly tell: (bytes: number) => void },
): Promise<URL | undefined> {
  let broken: unknown;
  const counted = async function* () {
    let bytes = 0;
    try {
      for await (const chunk of blob.read(push.request.signal)) {
        yield chunk;
        bytes += chunk.length;
        tell(bytes);
      }
    } catch (error) {
      broken = error; // `fetch` would tell of its own failure only
      throw error;
    }
  };
  let answer: Answer;
  try {
    answer = await write(push, place, {
      method: "PATCH",
      headers: { "content-type": "application/octet-stream" },
      body: () => ReadableStream.from(counted()),
    });
  } catch (error) {
    if (broken !== undefined && !push.request.signal.aborted) throw broken;
    if (last || !(error instanceof PassingError && error.again)) throw error;
    return undefined;
  }
  if (answer.status === 202 || answer.status === 201 || answer.status === 204) {
    return await locationOf(push, answer, place);
  }
  return await againOr(push, answer, blob, last);
}

async function putManifest(push: Push): Promise<void> {
  const { session, target, request } = push;
  const { manifest, mediaType } = request;
  const url = session.url(`manifests/${target.tag ?? target.digest ?? "latest"}`);
  const answer = await session.send(
    url,
    { method: "PUT", headers: { "content-type": mediaType }, body: () => manifest },
    request,
  );
  if (answer.status !== 201 && answer.status !== 200) {
    throw await session.refusal(answer, `push ${formatReference(target)}`);
  }
  await answer.body.cancel();
  const announced = answer.headers.get("docker-content-digest");
  const digest = digestOf(manifest);
  if (announced === null || announced === digest) return;
  throw new HutchError(
    "digest_mismatch",
    `Cannot push ${formatReference(target)}: its manifest has digest ${digest}, ` +
      `and the registry took ${announced.slice(0, 100)}`,
  );
}

/** Sent once: whoever begins anew knows from where. */
function write(
  { session, request: { signal } }: Push,
  url: URL,
  sent: Parameters<RegistrySession["send"]>[1],
): Promise<Answer> {
  return session.send(url, sent, { signal, ...sent.method === "PATCH" ? { attempts: 1 } : {} });
}

async function againOr(
  push: Push,
  answer: Answer,
  blob: PushBlob,
  last: boolean,
): Promise<undefined> {
  if (last || !(TRANSIENT.has(answer.status) || LOST.has(answer.status))) {
    throw await push.session.refusal(answer, doing(push, blob));
  }
  await answer.body.cancel();
}

async function locationOf({ session, target }: Push, answer: Answer, asked: URL): Promise<URL> {
  await answer.body.cancel();
  const text = answer.headers.get("location") ?? "";
  const url = text !== "" && URL.canParse(text, asked) ? new URL(text, asked) : undefined;
  if (url && session.mayName(url)) return url;
  throw new HutchError(
    "registry_failed",
    `Cannot push ${formatReference(target)}: ${target.registry} names no safe place for a blob`,
  );
}

function doing({ target }: Push, { digest }: PushBlob): string {
  return `push ${digest} to ${target.registry}/${target.repository}`;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", end);
      resolve();
    }, ms);
    const end = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
  });
}
