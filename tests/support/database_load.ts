/**
 * A SQLite database that is written to in a box, transaction after transaction, and whether a copy of
 * it is whole.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Box, Execution } from "../../mod.ts";
import { until } from "./processes.ts";

/** How SQLite makes its transactions last. */
export type JournalMode = "wal" | "delete";

/** Rows of each round; those of the latest rounds are kept. */
const [ROWS, ROUNDS] = [40, 5];

/** One shell of SQLite, which is told all it does; it says each round after that was committed. */
const WRITER = `
  rows="with recursive c (n) as (select 1 union all select n + 1 from c where n < ${ROWS})
    insert into data (round, body) select r, randomblob(200 + abs(random()) % 1000) from c, now"
  {
    echo "pragma journal_mode = $2; pragma synchronous = full;
      create table data (id integer primary key, round integer, body blob);
      create index rounds on data (round);
      create table done (round integer primary key, bytes integer);"
    n=0
    while :; do
      n=$((n + 1))
      echo "begin; create temp table if not exists now (r); delete from now; insert into now values ($n);
        delete from data where round <= $n - ${ROUNDS};
        $rows; insert into done select $n, sum(length(body)) from data where round = $n; commit;"
      echo ".system echo $n"
    done
  } | exec /usr/bin/sqlite3 -batch -bail "$1"`;

/** What is wrong with rounds whose rows are still there. */
const ODD = `select count(*) from done d where round > (select max(round) from done) - ${ROUNDS}
  and (select count(*) || ' ' || sum(length(body)) from data where round = d.round)
    is not '${ROWS} ' || bytes`;

/** Writes to a database until disposed. */
export class DatabaseLoad implements AsyncDisposable {
  readonly path: string;
  readonly #execution: Execution;
  #told = 0;
  #ended = false;

  /** Begins; the image is that of `debian_image.ts`. */
  constructor(box: Box, mode: JournalMode) {
    this.path = `/${mode}.db`;
    const script = `[ -e /bin/sh ] || /bin/busybox ln -s busybox /bin/sh; ${WRITER}`;
    const args = ["sh", "-c", script, "writer", this.path, mode];
    this.#execution = box.exec("/bin/busybox", args);
    this.#follow().catch(() => {}).finally(() => this.#ended = true);
  }

  /** The latest round that was said to be committed. */
  get told(): number {
    return this.#told;
  }

  /** Waits for some more rounds. */
  async goesOn(rounds: number): Promise<void> {
    const wanted = this.#told + rounds;
    await until(
      () => {
        assert.ok(!this.#ended, `the writer of ${this.path} ended`);
        return Promise.resolve(this.#told >= wanted);
      },
      () => Promise.resolve(`${this.path} is at round ${this.#told}, not ${wanted}`),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#execution[Symbol.asyncDispose]();
  }

  async #follow(): Promise<void> {
    for await (const line of this.#execution.lines()) {
      if (/^\d+$/.test(line)) this.#told = Number(line); // the first says the journal's mode
    }
  }
}

/** Makes sure that a database is whole; gives its latest round. */
export async function checkDatabase(box: Box, path: string): Promise<number> {
  const sql = `pragma integrity_check; select count(*), max(round) from done; ${ODD}`;
  const { code, stdout, stderr } = await box.exec("/usr/bin/sqlite3", ["-batch", path, sql]);
  assert.deepEqual([code, stderr], [0, ""], `${path}: ${stdout}`);
  const [whole, rounds = "", odd, ...more] = stdout.split("\n");
  assert.deepEqual([whole, odd, more], ["ok", "0", [""]], `${path}: ${stdout}`);
  const [count, latest] = rounds.split("|").map(Number);
  assert.equal(count, latest, `${path} has ${count} of ${latest} rounds`);
  return latest ?? 0;
}
