/**
 * Trying credentials at a registry.
 *
 * @module
 */
import { HutchError, type LoginAnswer, type LoginRequest } from "../../../mod.ts";
import { Authenticator } from "./auth.ts";
import { Connections } from "./connection.ts";
import { apiRoot } from "./session.ts";
import { Transport, type TransportOptions } from "./transport.ts";

/**
 * Asks the registry's root with the credentials, if it wants any.
 *
 * @throws {HutchError} `registry_denied`, `registry_failed`, `registry_unreachable`, `cancelled`
 */
export async function logIn(
  request: LoginRequest,
  patience: Omit<TransportOptions, "clientFor">,
): Promise<LoginAnswer> {
  const { registry, credentials, signal } = request;
  using connections = new Connections(request.registries);
  const root = apiRoot(registry, connections.plainHttpAllowed(registry));
  const clientFor = await connections.open(registry, root);
  const transport = new Transport({ ...patience, clientFor });
  const authenticator = new Authenticator({
    transport,
    registry,
    root,
    scope: undefined,
    credentials: () => Promise.resolve(credentials),
    plainHttpAllowed: (host) => connections.plainHttpAllowed(host),
  });
  let header: string | undefined;
  for (;;) {
    const headers = new Headers({ "user-agent": "hutch" });
    if (header !== undefined) headers.set("authorization", header);
    const answer = await transport.send(root, { headers }, { signal });
    await answer.body.cancel();
    const asks = answer.status === 401 && answer.origin === root.origin;
    if (asks && header === undefined) {
      header = await authenticator.renew(answer.headers.get("www-authenticate"), header, signal);
      continue;
    }
    if (answer.status === 200) {
      const { refreshToken } = authenticator;
      const kept = refreshToken === undefined ? credentials : { identityToken: refreshToken };
      return { credentials: kept, checked: header !== undefined };
    }
    throw refusal(registry, answer.status);
  }
}

function refusal(registry: string, status: number): HutchError {
  if (status === 401 || status === 403) {
    return new HutchError(
      "registry_denied",
      `Cannot log in to ${registry}: it doesn't take the credentials`,
      { hint: "check user name and password" },
    );
  }
  return new HutchError(
    "registry_failed",
    `Cannot log in to ${registry}: it answers ${status}`,
    status === 404 ? { hint: "check that the host is a registry" } : {},
  );
}
