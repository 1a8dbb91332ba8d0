/**
 * A registry that asks for tokens, and its token server.
 *
 * @module
 */
import { FakeRegistry, type MemoryImage } from "./fake_registry.ts";

/** Asks for tokens; its server gives them, or does what a test wants. */
export class TokenRegistry extends FakeRegistry {
  readonly tokens = new FakeRegistry();
  /** Tokens that open the door. */
  readonly valid = new Set<string>();
  /** Answers of the token server. */
  issue: (request: Request, url: URL) => Response | Promise<Response>;
  /** What those who come without a token are told. */
  challenge: string | null;

  /** Serves an image under `a/b:1`. */
  constructor(image: MemoryImage) {
    super();
    this.addImage("a/b:1", image);
    this.challenge =
      `Bearer realm="http://${this.tokens.host}/token",service="the \\"service\\"",` +
      `scope="repository:a/b:pull"`;
    this.issue = () => {
      const token = `token-${this.tokens.requests.length}`;
      this.valid.add(token);
      return Response.json({ token, expires_in: 300 });
    };
    this.tokens.misbehave = (request, url) => this.issue(request, url);
    this.misbehave = (request) => {
      const token = request.headers.get("authorization")?.replace(/^Bearer /, "");
      if (token !== undefined && this.valid.has(token)) return undefined;
      const headers = this.challenge === null ? {} : { "www-authenticate": this.challenge };
      return new Response(null, { status: 401, headers });
    };
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.tokens[Symbol.asyncDispose]();
  }
}
