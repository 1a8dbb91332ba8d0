/**
 * Which engine a box gets.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { nearest } from "../suggest.ts";
import type { Engine, EnginePart, EngineProbeOptions, EngineReport } from "./engine.ts";

/** An engine and what its probe found. */
export interface ProbedEngine {
  readonly engine: Engine;
  readonly report: EngineReport;
}

/** Probes all engines side by side, best first. A probe that throws makes its engine unusable. */
export async function probeEngines(
  engines: readonly Engine[],
  options: EngineProbeOptions,
): Promise<ProbedEngine[]> {
  const probed = await Promise.all(
    engines.map(async (engine) => ({ engine, report: await probe(engine, options) })),
  );
  return probed.sort((a, b) =>
    Number(b.report.usable) - Number(a.report.usable) || b.report.rank - a.report.rank
  );
}

async function probe(engine: Engine, options: EngineProbeOptions): Promise<EngineReport> {
  try {
    return await engine.probe(options);
  } catch (error) {
    return {
      usable: false,
      isolated: false,
      rank: 0,
      parts: {},
      permissions: {},
      found: [{ name: engine.name, problem: `its probe failed: ${errorText(error)}` }],
    };
  }
}

/**
 * The engine for a box: the one asked for, or for `auto` what `choose` answers, else the best.
 *
 * @param choose Asked with the names of the usable engines; may answer one of them.
 * @throws HutchError `engine_unavailable`, with what is missing and how to mend it;
 * `invalid_option` for a name that no engine has.
 */
export async function selectEngine(
  asked: string,
  engines: readonly Engine[],
  options: EngineProbeOptions,
  choose: (usable: readonly string[]) => Promise<string | undefined>,
): Promise<ProbedEngine> {
  const candidates = asked === "auto" ? engines : engines.filter((engine) => engine.name === asked);
  if (candidates.length === 0) {
    throw noSuchEngine(asked, engines);
  }
  const probed = await probeEngines(candidates, options);
  const usable = probed.filter(({ report }) => report.usable);
  if (asked === "auto" && usable.length > 0) {
    const name = await choose(usable.map(({ engine }) => engine.name));
    const chosen = usable.find(({ engine }) => engine.name === name);
    if (chosen) return chosen;
  }
  const [best] = usable;
  if (best) return best;
  throw await unavailable(asked, probed, options);
}

async function unavailable(
  asked: string,
  probed: readonly ProbedEngine[],
  options: EngineProbeOptions,
): Promise<HutchError> {
  const missing = probed.flatMap(({ report }) => report.found.filter((part) => part.problem));
  const kvm = await options.kvm();
  const reasons = missing.map((part) => `${part.name}: ${part.problem}`);
  if (!kvm.usable && kvm.problem) reasons.push(`KVM: ${kvm.problem}`);
  const remedies = remediesOf(missing);
  const subject = asked === "auto" ? "any engine" : `engine "${asked}"`;
  return new HutchError(
    "engine_unavailable",
    `Cannot use ${subject}: ${reasons.join("; ") || "it can't run here"}`,
    {
      hint: remedies.length > 0
        ? `${remedies.join(" and ")}; hutch doctor tells more`
        : asked === "auto"
        ? "hutch doctor tells more"
        : "take --engine auto; hutch doctor tells more",
    },
  );
}

function remediesOf(parts: readonly EnginePart[]): string[] {
  return [...new Set(parts.map((part) => part.remedy).filter((remedy) => remedy !== undefined))];
}

/** The error for a name that no engine has; with the one that may have been meant. */
export function noSuchEngine(asked: string, engines: readonly Engine[]): HutchError {
  const names = ["auto", ...engines.map((engine) => engine.name)];
  const near = nearest(asked, names);
  return new HutchError(
    "invalid_option",
    `Cannot use engine ${JSON.stringify(asked)}: there is no such engine`,
    {
      hint: near === undefined
        ? `take one of ${names.join(", ")}`
        : `did you mean ${JSON.stringify(near)}?`,
    },
  );
}
