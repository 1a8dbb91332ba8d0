/**
 * What a registry says in `WWW-Authenticate`.
 *
 * @module
 */

/** One way of authentication that a server takes. */
export interface Challenge {
  /** In lower case, such as `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const PARAMETER = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))/y;
const SPACE = /[ \t]*/y;
const COMMAS = /[ \t,]*/y;
const HEADER_LIMIT = 8192;

/** Takes the header apart, several challenges in one included; stops at what it can't read. */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, HEADER_LIMIT);
  const challenges: Challenge[] = [];
  let position = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    if (found) position = pattern.lastIndex;
    return found;
  };
  for (;;) {
    take(COMMAS);
    const scheme = take(TOKEN)?.[0];
    if (scheme === undefined) return challenges;
    const parameters = new Map<string, string>();
    for (;;) {
      take(parameters.size === 0 ? SPACE : COMMAS);
      const found = take(PARAMETER);
      const name = found?.[1];
      if (!found || name === undefined) break;
      parameters.set(name.toLowerCase(), found[2]?.replace(/\\(.)/g, "$1") ?? found[3] ?? "");
    }
    challenges.push({ scheme: scheme.toLowerCase(), parameters });
  }
}
