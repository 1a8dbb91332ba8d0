/**
 * A box process, where it isn't built into one file with its engine's runner; see `box_main.ts`.
 *
 * @module
 */
import { main } from "./box_main.ts";

if (import.meta.main) await main(Deno.args[0] ?? "");
