/**
 * Opens the helper library before any test runs: it stays open, and Deno's sanitizers would take it
 * for a leak of the test that used it first.
 *
 * @module
 */
import { helper } from "../../ffi/library.ts";

helper();
