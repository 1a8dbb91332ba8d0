/**
 * What of a message of HTTP belongs to its connection alone.
 *
 * @module
 */

/** Headers of one connection, not of the message; `host` and its kin are the URL's. */
const OWN_HEADERS = [
  ...["connection", "host", "http2-settings", "keep-alive", "proxy-authorization"],
  ...["proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
];
const WEBSOCKET_HEADER = /^sec-websocket-/;

/** The headers that go on to the next connection. */
export function endToEnd(from: Headers): Headers {
  const listed = (from.get("connection") ?? "").toLowerCase().split(/\s*,\s*/);
  const headers = new Headers();
  for (const [name, value] of from) {
    if (OWN_HEADERS.includes(name) || listed.includes(name) || WEBSOCKET_HEADER.test(name)) {
      continue;
    }
    headers.append(name, value);
  }
  return headers;
}

/** Whether a request begins a WebSocket. */
export function isWebSocket({ headers }: Request): boolean {
  return headers.get("upgrade")?.toLowerCase() === "websocket";
}
