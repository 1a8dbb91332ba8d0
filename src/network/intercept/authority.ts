/**
 * An authority for certificates, which a box trusts and nobody else: what is put in a server's place
 * shows certificates by it.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { loadX509 } from "../../deps.ts";

/** A certificate and its key, as PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** What every authority is called. */
export const AUTHORITY_NAME = "CN=hutch secrets of a box";
/**
 * OpenSSL's hash of {@link AUTHORITY_NAME}, by which it finds certificates in folders: what
 * `openssl x509 -subject_hash` says.
 */
export const AUTHORITY_HASH = "1a934231";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 24 * 60 * 60 * 1000;
/** A box's clock may be behind. */
const BEFORE_MS = 2 * DAY_MS;
const AUTHORITY_MS = 3650 * DAY_MS;
/** As long as clients that are strict about it allow. */
const LEAF_MS = 390 * DAY_MS;

function lifetime(ms: number): { notBefore: Date; notAfter: Date; serialNumber: string } {
  const now = Date.now();
  return {
    notBefore: new Date(now - BEFORE_MS),
    notAfter: new Date(now + ms),
    serialNumber: `01${randomBytes(15).toString("hex")}`,
  };
}

async function pemOfKey(key: CryptoKey): Promise<string> {
  const { PemConverter } = await loadX509();
  return PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

function generateKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

/** Makes an authority. Its key is worth as much as what boxes send to the hosts of their secrets. */
export async function makeAuthority(): Promise<KeyPair> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...lifetime(AUTHORITY_MS),
    name: AUTHORITY_NAME,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString("pem"), key: await pemOfKey(keys.privateKey) };
}

type Issued = InstanceType<Awaited<ReturnType<typeof loadX509>>["X509Certificate"]>;

/** Makes servers' certificates; all of them have one key. */
export class Issuer {
  readonly #issuer: Issued;
  readonly #signingKey: CryptoKey;
  readonly #keys: CryptoKeyPair;
  readonly #key: string;

  private constructor(
    issuer: Issued,
    signingKey: CryptoKey,
    keys: CryptoKeyPair,
    key: string,
  ) {
    this.#issuer = issuer;
    this.#signingKey = signingKey;
    this.#keys = keys;
    this.#key = key;
  }

  /** For an authority that {@link makeAuthority} made. */
  static async of({ certificate, key }: KeyPair): Promise<Issuer> {
    const x509 = await loadX509();
    const [der = new ArrayBuffer()] = x509.PemConverter.decode(key);
    const signing = await crypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
    const keys = await generateKeys();
    const pem = await pemOfKey(keys.privateKey);
    return new Issuer(new x509.X509Certificate(certificate), signing, keys, pem);
  }

  /** A certificate for a host's name, with the authority's behind it. */
  async issue(name: string): Promise<KeyPair> {
    const x509 = await loadX509();
    const certificate = await x509.X509CertificateGenerator.create({
      ...lifetime(LEAF_MS),
      subject: [], // the name may be longer than a subject's may be
      issuer: this.#issuer.subjectName,
      publicKey: this.#keys.publicKey,
      signingKey: this.#signingKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }], true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        await x509.AuthorityKeyIdentifierExtension.create(this.#issuer),
      ],
    });
    return {
      certificate: `${certificate.toString("pem")}\n${this.#issuer.toString("pem")}\n`,
      key: this.#key,
    };
  }
}
