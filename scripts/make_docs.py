"""Writes the pages of docs/ that come from the policy and from the program itself.

python scripts/make_docs.py            writes them
python scripts/make_docs.py --check    says which are not up to date, and exits with 1
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from launcher.cli.chat import commands as chat
from launcher.cli.main import COMMANDS, menu
from launcher.errors import ExitCode
from launcher.licensing import policy
from launcher.licensing.decision import gate_reasons
from launcher.licensing.policy import Conditions, Effect, Licence, Limit, Rule
from launcher.models import catalogue

DOCS = Path(__file__).resolve().parents[1] / "docs"
MADE = "<!-- Made by scripts/make_docs.py. Do not edit. -->\n"


def pages() -> dict[str, str]:
    """Name of the page -> its text."""
    return {
        "reasons.md": "\n".join(_reasons()) + "\n",
        "licences.md": "\n".join(_licences()) + "\n",
        "commands.md": "\n".join(_commands()) + "\n",
    }


# --- Reasons --------------------------------------------------------------------------------


def _reasons() -> Iterator[str]:
    yield MADE
    yield "# Reasons"
    yield ""
    yield "Every decision names its reasons by code. Codes are stable: scripts may rely on them."
    yield "`launcher explain CODE` prints the same on a terminal."
    yield ""
    yield "## From the gate itself"
    for reason in gate_reasons().values():
        yield ""
        yield f"### {reason.code}"
        yield ""
        effect = str(reason.effect).capitalize()
        yield f"{effect}, exit code {int(reason.exit_code)}. {reason.sentence}"
        yield ""
        yield reason.more
    yield ""
    yield "## From a licence's clause"
    for code, places in sorted(_rules().items()):
        yield ""
        yield f"### {code}"
        yield from _clauses(places)


def _rules() -> dict[str, list[tuple[Licence, Rule]]]:
    found: dict[str, list[tuple[Licence, Rule]]] = {}
    for licence, rule in policy.all_rules(policy.load()):
        found.setdefault(rule.code, []).append((licence, rule))
    return found


def _clauses(places: list[tuple[Licence, Rule]]) -> Iterator[str]:
    refuses = places[0][1].effect is Effect.REFUSE
    code = ExitCode.REFUSED if refuses else ExitCode.PERSON_NEEDED
    yield ""
    yield f"{'Refuse' if refuses else 'Ask'}, exit code {int(code)}."
    for licence, rule in places:
        document = licence.document(rule.document)
        unverified = "" if rule.verified else " (known at second hand: the gate asks)"
        yield ""
        yield f"**{licence.title}** (`{licence.id}`){unverified}: {rule.text}"
        yield ""
        if rule.quote:
            yield f"> {rule.quote}"
            yield ">"
        yield f"> {document.title}, {rule.clause}: <{document.url}>"


# --- Licences -------------------------------------------------------------------------------


def _licences() -> Iterator[str]:
    known = policy.load()
    yield MADE
    yield "# Licences"
    yield ""
    yield f"The policy of {known.version}: what the gate knows of each licence. `launcher licences"
    yield "show ID` gives the clauses and the texts. Nothing here is legal advice."
    yield ""
    yield "- **Acceptance**: whether it has to be accepted before the first load."
    yield "- **Withholds**: when the rights are withheld, by what a person declares."
    yield "- **Verified**: whether the terms were read in the licensor's own text. Where they were"
    yield "  not, the gate asks rather than decides."
    yield ""
    yield "| licence | title | acceptance | OSI | withholds | verified |"
    yield "|---|---|---|---|---|---|"
    for licence in known.licences.values():
        yield _row(licence)
    yield ""
    yield "## Regions"
    yield ""
    yield "| region | as of | clear | arguable: the gate asks |"
    yield "|---|---|---|---|"
    for region in known.regions.values():
        clear, open_ = " ".join(sorted(region.clear)), " ".join(sorted(region.arguable))
        yield f"| {region.title} | {region.as_of} | {clear} | {open_ or '-'} |"
    yield ""
    yield "## Families of models"
    yield ""
    yield "**shape**: told by the exact sizes in a file's header. **architecture**: rights are"
    yield "withheld somewhere, so a file of this architecture is held to be of the family at any"
    yield "size. **name**: told by nothing but what is said of it."
    yield ""
    yield "| family | licence | released as | told by |"
    yield "|---|---|---|---|"
    for family in catalogue.load().families.values():
        yield f"| {family.title} | `{family.licence}` | {family.released_as} | {family.held_by} |"


def _row(licence: Licence) -> str:
    withheld = "; ".join(_when(rule) for rule in licence.rules) or "-"
    return (
        f"| `{licence.id}` | {licence.title} | {'yes' if licence.acceptance else 'no'} "
        f"| {'yes' if licence.osi_approved else 'no'} | {withheld} "
        f"| {'yes' if licence.verified else 'no'} |"
    )


def _when(rule: Rule) -> str:
    text = ", ".join(_facts(rule.when))
    exception = ", ".join(_facts(rule.unless))
    return f"{text} (not for: {exception})" if exception else text


def _facts(conditions: Conditions) -> Iterator[str]:
    known = policy.load().regions
    if conditions.released_as:
        yield f"{conditions.released_as} models"
    if conditions.person:
        yield f"a {conditions.person}"
    if conditions.domicile:
        yield "domicile in " + " or ".join(known[name].title for name in conditions.domicile)
    if conditions.place_of_use:
        yield "use in " + " or ".join(known[name].title for name in conditions.place_of_use)
    if conditions.role:
        yield f"a {conditions.role}" if conditions.role != "end-user" else "end users of a product"
    if conditions.commercial is not None:
        yield "commercial use" if conditions.commercial else "non-commercial use"
    if conditions.monthly_active_users is not None:
        yield _limit(conditions.monthly_active_users, "monthly users")
    if conditions.annual_revenue_usd is not None:
        yield _limit(conditions.annual_revenue_usd, "US dollars of annual revenue")


def _limit(limit: Limit, what: str) -> str:
    relation = "at least" if limit.reached_counts else "more than"
    when = " when it was released" if limit.counted == "at-release" else ""
    return f"{relation} {limit.value:,} {what}{when}"


# --- Commands -------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield MADE
    yield "# Commands"
    yield ""
    yield "What `--help` says of each."
    context = click.Context(menu, info_name="launcher")
    yield from _help(menu, context)
    for name in COMMANDS:
        command = menu.get_command(context, name)
        assert command is not None
        yield from _with_subcommands(command, click.Context(command, context, info_name=name))
        if name == "run":
            yield from _in_a_chat()


def _in_a_chat() -> Iterator[str]:
    yield ""
    yield "## In a chat"
    yield ""
    yield "What `launcher run MODEL` understands on a terminal beside questions. `/set` takes the"
    yield "names of the options about answers, and `think`, `markdown` and `stats` (on or off)."
    yield ""
    yield "| typed | |"
    yield "|---|---|"
    for command in chat.COMMANDS.values():
        yield f"| `{command.usage}` | {command.help} |"
    for keys, text in chat.KEYS:
        yield f"| `{keys}` | {text} |"


def _with_subcommands(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from _help(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None
            yield from _with_subcommands(sub, click.Context(sub, context, info_name=name))


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    """A command's help, laid out here: click's own layout changes with its versions."""
    yield ""
    yield f"## {context.command_path}"
    yield ""
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        yield ""
        yield "| option | |"
        yield "|---|---|"
    for option in options:
        shown = option.show_default  # words where the default lies elsewhere
        known = shown if isinstance(shown, str) else option.default
        default = f" Default: {known}." if shown else ""
        names = ", ".join(f"`{name}`" for name in option.opts)
        yield f"| {names} | {(option.help or '').replace('|', '/')}{default} |"


def main() -> int:
    """Writes the pages, or checks them."""
    stale = [
        name
        for name, text in pages().items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is not up to date: run python scripts/make_docs.py")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
        print(f"Wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
