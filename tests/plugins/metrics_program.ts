/**
 * A program with metrics in which one box lives and goes; its metrics are sent as it ends.
 *
 * @module
 */
import { metrics } from "../../plugins/metrics.ts";
import { emitLife, hostOf } from "./support.ts";

await using host = await hostOf(metrics({ port: null }));
emitLife(host);
