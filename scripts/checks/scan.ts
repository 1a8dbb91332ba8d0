/**
 * Finds a TypeScript file's imports without a compiler.
 *
 * @module
 */

/** One import or re-export. */
export interface Import {
  /** As it is written, such as `"../errors.ts"` without its quotes. */
  readonly specifier: string;
  /** Whether it is erased: `import type`, or a type's `import("…")` after `typeof`. */
  readonly typeOnly: boolean;
  /** Line, from 1. */
  readonly line: number;
}

/** A piece of a file: code, or what only looks like it. */
const PIECES = new RegExp(
  [
    String.raw`(?<comment>\/\/[^\n]*|\/\*[\s\S]*?\*\/)`,
    String.raw`(?<string>"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*')`,
    // A template's own code is taken for text: nobody imports there.
    "(?<template>`(?:[^`\\\\]|\\\\[\\s\\S])*`)",
    // A regular expression comes where a value begins.
    String
      .raw`(?<=[=(,:;!&|?{}\[\n]\s*)(?<regex>\/(?![*\/])(?:[^\/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*)`,
  ].join("|"),
  "g",
);

const STATEMENT =
  /(?<![\w$.])(?:import|export)\s+(?<type>type\s)?(?:[\w$*\s{},]*?\sfrom\s*|[{*][\w$*\s{},]*?from\s*)?"(?<index>\d+)"/g;
const CALL = /(?<![\w$.])(?<type>typeof\s+)?import\s*\(\s*"(?<index>\d+)"/g;

/** The imports of a file's text, in its order. */
export function importsOf(text: string): Import[] {
  // Comments go, and each string becomes its number, so that neither can be taken for code.
  const strings: string[] = [];
  const code = text.replace(PIECES, (piece, ...rest) => {
    const groups: Record<string, string | undefined> = rest.at(-1);
    const lines = "\n".repeat(piece.split("\n").length - 1);
    if (groups.string === undefined) {
      return groups.comment === undefined ? `0${lines}` : ` ${lines}`;
    }
    return `"${strings.push(piece.slice(1, -1)) - 1}"${lines}`;
  });
  const found = [...code.matchAll(STATEMENT), ...code.matchAll(CALL)];
  return found.sort((a, b) => a.index - b.index).map((match) => ({
    specifier: strings[Number(match.groups?.index)] ?? "",
    typeOnly: match.groups?.type !== undefined || onlyTypesNamed(match[0]),
    line: code.slice(0, match.index).split("\n").length,
  }));
}

/** `import { type A, type B } from …`: nothing remains of it but the loading, which we don't mean. */
function onlyTypesNamed(statement: string): boolean {
  const names = /^(?:import|export)\s*\{([^}]*)\}/.exec(statement)?.[1];
  if (names === undefined) return false;
  const list = names.split(",").map((name) => name.trim()).filter((name) => name !== "");
  return list.length > 0 && list.every((name) => name.startsWith("type "));
}
