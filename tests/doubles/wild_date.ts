/**
 * A wall clock that somebody sets all the time.
 *
 * @module
 */

const DAY_MS = 86_400_000;

/**
 * Has each look at `Date` be so many days later than the one before, or earlier, until it is disposed of;
 * clocks that nobody can set go on as they are.
 */
export function makeDateWild(days: number): Disposable {
  const Real = Date;
  let looks = 0;
  const now = () => Real.now() + ++looks * days * DAY_MS;
  const Wild = new Proxy(Real, {
    construct: (real, args: unknown[]) => Reflect.construct(real, args.length > 0 ? args : [now()]),
    get: (real, key) => key === "now" ? now : Reflect.get(real, key),
  });
  const set = (value: DateConstructor) =>
    Object.defineProperty(globalThis, "Date", { value, configurable: true, writable: true });
  set(Wild);
  return { [Symbol.dispose]: () => void set(Real) };
}
