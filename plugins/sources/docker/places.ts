/**
 * Where a container engine may listen.
 *
 * @module
 */
import { HutchError } from "../../../mod.ts";

/** A place that an engine can be spoken to at. */
export interface EnginePlace {
  /** How errors call it. */
  readonly name: string;
  readonly proxy: Deno.Proxy;
  /** The socket's path, where it is one. */
  readonly path?: string;
}

/**
 * The places to try, in order.
 *
 * @param host As in DOCKER_HOST; undefined or empty for the usual sockets.
 * @throws {HutchError} `invalid_option`
 */
export function enginePlaces(host: string | undefined): readonly EnginePlace[] {
  if (host) return [placeOf(host)];
  const user = Deno.env.get("XDG_RUNTIME_DIR");
  return [
    "/var/run/docker.sock",
    ...(user ? [`${user}/docker.sock`, `${user}/podman/podman.sock`] : []),
    "/run/podman/podman.sock",
  ].map(socketAt);
}

function socketAt(path: string): EnginePlace {
  return { name: `unix://${path}`, path, proxy: { transport: "unix", path } };
}

function placeOf(host: string): EnginePlace {
  const fail = (problem: string, hint: string) =>
    new HutchError(
      "invalid_option",
      `Cannot use the container engine ${JSON.stringify(host.slice(0, 200))}: ${problem}`,
      { hint },
    );
  const usual = "set DOCKER_HOST to unix:///PATH or tcp://127.0.0.1:PORT";
  const path = /^unix:\/\/(\/[^\0]+)$/.exec(host)?.[1];
  if (path !== undefined) return socketAt(path);
  const tcp = /^(?:tcp|http):\/\/(\[[0-9a-fA-F:]+\]|[^:/?#@[\]\s]+):(\d{1,5})\/?$/.exec(host);
  const [, hostname, port] = tcp ?? [];
  if (hostname === undefined || Number(port) > 65535) throw fail("it can't be understood", usual);
  if (!/^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname)) {
    throw fail(
      "it is on another machine, and its traffic isn't encrypted",
      "bring its socket here, as by ssh -L /tmp/docker.sock:/var/run/docker.sock",
    );
  }
  const name = `tcp://${hostname}:${port}`;
  const bare = hostname.replace(/^\[|\]$/g, "");
  return { name, proxy: { transport: "tcp", hostname: bare, port: Number(port) } };
}
