/**
 * One plugin around one stage.
 *
 * @module
 */
import type { PluginContext, StageHook } from "./contract.ts";
import { PluginError } from "./errors.ts";

/** What a step is, for errors. */
export interface StepName {
  /** A stage or an operation. */
  readonly stage: string;
  /** The name of the box that it is about. */
  readonly about: string | undefined;
}

/** A stage, or a stage with plugins around it. */
export type Step<I, O> = (input: I) => Promise<O>;

/**
 * Puts a plugin's hook around a step. What the plugin throws becomes a {@link PluginError}; what
 * comes from further in is not its fault and passes as it is.
 */
export function layer<I, O>(
  hook: StageHook<I, O>,
  { stage, about }: StepName,
  context: PluginContext,
  next: Step<I, O>,
): Step<I, O> {
  return async (input) => {
    const passing = new Set<unknown>(); // thrown further in
    const onward: Step<I, O> = async (given) => {
      try {
        return await next(given);
      } catch (error) {
        passing.add(error);
        throw error;
      }
    };
    let part = "before";
    try {
      const given = (await hook.before?.(input, context)) ?? input;
      part = "wrap";
      const made = hook.wrap ? await hook.wrap(given, onward, context) : await onward(given);
      part = "after";
      return (await hook.after?.(made, context)) ?? made;
    } catch (error) {
      if (passing.has(error)) throw error;
      throw new PluginError(context.plugin, `${stage}.${part}`, error, about);
    }
  };
}
