/**
 * A private certificate authority for one test, made by `openssl`.
 *
 * @module
 */
import { join } from "node:path";
import { TempFolder } from "./temp.ts";
import { runTool } from "./tools.ts";

/** PEM files of a certificate and its key. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority, its server certificate for this machine and a client's; gone when disposed. */
export class TestAuthority implements AsyncDisposable {
  readonly #folder: TempFolder;
  /** PEM file of the authority itself. */
  readonly ca: string;
  /** For 127.0.0.1 and localhost. */
  readonly server: Certificate;
  readonly client: Certificate;

  private constructor(folder: TempFolder, ca: string, server: Certificate, client: Certificate) {
    this.#folder = folder;
    this.ca = ca;
    this.server = server;
    this.client = client;
  }

  /** Makes the keys and certificates. */
  static async create(): Promise<TestAuthority> {
    const folder = new TempFolder();
    const at = (name: string) => join(folder.path, name);
    const keyed = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
    try {
      await runTool(
        "openssl",
        ...["req", "-x509", ...keyed, "-days", "2", "-subj", "/CN=test authority"],
        ...["-addext", "basicConstraints=critical,CA:TRUE"],
        ...["-keyout", at("ca.key"), "-out", at("ca.pem")],
      );
      const sign = async (name: string, ...more: readonly string[]): Promise<Certificate> => {
        const files = { cert: at(`${name}.pem`), key: at(`${name}.key`) };
        await runTool(
          "openssl",
          ...["req", "-x509", ...keyed, "-days", "2", "-subj", `/CN=${name}`],
          ...["-CA", at("ca.pem"), "-CAkey", at("ca.key")],
          ...["-addext", "basicConstraints=critical,CA:FALSE"],
          ...more,
          ...["-keyout", files.key, "-out", files.cert],
        );
        return files;
      };
      const server = await sign("server", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost");
      const client = await sign("client", "-addext", "extendedKeyUsage=clientAuth");
      return new TestAuthority(folder, at("ca.pem"), server, client);
    } catch (error) {
      await folder[Symbol.asyncDispose]();
      throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#folder[Symbol.asyncDispose]();
  }
}
