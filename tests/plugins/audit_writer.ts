/**
 * A program that writes an audit log: `audit_writer.ts PATH NAME`.
 *
 * @module
 */
import { audit } from "../../plugins/audit.ts";
import { emitLife, Teller } from "./support.ts";

const [path = "", name = ""] = Deno.args;
await using teller = await Teller.of(audit({ path, maxBytes: 1_000, keep: 1_000 }));
console.log("ready");
await Deno.stdin.read(new Uint8Array(1)); // ends when all are to go
for (let number = 0; number < 30; number++) emitLife(teller, `${name}-${number}`);
