"""What a shared budget does to lateness: the real client in virtual time, and others' schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from smspartner_async import PollingPolicy

from . import plots
from .peers import OURS
from .report import Section, Table, Verdict
from .schedules import OTHERS, Outcome, Scenario, play, round_robin
from .stats import TIMES, TO, Spread
from .virtual import play_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Options

_BEST: Final = "best round-robin"
_RATIO_TARGET: Final = 1.05
_WORST_TARGET: Final = 3.0
_SCENARIOS: Final = (
    Scenario("all at once", rentals=1000, median=60, sigma=0.6),
    Scenario("all at once, long tail", rentals=1000, median=60, sigma=1.2),
    Scenario("over ten minutes", rentals=1000, median=60, sigma=0.6, over=600),
)
_FREE: Final = evolve(_SCENARIOS[0], name="no budget", rentals=2000)
_SCALES: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


@frozen
class Played:
    """One scenario: by whom it was played, and what came out with each seed."""

    scenario: Scenario
    outcomes: dict[str, list[Outcome]]

    def ratios(self, name: str) -> Spread:
        """Compare mean latenesses with those of the best round-robin, seed by seed."""
        pairs = zip(self.outcomes[name], self.outcomes[_BEST], strict=True)
        return Spread.of(outcome.mean / best.mean for outcome, best in pairs)

    def unevenness(self, name: str) -> Spread:
        """Return how many times the mean the worst lateness is."""
        return Spread.of(outcome.worst / outcome.mean for outcome in self.outcomes[name])


def _throttled(scenario: Scenario, seeds: Sequence[int]) -> Played:
    outcomes: dict[str, list[Outcome]] = {_BEST: [], OURS: []}
    budget = scenario.per_minute
    for seed in seeds:
        jobs = scenario.jobs(seed)
        outcomes[_BEST].append(round_robin(jobs, per_minute=budget))
        outcomes[OURS].append(play_client(jobs, policy=PollingPolicy(), per_minute=budget))
        for schedule in OTHERS:
            outcome = play(jobs, schedule, seed=seed, per_minute=budget)
            outcomes.setdefault(schedule.name, []).append(outcome)
    return Played(scenario, outcomes)


def _free(scales: Sequence[float], rentals: int) -> dict[str, list[tuple[float, Outcome]]]:
    """Let everyone poll without a budget, with their intervals scaled."""
    jobs = evolve(_FREE, rentals=rentals).jobs(1)
    few = jobs[: rentals // 8]  # they do not touch each other without a budget
    policy = PollingPolicy()
    curves: dict[str, list[tuple[float, Outcome]]] = {OURS: []}
    for scale in scales:
        scaled = evolve(
            policy,
            first_interval=policy.first_interval * scale,
            max_interval=policy.max_interval * scale,
        )
        curves[OURS].append((scale, play_client(few, policy=scaled)))
        for schedule in OTHERS:
            outcome = play(jobs, schedule, seed=1, scale=scale)
            curves.setdefault(schedule.name, []).append((scale, outcome))
    return curves


def run(options: Options) -> Section:
    """Measure, and report."""
    seeds = range(1, 3 if options.quick else 6)
    tenths = 3 if options.quick else 10
    all_played = [_throttled(scenario.smaller(tenths), seeds) for scenario in _SCENARIOS]
    curves = _free((0.5, 1.0, 2.0) if options.quick else _SCALES, 800 if options.quick else 2000)
    plots.lateness(
        options.out / "budget.svg",
        f"Rentals sharing a budget: {_sizes(all_played[0].scenario)}",
        [(played.scenario.name, _latenesses(played)) for played in all_played],
    )
    plots.curves(
        options.out / "schedules.svg",
        {
            name: [(scale, outcome.each, outcome.mean) for scale, outcome in points]
            for name, points in curves.items()
        },
    )
    policy = PollingPolicy()
    rules = "; ".join(f"{schedule.name} {schedule.rule}" for schedule in OTHERS)
    return Section(
        title="Budget",
        text=(
            "Lateness is the time from “the file is ready” to “we know”. This client is the real "
            "one (its default policy), over real sockets in virtual time. The best round-robin "
            "gives every slot of the budget to the unfinished rental that was unasked longest, and "
            "leaves none unused while any is unfinished. The poll schedules of others, as their "
            "sources have them, take turns in the order in which their polls fall due. "
            f"Times until a file is ready are log-normal with a median of {_FREE.median:g} s; "
            f"{len(seeds)} draws of the rentals, medians with p10{TO}p90. Schedules: {OURS} "
            f"{policy.first_interval:g} s times {policy.multiplier:g} up to "
            f"{policy.max_interval:g} s, ± {policy.jitter:.0%}; {rules}."
        ),
        tables=(*map(_throttled_table, all_played), _free_table(curves)),
        plots=(
            ("budget.svg", "Lateness under a shared budget, by schedule"),
            ("schedules.svg", "Requests spent against lateness without a budget, by schedule"),
        ),
        verdicts=tuple(verdict for played in all_played for verdict in _verdicts(played)),
    )


def _sizes(scenario: Scenario) -> str:
    return f"{scenario.rentals:,} rentals, {scenario.per_minute:g} requests a minute"


def _latenesses(played: Played) -> list[tuple[str, float, float, float]]:
    """Name, mean, p95 and worst lateness of each, medians of the draws."""
    return [
        (
            name,
            Spread.of(outcome.mean for outcome in outcomes).median,
            Spread.of(outcome.p95 for outcome in outcomes).median,
            Spread.of(outcome.worst for outcome in outcomes).median,
        )
        for name, outcomes in played.outcomes.items()
    ]


def _throttled_table(played: Played) -> Table:
    scenario = played.scenario
    rows = []
    for (name, outcomes), figures in zip(played.outcomes.items(), _latenesses(played), strict=True):
        requests = Spread.of(outcome.each for outcome in outcomes)
        rows.append(
            (
                name,
                requests.text(".1f"),
                *(f"{figure:.1f}" for figure in figures[1:]),
                played.ratios(name).text(),
                played.unevenness(name).text(".1f"),
            )
        )
    return Table(
        f"{_sizes(scenario)}, {scenario.name} (sigma {scenario.sigma:g})",
        (
            "",
            "requests a rental",
            "mean lateness s",
            "p95 s",
            "worst s",
            "mean ÷ best",
            "worst ÷ mean",
        ),
        tuple(rows),
    )


def _free_table(curves: dict[str, list[tuple[float, Outcome]]]) -> Table:
    rows = [
        (
            name,
            f"{outcome.each:.1f}",
            f"{outcome.mean:.1f}",
            f"{outcome.p95:.1f}",
            f"{outcome.worst:.1f}",
        )
        for name, points in curves.items()
        for scale, outcome in points
        if scale == 1
    ]
    return Table(
        f"No budget (sigma {_FREE.sigma:g})",
        ("", "requests a rental", "mean lateness s", "p95 s", "worst s"),
        tuple(rows),
    )


def _verdicts(played: Played) -> tuple[Verdict, Verdict]:
    ratio, unevenness = played.ratios(OURS), played.unevenness(OURS)
    name = f"{_sizes(played.scenario)}, {played.scenario.name}"
    return (
        Verdict(
            f"{name}: mean lateness against the best round-robin",
            f"≤ {_RATIO_TARGET} {TIMES}",
            f"{ratio.text()} {TIMES}",
            ratio.median <= _RATIO_TARGET,
        ),
        Verdict(
            f"{name}: worst lateness against the mean",
            f"≤ {_WORST_TARGET:g} {TIMES}",
            f"{unevenness.text()} {TIMES}",
            unevenness.median <= _WORST_TARGET,
        ),
    )
