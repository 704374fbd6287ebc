"""Mutations: safety steps that can be taken out, and who sees that they are missing."""

from __future__ import annotations

from typing import Final, NamedTuple


class Row(NamedTuple):
    """A row of the fault table on one broker."""

    broker: str
    number: int

    def __str__(self) -> str:
        return f"row {self.number} on {self.broker}"

    def in_documents(self) -> str:
        return str(self)


class Check(NamedTuple):
    """A test, as pytest calls it."""

    node: str
    database: str = "sqlite"

    def __str__(self) -> str:
        return self.node

    def in_documents(self) -> str:
        file, *_, name = self.node.split("::")
        return f"``{file.removeprefix('tests/')}``: {name.removeprefix('test_')}"


Sight = Row | Check


class Mutant(NamedTuple):
    """One step of ours, taken out."""

    name: str
    means: str
    file: str
    old: str
    new: str
    seen_by: Sight
    sign: str
    """The line at which it fails then, as pytest shows it but for the spaces."""


CONTRACT: Final = "tests/contract"
UNIT: Final = "tests/unit/cluster"
ACCEPTANCE: Final = "tests/acceptance"

MUTANTS: Final = (
    Mutant(
        "signature",
        "The signature is not checked before a package is opened",
        "django_q/signing.py",
        "        body = self._signer.open(package)\n",
        '        body = package.encode().rsplit(b":", 2)[0]\n',
        Row("orm-sqlite", 47),
        "> assert not bomb.has_exploded",
    ),
    Mutant(
        "living-are-rescued",
        "The tasks of living clusters are rescued as well",
        "django_q/brokers/redis_lua.py",
        "return redis.call('ZRANGEBYSCORE', clusters, '-inf', now())",
        "return redis.call('ZRANGE', clusters, 0, -1)",
        Row("redis", 41),
        "> assert set(bench.started().values()) == {1}",
    ),
    Mutant(
        "fetch-without-lease",
        "A package is taken from the list of Redis and not held by anybody",
        "django_q/brokers/redis_scripts.py",
        "  redis.call('HSET', mine, unpack(fields))\n",
        "",
        Row("redis", 9),
        "> bench.wait_for_recovery(within=LEASE + 5",
    ),
    Mutant(
        "late-acknowledgement",
        "Whoever names a row of the queue may remove it, also a cluster that has lost it",
        "django_q/brokers/table.py",
        "        by_delivery = defaultdict(list)\n",
        "        return self.ids([row for row, _ in pairs])\n        by_delivery = defaultdict(list)\n",
        Check(
            f"{CONTRACT}/test_orm.py::TestORM::test_late_acknowledgement_removes_nothing"
        ),
        "> assert broker.acknowledge_many([lost]) == set()",
    ),
    Mutant(
        "no-fence",
        "A cluster goes on with what it has lost to another one",
        "django_q/cluster/pushing.py",
        "            self._lose(lost)\n",
        "            pass\n",
        Row("orm-sqlite", 11),
        "> assert bench.count().twice <= len(held)",
    ),
    Mutant(
        "old-receipts",
        "The receipt of an earlier delivery counts for the next one as well",
        "django_q/brokers/table.py",
        "            is_this = f\"{self.quoted('deliveries')} = {int(delivery)}\"\n",
        '            is_this = "1 = 1"\n',
        Check(
            f"{CONTRACT}/test_orm.py::TestORM::test_redelivered_package_counts_a_start_and_has_a_new_receipt"
        ),
        "> assert broker.acknowledge_many(receipts_of([first])) == set()",
    ),
    Mutant(
        "no-renewal",
        "Leases are not renewed",
        "django_q/cluster/pushing.py",
        "        lost = set(receipts) - self.broker.renew(receipts)\n",
        "        lost = set(receipts) - set(receipts)\n",
        Row("orm-sqlite", 41),
        "> assert set(bench.started().values()) == {1}",
    ),
    Mutant(
        "no-delivery-count",
        "Starts that ended with their worker are not counted",
        "django_q/cluster/recovery.py",
        "            delivery = broker.redeliver(entry.receipt)\n            self._ledger.forget(entry.receipt)\n",
        "            delivery = entry.delivery\n            self._ledger.forget(entry.receipt)\n",
        Row("orm-sqlite", 19),
        "> company.count_unharmed(within=5)",
    ),
    Mutant(
        "pusher-opens-packages",
        "The pusher opens packages",
        "django_q/cluster/pushing.py",
        "            self.ledger.take_all(deliveries, once=again)\n",
        "            for each in deliveries:\n"
        "                __import__('django_q.envelope', fromlist=['*']).Envelope.open(each[1])\n"
        "            self.ledger.take_all(deliveries, once=again)\n",
        Row("orm-sqlite", 48),
        "> assert len(words(company.harm)) == 3",
    ),
    Mutant(
        "failure-replaces-success",
        "A later failure replaces the row of a success",
        "django_q/results/upserts.py",
        '        f" OR (excluded.success = {table}.success"\n        f" AND excluded.attempt_count > {table}.attempt_count)"\n',
        '        f" OR excluded.attempt_count >= {table}.attempt_count"\n',
        Check("tests/integration/test_saving.py::test_better_record_wins"),
        "> assert task.result == winner",
    ),
    Mutant(
        "end-is-not-kept",
        "A worker forgets an end once it is sent, not once it is saved",
        "django_q/cluster/working.py",
        "            line.send(encode_report(report._replace(again=True)))\n",
        "            self.kept = {}\n",
        Check(
            f"{UNIT}/test_keeping.py::test_next_monitor_gets_what_the_former_has_not_saved"
        ),
        '> assert heard(desk.meet_monitor()) == [-2, "hello"]',
    ),
    Mutant(
        "void-is-not-raised",
        "What is taken back from a worker is not forbidden to it",
        "django_q/cluster/hands.py",
        "        self.row[Cell.VOID] = max(self.row[Cell.VOID], *numbers)\n",
        "",
        Check(f"{UNIT}/test_taking_back.py::test_what_was_not_begun_comes_back"),
        "> assert hand.row[Cell.VOID] == entries[2].number",
    ),
    Mutant(
        "orphans-live",
        "Children do not watch their parent",
        "django_q/cluster/roles.py",
        "            Lifeline(self.control.fileno()).start()\n",
        "            Lifeline(self.control.fileno())\n",
        Check(
            f"{ACCEPTANCE}/test_survives_kills.py::test_worker_in_a_long_task_ends_though_nobody_is_left_to_end_it"
        ),
        "> cluster.wait_until_gone(within=8)",
    ),
    Mutant(
        "hook-before-save",
        "A hook runs before the result is on its way to be saved",
        "django_q/cluster/working.py",
        "            self.unfinished[parcel.number] = outcome, is_last\n",
        "            self.finish(parcel.number, outcome, is_last)\n",
        Row("orm-sqlite", 30),
        "> company.count_unharmed(saved=2)",
    ),
    Mutant(
        "random-slot-ids",
        "The task of a schedule's slot gets a new id each time",
        "django_q/cluster/scheduling.py",
        "        task_id = slot_id(schedule)\n",
        "        task_id = __import__('uuid').uuid4().hex\n",
        Check(
            "tests/integration/test_scheduler.py::test_slot_that_was_sent_before_a_crash_and_has_run_does_not_run_again"
        ),
        "> assert outside.queue_size() + outside.lock_size() == 0",
    ),
    Mutant(
        "ended-slots-are-forgotten",
        "Redis does not look whether it knows a slot that is sent again",
        "django_q/brokers/redis_scripts.py",
        "  if not (memory and is_known(id)) then\n",
        "  if id then\n",
        Check(
            "tests/integration/test_scheduler.py::test_slot_that_was_sent_before_a_crash_and_left_no_row_does_not_run_again"
        ),
        "> assert outside.queue_size() == 0",
    ),
    Mutant(
        "slot-is-not-looked-at-again",
        "A schedule is moved without looking whether another cluster has moved it",
        "django_q/cluster/scheduling.py",
        "        row = row.filter(repeats=seen.repeats, task=seen.task)\n",
        "        row = self._rows().filter(pk=seen.pk)\n",
        Row("orm-sqlite", 43),
        "> assert len(created) == len(wanted)",
    ),
    Mutant(
        "no-timeouts",
        "The sentinel kills no worker whose task is overdue",
        "django_q/cluster/pool.py",
        "            if self._rest(child, word) <= 0 and row[Cell.TURN] == word:\n",
        "            if row[Cell.TURN] != word:\n",
        Row("orm-sqlite", 24),
        "> company.count_unharmed()",
    ),
    Mutant(
        "lost-replies",
        "What the broker handed out in an answer that was lost is not looked for",
        "django_q/cluster/recovery.py",
        "        strays = [d for d in broker.held() if str(d.receipt) not in known]\n",
        "        strays = [d for d in () if str(d.receipt) not in known]\n",
        Check(f"{UNIT}/test_recovery.py::test_what_an_unheard_answer_brought_is_taken"),
        "> assert scene.recovery.take_strays(scene.broker, at_once=True)",
    ),
    Mutant(
        "nothing-goes-back",
        "A cluster that stops keeps what it has not begun until its leases end",
        "django_q/cluster/recovery.py",
        "    broker.release([entry.receipt for entry in entries])\n",
        "",
        Check(
            f"{ACCEPTANCE}/test_stops_cleanly.py::test_busy_cluster_finishes_what_runs_and_gives_the_rest_back_at_once"
        ),
        "> wait_until(lambda: waiting(cluster) == 10",
    ),
    Mutant(
        "reasons-stay-here",
        "What goes back and has started before is not known to have",
        "django_q/cluster/recovery.py",
        "        _mark_started(broker, again)\n",
        "        pass\n",
        Check(
            f"{UNIT}/test_taking_back.py::test_what_goes_back_and_has_started_is_known_to_have"
        ),
        "> assert broker.told == [",
    ),
    Mutant(
        "outbox-first",
        "An entry leaves the outbox before the broker has it",
        "django_q/cluster/relay.py",
        "        try:\n            broker.enqueue_many(new)\n",
        "        try:\n            self._forget([str(each.task_id) for each in new], dict(left))\n            broker.enqueue_many(new)\n",
        Check(
            "tests/integration/test_outbox.py::test_broker_that_is_away_holds_up_only_its_own_queue"
        ),
        '> assert set(OutboxEntry.objects.values_list("queue", flat=True)) == {queue}',
    ),
    Mutant(
        "acknowledge-first",
        "A task is acknowledged before its result is saved",
        "django_q/cluster/monitoring.py",
        "        self.write(batch, None, way)\n        return self.acknowledge(batch)\n",
        "        late = self.acknowledge(batch)\n        self.write(batch, late, way)\n        return late\n",
        Row("redis", 38),
        "> assert cluster.left() >= without_row",
    ),
    Mutant(
        "chains-are-not-looked-up",
        "An end that is saved twice continues its chain twice",
        "django_q/cluster/monitoring.py",
        "            timely = results.unqueued(timely, using=self.database)\n",
        "            pass\n",
        Check(
            "tests/integration/test_chains_elsewhere.py::test_end_that_comes_late_does_not_continue_what_others_have_continued"
        ),
        "> assert other.broker.queue_size() == 0",
    ),
    Mutant(
        "outbox-trusts-any-row",
        "An entry of the outbox counts as done by a row of an earlier task",
        "django_q/cluster/relay.py",
        "for pk, started in rows if started == queued_at(packages[pk])}",
        "for pk, _started in rows}",
        Check(
            "tests/integration/test_outbox.py::test_task_that_is_queued_anew_under_its_id_is_sent_whatever_the_clocks_say"
        ),
        "> assert ids_on(on_redis) == [task_id]",
    ),
    Mutant(
        "dead-are-not-rescued",
        "Nobody takes over what a dead cluster held",
        "django_q/cluster/housekeeper.py",
        "        rescued = self.broker.rescue()\n",
        "        rescued: list[str] = []\n",
        Row("orm-sqlite", 9),
        "> bench.wait_for_recovery(within=LEASE + 5",
    ),
    Mutant(
        "lock-file-is-not-asked",
        "A cluster of the same host is taken for dead though its lock file is held",
        "django_q/cluster/lockfile.py",
        "                    if is_dead:\n                        rescue(cluster)\n",
        "                    if cluster:\n                        rescue(cluster)\n",
        Check(f"{UNIT}/test_lockfile.py::test_fork_of_a_task_counts_as_alive"),
        "> assert stays(lambda: not found_dead(observer), during=0.1)",
    ),
    Mutant(
        "copies-run",
        "A slot that was sent again is not looked up among the successes",
        "django_q/cluster/verdicts.py",
        "    return options.skip_completed or envelope.slot is not None\n",
        "    return options.skip_completed\n",
        Check(
            "tests/security/test_replays.py::test_s04_slot_of_a_schedule_is_always_looked_up"
        ),
        '> assert perform(again, Errand.EXECUTE).cause == "repeated"',
    ),
    Mutant(
        "failure-is-committed",
        "What an atomic task did is committed though the task failed",
        "django_q/cluster/atomic_runs.py",
        "                    transaction.set_rollback(True, using=self.database)\n",
        "                    pass\n",
        Check("tests/integration/test_atomic.py::test_nothing_has_happened_after"),
        "> assert nothing_happened()",
    ),
    Mutant(
        "result-beside-the-transaction",
        "The result of an atomic task is saved and its package removed after its commit",
        "django_q/cluster/atomic_runs.py",
        "                if outcome.success:\n                    outcome = self._settle(receipt, outcome, commit)\n",
        "                if outcome.success:\n                    commit.ended = None\n                    return outcome\n",
        Check(
            "tests/integration/test_atomic.py::test_effect_result_and_end_come_together"
        ),
        '> assert Task.objects.get().result == "one"',
    ),
    Mutant(
        "lost-commit-has-failed",
        "A commit whose answer was lost is taken for undone without a look",
        "django_q/cluster/atomic_runs.py",
        "        return judge(error) is Mishap.LOST and self._is_gone(receipt)\n",
        "        return False\n",
        Check(
            "tests/integration/test_atomic.py::test_commit_whose_answer_is_lost_counts_if_the_package_is_gone"
        ),
        "E django_q.cluster.atomic_runs.Gone",
    ),
)
