"""Is every single edit of the policy noticed?

Each fact of the shipped data that decides is changed in every way that a slip of the hand
could: a rule dropped, a condition lost, a threshold off by one, a country moved. Whoever keeps
watch must notice: the reader that refuses the file, the oracle for the releases it knows, or
the expectations written from the texts for all the rest.
"""

from __future__ import annotations

import copy
import itertools
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any, TypeAlias

import tomli_w

from launcher.data import shipped
from launcher.errors import LauncherError
from launcher.licensing import gate, policy, regions
from launcher.licensing.policy import Policy
from launcher.models import catalogue
from launcher.models.catalogue import ADDED_TOKENS, Catalogue, Family
from launcher.models.identity import Identity, Knowledge, identify
from tests.campaigns.campaign import ALL, Campaign, Tally, spread
from tests.licensing import asked, expected_policy
from tests.oracle.cases import MODELS, Evidence, Outcome, Question
from tests.oracle.oracle import expected

Data: TypeAlias = dict[str, Any]
Edit: TypeAlias = tuple[str, Callable[[Data], object]]
"""What an edit does, in words and to the data."""

# Edits that change nothing: what is dropped is said by another entry.
EQUIVALENT = {
    "family hunyuan-video: drop the name 'hunyuan-video'": "'hunyuan video' tells the same names",
    "family minimax-h3: drop the name 'minimax-h3'": "'minimax h3' tells the same names",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """The shipped policy with one edit."""

    kind: str
    """licence, region or family."""
    id: str
    edit: str
    data: str
    """The TOML of what was edited, and of that alone."""
    country: str = ""
    """Whose place in a region was changed."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.edit}"


@cache
def mutants() -> tuple[Mutant, ...]:
    """Every single edit of what decides."""
    return tuple(_mutants())


def _mutants() -> Iterator[Mutant]:
    for id in policy.load().licences:
        data = _toml(f"licences/{id}.toml")
        for edit, change in _licence_edits(data):
            yield Mutant("licence", id, edit, _edited(data, change))
    yield from _region_mutants()
    for family in _toml("models.toml")["family"]:
        for edit, change in _family_edits(family):
            yield Mutant("family", family["id"], edit, _edited({"family": [family]}, change))


def _toml(name: str) -> Data:
    return tomllib.loads(shipped(name).decode("utf-8"))


def _edited(data: Data, change: Callable[[Data], object]) -> str:
    other = copy.deepcopy(data)
    change(other)
    return tomli_w.dumps(other)


# --- Edits of a licence -----------------------------------------------------------------------


def _licence_edits(data: Data) -> Iterator[Edit]:
    for flag in ("acceptance", "osi_approved", "verified"):
        yield f"flip {flag}", _set(flag, not data[flag])
    for word in data["spellings"]:
        rest = [each for each in data["spellings"] if each != word]
        yield f"drop the spelling '{word}'", _set("spellings", rest)
    releases = data.get("releases", [])
    for kind in ("text", "multimodal"):
        others = [each for each in releases if each != kind]
        yield (
            f"releases without {kind}" if kind in releases else f"releases with {kind}",
            _set("releases", others if kind in releases else [*releases, kind]),
        )
    for index, rule in enumerate(data.get("rule", [])):
        for edit, change in _rule_edits(rule):
            yield f"{rule['code']}: {edit}", _in_rule(index, change)
        yield f"{rule['code']}: drop the rule", _drop_rule(index)


def _set(key: str, value: object) -> Callable[[Data], object]:
    return lambda data: data.__setitem__(key, value)


def _drop(key: str) -> Callable[[Data], object]:
    return lambda data: data.pop(key)


def _in_rule(index: int, change: Callable[[Data], object]) -> Callable[[Data], object]:
    return lambda data: change(data["rule"][index])


def _drop_rule(index: int) -> Callable[[Data], object]:
    return lambda data: data["rule"].pop(index)


def _rule_edits(rule: Data) -> Iterator[Edit]:
    yield "another code", _set("code", f"{rule['code']}-x")
    yield "another effect", _set("effect", "ask" if rule["effect"] == "refuse" else "refuse")
    for flag, default in (("verified", True), ("outputs", False)):
        yield f"flip {flag}", _set(flag, not rule.get(flag, default))
    for part in ("when", "unless"):
        for edit, change in _condition_edits(rule.get(part, {})):
            yield f"{part}: {edit}", _within(part, change)
    if "unless" in rule:
        yield "drop unless", _drop("unless")
    for edit, key, value in _ADDED:
        if key not in rule["when"]:
            yield f"when: add {edit}", _within("when", _set(key, value))
    if "role" not in rule.get("unless", {}):
        yield "unless: add role = end-user", _within("unless", _set("role", "end-user"))


# Conditions that narrow a rule.
_ADDED = (
    ("as = individual", "as", "individual"),
    ("as = company", "as", "company"),
    ("released_as = text", "released_as", "text"),
    ("released_as = multimodal", "released_as", "multimodal"),
    ("commercial = true", "commercial", True),
    ("commercial = false", "commercial", False),
    ("role = licensee", "role", "licensee"),
)
_SWAPS: Mapping[str, Mapping[Any, Any]] = {
    "released_as": {"text": "multimodal", "multimodal": "text"},
    "as": {"individual": "company", "company": "individual"},
    "role": {"licensee": "end-user", "end-user": "licensee"},
    "commercial": {True: False, False: True},
}
_OTHER_KEY = {
    "domicile": "place_of_use",
    "place_of_use": "domicile",
    "monthly_active_users": "annual_revenue_usd",
    "annual_revenue_usd": "monthly_active_users",
}


def _within(part: str, change: Callable[[Data], object]) -> Callable[[Data], object]:
    return lambda rule: change(rule.setdefault(part, {}))


def _condition_edits(conditions: Data) -> Iterator[Edit]:
    for key, value in conditions.items():
        yield f"drop {key}", _drop(key)
        if key in _SWAPS:
            yield f"swap {key}", _set(key, _SWAPS[key][value])
        if key in _OTHER_KEY and _OTHER_KEY[key] not in conditions:
            yield f"{_OTHER_KEY[key]} for {key}", _renamed(key, _OTHER_KEY[key])
        if key in ("domicile", "place_of_use"):
            names = [value] if isinstance(value, str) else value
            for edit, others in _region_lists(names):
                yield f"{key}: {edit}", _set(key, others)
        if key in ("monthly_active_users", "annual_revenue_usd"):
            for edit, limit in _limits(value):
                yield f"{key}: {edit}", _set(key, limit)


def _renamed(key: str, other: str) -> Callable[[Data], object]:
    return lambda conditions: conditions.__setitem__(other, conditions.pop(key))


def _region_lists(names: list[str]) -> Iterator[tuple[str, list[str]]]:
    others = [name for name in regions.load() if name not in names]
    for index, name in enumerate(names):
        rest = [*names[:index], *names[index + 1 :]]
        yield f"drop {name}", rest
        for other in others:
            yield f"{other} for {name}", [*rest, other]
    for other in others:
        yield f"add {other}", [*names, other]


def _limits(limit: Data) -> Iterator[tuple[str, Data]]:
    (key,) = {"above", "at_least"} & set(limit)
    other = {"above": "at_least", "at_least": "above"}[key]
    value = limit[key]
    for step in (-1, 1):
        yield f"{step:+}", {**limit, key: value + step}
    rest = {name: entry for name, entry in limit.items() if name != key}
    yield f"{other} for {key}", {**rest, other: value}
    counted = {"running": "at-release", "at-release": "running"}[limit["counted"]]
    yield f"counted {counted}", {**limit, "counted": counted}


# --- Edits of a region ------------------------------------------------------------------------


def _region_mutants() -> Iterator[Mutant]:
    """Every country dropped from where it stands, or put where it does not."""
    data = _toml("regions.toml")
    for id, country in itertools.product(data, regions.countries()):
        region = data[id]
        clear, arguable = country in region["clear"], country in region.get("arguable", {})
        for edit, is_clear, is_arguable in (
            ("outside", False, False),
            ("clear", True, False),
            ("arguable", False, True),
        ):
            if (is_clear, is_arguable) != (clear, arguable):
                change = _moved(id, country, clear=is_clear, arguable=is_arguable)
                yield Mutant("region", id, f"{country} {edit}", _edited(data, change), country)


def _moved(id: str, country: str, *, clear: bool, arguable: bool) -> Callable[[Data], object]:
    def change(data: Data) -> None:
        region = data[id]
        region["clear"] = [code for code in region["clear"] if code != country]
        region.setdefault("arguable", {}).pop(country, None)
        if clear:
            region["clear"].append(country)
        if arguable:
            region["arguable"][country] = "Why."

    return change


# --- Edits of a family ------------------------------------------------------------------------


def _family_edits(family: Data) -> Iterator[Edit]:
    for licence in ("mit", "llama4", "gemma"):
        if licence != family["licence"]:
            yield f"licence = {licence}", _in_family(_set("licence", licence))
    other = _SWAPS["released_as"][family["released_as"]]
    yield f"released_as = {other}", _in_family(_set("released_as", other))
    for held_by in ("architecture", "shape", "name"):
        if held_by != family["held_by"]:
            yield f"held_by = {held_by}", _in_family(_set("held_by", held_by))
    if family["id"] in expected_policy.restricted():
        yield from _telling_edits(family)
    if family["held_by"] == "shape":
        yield from _shape_edits(family)


def _in_family(change: Callable[[Data], object]) -> Callable[[Data], object]:
    return lambda data: change(data["family"][0])


def _shape_edits(family: Data) -> Iterator[Edit]:
    """Of the shapes that alone tell a file of `tests/shapes.tsv`, written from other sources.

    A vocabulary is not held to the token, as fine-tunes add some: it is changed by more.
    """
    whole = _files_that_fit(family, family["shape"])
    for index, shape in enumerate(family["shape"]):
        rest = [*family["shape"][:index], *family["shape"][index + 1 :]]
        if _files_that_fit(family, rest) == whole:
            continue
        about = f"shape {index + 1} {shape.get('size', '')}".strip()
        yield f"drop {about}", _in_family(_set("shape", rest))
        for key in sorted(shape.keys() - {"architecture", "size"}):
            value = shape[key]
            step = 2 * ADDED_TOKENS if key == "vocabulary" else 1
            other = (not value) if isinstance(value, bool) else value + step
            changed = [*rest, {**shape, key: other}]
            yield f"{about}: {key} = {other}", _in_family(_set("shape", changed))


def _files_that_fit(family: Data, shapes: list[Data]) -> frozenset[str]:
    data = tomli_w.dumps({"family": [{**family, "shape": shapes}]}).encode()
    (alone,) = catalogue.read(data, "configs/models.toml").families.values()
    return expected_policy.files_that_fit(alone)


def _telling_edits(family: Data) -> Iterator[Edit]:
    """Of what a restricted family is told by."""
    shapes = family.get("shape", [])
    for architecture in dict.fromkeys(shape["architecture"] for shape in shapes):
        rest = [shape for shape in shapes if shape["architecture"] != architecture]
        yield f"drop the architecture {architecture}", _in_family(_set("shape", rest))
        renamed = [{**shape, "architecture": "other"} for shape in shapes]
        yield f"another architecture for {architecture}", _in_family(_set("shape", renamed))
    for key in ("repositories", "projectors"):
        for value in family.get(key, []):
            rest = [each for each in family[key] if each != value]
            yield f"drop {value} from {key}", _in_family(_set(key, rest))
    for phrase in family["names"]:
        rest = [each for each in family["names"] if each != phrase]
        yield f"drop the name '{phrase}'", _in_family(_set("names", rest))
        for word in phrase.split():
            if word != phrase:
                less = " ".join(each for each in phrase.split() if each != word)
                names = [less if each == phrase else each for each in family["names"]]
                yield f"drop '{word}' of the name '{phrase}'", _in_family(_set("names", names))


# --- Who notices ------------------------------------------------------------------------------


def noticed_by(mutant: Mutant) -> str:
    """Who notices: `reader`, `oracle`, `expectations`; empty where nobody does."""
    try:
        rules, known = _with(mutant)
    except LauncherError:
        return "reader"
    if any(_answer(each, rules, known) is not expected(each) for each in questions(mutant)):
        return "oracle"
    if any(_differences(mutant, rules, known)):
        return "expectations"
    return ""


def _with(mutant: Mutant) -> tuple[Policy, Catalogue]:
    """The policy and the catalogue with the edit. Raises `LauncherError` as the reader does."""
    rules, known, data = policy.load(), catalogue.load(), mutant.data.encode()
    if mutant.kind == "licence":
        file = f"configs/licences/{mutant.id}.toml"
        licence = policy.read_licence(data, file, rules.regions)
        return replace(rules, licences={**_licences(), mutant.id: licence}), known
    if mutant.kind == "region":
        return replace(rules, regions=regions.read(data, "configs/regions.toml")), known
    family = catalogue.read(data, "configs/models.toml").families[mutant.id]
    return rules, replace(known, families={**known.families, mutant.id: family})


@cache
def _licences() -> Mapping[str, policy.Licence]:
    return dict(policy.load().licences)


def _differences(mutant: Mutant, rules: Policy, known: Catalogue) -> Iterator[str]:
    if mutant.kind == "licence":
        return expected_policy.licence_differences(rules, mutant.id)
    if mutant.kind == "region":
        return expected_policy.region_differences(rules, mutant.id)
    return expected_policy.family_differences(known.families[mutant.id])


def _answer(question: Question, rules: Policy, known: Catalogue) -> Outcome:
    case = asked.case(question)
    identities = case.identities
    if known is not catalogue.load():
        identities = _identities(question.model, question.evidence, known)
    return asked.OUTCOMES[gate.decide(replace(case, policy=rules, identities=identities)).exit_code]


_seen: dict[tuple[str, Evidence], tuple[Catalogue, tuple[Identity, ...]]] = {}


def _identities(model: str, evidence: Evidence, known: Catalogue) -> tuple[Identity, ...]:
    """As seen with another catalogue; kept while it stays the same."""
    kept = _seen.get((model, evidence))
    if kept is None or kept[0] is not known:
        bundle = asked.identified(model, evidence)[0]
        with_it = Knowledge(catalogue=known, published=dict, identifications={})
        kept = _seen[model, evidence] = (known, identify(bundle, with_it))
    return kept[1]


# --- What the oracle is asked -----------------------------------------------------------------

_PLACES = (("DE", "US"), ("US", "DE"), ("US", "US"), ("US", "GB"), ("US", "KR"), ("NC", "US"))
_FIGURES: tuple[tuple[int | None, int | None], ...] = (
    (None, None),
    (100_000_000, None),
    (100_000_001, None),
    (700_000_000, None),
    (700_000_001, None),
    (None, 1_000_000),
    (None, 1_000_001),
    (None, 9_999_999),
    (None, 10_000_000),
)
# Released under the licences whose territory is that of the region.
_BY_REGION = {
    "european-union": ("llama-4-scout", "hunyuan-7b"),
    "united-kingdom": ("hunyuan-7b",),
    "south-korea": ("hunyuan-7b",),
}


def questions(mutant: Mutant) -> Iterator[Question]:
    """Those that could notice, the likeliest first; none where the oracle knows nothing."""
    if mutant.kind == "region":
        for model in _BY_REGION.get(mutant.id, ()):
            yield _question(model, Evidence.NAMED, (mutant.country, mutant.country))
        return
    for model, evidence in _concerned(mutant.kind, mutant.id):
        yield _question(model, evidence, ("US", "US"), accepted=False)
        for who in itertools.product(("company", "individual"), (False, True), (True, False)):
            for place in _PLACES:
                yield _question(model, evidence, place, who)
            for users, revenue in _FIGURES:
                figures = {"monthly_active_users": users, "annual_revenue_usd": revenue}
                yield _question(model, evidence, ("US", "US"), who, **figures)


def _question(
    model: str,
    evidence: Evidence,
    place: tuple[str, str],
    who: tuple[str, bool, bool] = ("company", False, False),
    **more: Any,
) -> Question:
    person, end_user, commercial = who
    return Question(
        model=model,
        evidence=evidence,
        person=person,
        domicile=(place[0],),
        place_of_use=(place[1],),
        role="end-user" if end_user else "licensee",
        product=end_user,
        commercial=commercial,
        **more,
    )


@cache
def _concerned(kind: str, id: str) -> tuple[tuple[str, Evidence], ...]:
    """The files on whose outcome a licence or a family has a say."""
    return tuple(
        (model, evidence)
        for model, evidence in itertools.product(MODELS, Evidence)
        if _concerns(kind, id, asked.identified(model, evidence)[1])
    )


def _concerns(kind: str, id: str, identities: tuple[Identity, ...]) -> bool:
    families: list[Family] = [
        candidate.family for identity in identities for candidate in identity.candidates
    ]
    if kind == "family":
        architectures = {shape.architecture for shape in catalogue.load().families[id].shapes}
        held = any(identity.architecture in architectures for identity in identities)
        return held or any(family.id == id for family in families)
    stated = (policy.load().find(each.spelling) for one in identities for each in one.licences)
    return any(family.licence == id for family in families) or any(
        licence is not None and licence.id == id for licence in stated
    )


# --- Coverage ---------------------------------------------------------------------------------


def uncovered() -> list[str]:
    """The rules that no probe makes bite, or that none leaves alone."""
    rules = policy.load()
    return [f"{id}: {code}" for id in rules.licences for code in _uncovered(rules, id)]


def _uncovered(rules: Policy, id: str) -> Iterator[str]:
    """Rules of which no probe has been found yet that they bite on, or that they leave alone."""
    bites = dict.fromkeys((rule.code for rule in rules.licences[id].rules), frozenset[bool]())
    for probe in expected_policy.probes(id) if bites else ():
        reasons = expected_policy.answered(id, probe, rules)[1]
        for code in bites:
            bites[code] |= {bool({code, f"rule-unverified:{code}"} & reasons)}
        if all(len(found) == 2 for found in bites.values()):
            return
    yield from (code for code, found in bites.items() if len(found) < 2)


# --- The campaign -----------------------------------------------------------------------------


def share(part: list[Mutant]) -> Tally:
    tally = Tally()
    for mutant in part:
        tally.counts["mutants"] += 1
        tally.counts[f"{mutant.kind} mutants"] += 1
        by = noticed_by(mutant)
        if by:
            tally.counts[by] += 1
            if str(mutant) in EQUIVALENT:
                tally.faults.append(f"is held to change nothing, but {by} noticed: {mutant}")
        elif str(mutant) in EQUIVALENT:
            tally.counts["equivalent"] += 1
        else:
            tally.faults.append(f"nobody noticed: {mutant}")
    return tally


def run(seed: int, count: int) -> Iterator[Tally]:
    """Looks for `count` mutants, drawn by the seed, and for rules that nothing covers."""
    every = mutants()
    drawn = Random(seed).sample(every, min(count, len(every)))
    covered = Tally(faults=[f"no probe covers {rule}" for rule in uncovered()])
    covered.counts["rules"] = len(list(policy.all_rules(policy.load())))
    covered.counts["uncovered"] = len(covered.faults)
    yield covered
    yield from spread(share, [drawn[start : start + 50] for start in range(0, len(drawn), 50)])


def summary(counts: Counter[str]) -> str:
    noticed = counts["reader"] + counts["oracle"] + counts["expectations"]
    return (
        f"{counts['mutants']} single edits ({counts['licence mutants']} of licences, "
        f"{counts['region mutants']} of regions, {counts['family mutants']} of families): "
        f"{noticed} noticed ({counts['reader']} by the reader, {counts['oracle']} by the oracle, "
        f"{counts['expectations']} by the expectations), {counts['equivalent']} that change "
        f"nothing, {counts['mutants'] - noticed - counts['equivalent']} survived; "
        f"{counts['uncovered']} of {counts['rules']} rules not covered"
    )


CAMPAIGN = Campaign(
    about="Every single edit of the policy is noticed.",
    count=ALL,
    run=run,
    summary=summary,
)
