/**
 * Outside imports that only tests use.
 *
 * @module
 */
export { default as fc } from "npm:fast-check@^4.0.0";
