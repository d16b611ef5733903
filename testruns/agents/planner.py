"""Planning: from a crawl of the live preview to Scenarios, ranked by risk and by what the change touches.

Needs no model. A journey has the same key in every run, so that the base branch's trace is found for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from testruns.browser import Browser, Fence
from testruns.crawl import LEAVE_ALONE, Crawl, CrawledPage, CrawlLimits, crawl, template_of
from testruns.page import FormSeen, Target
from testruns.scenario import FormHint, Move, Scenario, ScenarioKind
from testruns.touched import Change
from testruns.trace import Determinism

ADD = r"add (it |this )?to (your |my |the )?(cart|basket|bag|order)|\badd to\b|^buy( now)?$"
CART = r"\b(cart|basket|shopping.?bag|bag)\b"
CHECK_OUT = r"check.?out|place (your |my |the )?order|buy now|order now|\bpay\b"
CHECK_OUT_FORM = r"check.?out|order|\bpay\b|confirm|shipping|address"
SIGN_UP = r"sign.?up|regist|\bjoin\b|create (an |your |my )?account"
SIGN_OUT = r"(log|sign).?(out|off)"
QUANTITY = r"qty|quantity|amount|count"

RISK: dict[ScenarioKind, float] = {
    "buy": 10, "cart": 9, "sign_up": 7, "form": 6, "search": 6, "bad_input": 4, "visit": 2,
}  # fmt: skip


@dataclass(frozen=True)
class PlanLimits:
    scenarios: int = 12
    bad_inputs: int = 2
    crawl: CrawlLimits = field(default_factory=CrawlLimits)


@dataclass(frozen=True)
class Plan:
    scenarios: tuple[Scenario, ...] = ()
    """Best first, at most `limits.scenarios`."""
    left_out: tuple[Scenario, ...] = ()
    """Planned, but over the limit."""
    pages: tuple[str, ...] = ()
    """Templates of the pages that the crawl saw."""
    forms: tuple[str, ...] = ()
    """`method template fields`"""
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, why)"""


@dataclass(frozen=True)
class _Place:
    """A form, and the page that it was first seen on."""

    page: CrawledPage
    form: FormSeen

    @property
    def words(self) -> str:
        buttons = " ".join(button.name for button in self.form.submits)
        return f"{self.form.action} {self.form.name} {buttons}"

    @property
    def key(self) -> str:
        fields = ",".join(sorted({field.field for field in self.form.fields if field.field}))
        return f"{self.form.method} {template_of(self.form.action)} {fields}".strip()

    @property
    def hint(self) -> FormHint:
        return FormHint(self.form.action, self.form.method, frozenset(f.field for f in self.form.fields if f.field))

    def complete(self, intent: str, **more: object) -> Move:
        return replace(Move("complete", intent, form=self.hint), **more)  # type: ignore[arg-type]

    def open(self) -> Move:
        return Move("open", f"Open {self.page.path}", path=self.page.path)


def plan(
    browser: Browser,
    target: Target,
    start_path: str = "/",
    *,
    limits: PlanLimits | None = None,
    source_tree: Path | None = None,
    changed_files: Sequence[str] = (),
    fence: Fence = lambda: None,
) -> Plan:
    """Raises StepFailed when the start page can't be opened."""
    limits = limits or PlanLimits()
    seen = browser.run(target, Determinism(), lambda session: crawl(session, start_path, limits.crawl), fence=fence)
    return plan_from(seen, limits, Change.read(source_tree, changed_files))


def plan_from(seen: Crawl, limits: PlanLimits, change: Change) -> Plan:
    """The pure part: the same crawl and change give the same plan."""
    places = _places(seen)
    found: dict[str, Scenario] = {}
    for scenario in _scenarios(seen, places, limits):
        key = re.sub(r"\s+", " ", scenario.key)[:100]
        if key not in found:
            found[key] = _ranked(replace(scenario, key=key), change)
    opened = _opened(found.values())
    for key, scenario in found.items():
        if scenario.kind == "visit" and scenario.moves[0].path in opened:
            found[key] = replace(scenario, rank=scenario.rank - 1)
    ordered = sorted(found.values(), key=lambda scenario: (-scenario.rank, scenario.key))
    return Plan(
        tuple(ordered[: limits.scenarios]),
        tuple(ordered[limits.scenarios :]),
        tuple(dict.fromkeys(page.template for page in seen.pages)),
        tuple(place.key for place in places),
        seen.skipped,
    )


def _ranked(scenario: Scenario, change: Change) -> Scenario:
    words = [scenario.key, scenario.title, *(move.path for move in scenario.moves)]
    words += [move.form.action for move in scenario.moves if move.form]
    touched = change.touches(" ".join(words))
    because = scenario.because + tuple(f"{file} is changed" for file in touched[:3])
    return replace(scenario, rank=RISK[scenario.kind] + min(5.0, 2.0 * len(touched)), because=because)


def _places(seen: Crawl) -> list[_Place]:
    """Each form once, however many pages have it."""
    found: dict[str, _Place] = {}
    for page in seen.pages:
        for form in page.look.forms:
            place = _Place(page, form)
            # Of equal forms the one with something to fill in shows more.
            if form.action and place.key not in found and not LEAVE_ALONE.search(place.words):
                found[place.key] = place
    return list(found.values())


def _scenarios(seen: Crawl, places: list[_Place], limits: PlanLimits) -> Iterator[Scenario]:
    used: set[str] = set()
    for scenario, keys in (*_sign_ups(places), *_carts(seen, places), *_searches(seen, places)):
        used.update(keys)
        yield scenario
    posts = [place for place in places if place.form.method == "post" and place.form.fields]
    for place in posts:
        if place.key not in used and not _is_add(place) and not _has_password(place):
            yield _form_scenario(place)
    bad = [place for place in posts if any(field.type not in ("checkbox", "radio") for field in place.form.fields)]
    bad.sort(key=lambda place: not any(field.required for field in place.form.fields))
    for place in [one for one in bad if not _is_add(one)][: limits.bad_inputs]:
        yield _bad_input(place)
    yield from _visits(seen.pages)


def _opened(scenarios: Iterable[Scenario]) -> set[str]:
    """Pages that a journey passes through anyway."""
    return {move.path for scenario in scenarios for move in scenario.moves if scenario.kind != "visit" and move.path}


# ── templates of journeys ───────────────────────────────────────────────────────────────────


def _visits(pages: Iterable[CrawledPage]) -> Iterator[Scenario]:
    for page in pages:
        heading = page.look.headings[0] if page.look.headings else page.look.title or page.path
        yield Scenario(
            key=f"visit:{page.template}",
            title=f"Visit {page.path}: “{heading}”",
            kind="visit",
            moves=(Move("open", f"Open {page.path}", path=page.path),),
            because=(f"the crawl saw {page.path}",),
        )


def _searches(seen: Crawl, places: list[_Place]) -> Iterator[tuple[Scenario, list[str]]]:
    for place in places:
        fields = [f for f in place.form.fields if f.type in ("text", "search") and f.field]
        if place.form.method != "get" or not fields:
            continue
        word = _word_to_search(seen.pages)
        moves = (
            place.open(),
            place.complete(f"Search for “{word}”", values={fields[0].field: word}),
        )
        yield (
            _scenario("search", f"search:{template_of(place.form.action)}", f"Search for “{word}”", moves, place),
            [place.key],
        )


def _word_to_search(pages: Sequence[CrawledPage]) -> str:
    """A word that names something on the site: the first long one of a listed item."""
    for kind in ("item", "figure"):
        for page in pages:
            for line in page.look.lines:
                words = re.findall(r"[^\W\d_]{4,}", line.text) if line.kind == kind else []
                if words and not re.search(f"{CART}|{SIGN_UP}|log.?in|sign.?in|home|page", line.text, re.IGNORECASE):
                    return str(words[0])
    return "a"


def _sign_ups(places: list[_Place]) -> Iterator[tuple[Scenario, list[str]]]:
    place = _sign_up_place(places)
    if place:
        moves = (*_sign_up_moves(place), _follow("Sign out", SIGN_OUT))
        yield _scenario("sign_up", "sign_up", "Sign up, then sign out", moves, place), [place.key]


def _sign_up_place(places: list[_Place]) -> _Place | None:
    for place in places:
        passwords = [field for field in place.form.fields if field.type == "password"]
        if passwords and (len(passwords) > 1 or re.search(SIGN_UP, f"{place.page.path} {place.words}", re.IGNORECASE)):
            return place
    return None


def _sign_up_moves(place: _Place) -> tuple[Move, ...]:
    return (place.open(), place.complete("Sign up as a new visitor"))


def _carts(seen: Crawl, places: list[_Place]) -> Iterator[tuple[Scenario, list[str]]]:
    """Two of one thing and one of another, then the cart: a total that is not summed up right shows."""
    adds = _add_places(seen)
    if not adds:
        return
    moves: list[Move] = []
    for index, place in enumerate(adds[:2]):
        quantity = next((f.field for f in place.form.fields if re.search(QUANTITY, f.field, re.IGNORECASE)), None)
        many = index == 0
        thing = place.page.look.headings[0] if place.page.look.headings else place.page.path
        values = {quantity: "2" if many else "1"} if quantity else {}
        times = 1 if quantity or not many else 2
        for _ in range(times):
            intent = f"Add {'2 of ' if quantity and many else ''}“{thing}” to the cart"
            moves += [place.open(), place.complete(intent, values=values)]
    cart = _follow("Open the cart", CART, avoid_adding=True)
    key = f"cart:{template_of(adds[0].form.action)}"
    yield _scenario("cart", key, "Add things to the cart and open it", (*moves, cart), adds[0]), [adds[0].key]
    sign_up = _sign_up_place(places)
    begin = _sign_up_moves(sign_up) if sign_up else ()
    pay = tuple(
        Move("complete", intent, form=FormHint(any_of=CHECK_OUT_FORM, method="post"), optional=True)
        for intent in ("Give the order's details", "Confirm the order")
    )
    journey = (*begin, *moves, cart, _follow("Go to the checkout", CHECK_OUT), *pay)
    yield _scenario("buy", f"buy:{template_of(adds[0].form.action)}", "Fill the cart and order", journey, adds[0]), []


def _add_places(seen: Crawl) -> list[_Place]:
    """Forms that put something into the cart: on pages of their own thing first, with a quantity first."""
    found: list[_Place] = []
    pages: set[str] = set()
    for page in seen.pages:
        for form in page.look.forms:
            place = _Place(page, form)
            if form.method == "post" and form.action and _is_add(place) and page.path not in pages:
                pages.add(page.path)
                found.append(place)
    crowd = {place.page.path: len(place.page.look.forms) for place in found}
    found.sort(key=lambda place: (crowd[place.page.path], -len(place.form.fields)))
    best = found[:1]
    return best + [place for place in found[1:] if place.page.template == best[0].page.template]


def _form_scenario(place: _Place) -> Scenario:
    button = place.form.submits[0].name if place.form.submits else "submit"
    title = f"{place.form.name or 'Form'} on {place.page.path}: “{button}”"
    moves = (place.open(), place.complete(f"Fill in {place.form.name or 'the form'} and press “{button}”"))
    return _scenario("form", f"form:{place.key}", title, moves, place)


def _bad_input(place: _Place) -> Scenario:
    name = place.form.name or f"the form on {place.page.path}"
    moves = (place.open(), place.complete("Submit it empty", leave_empty=True))
    return _scenario("bad_input", f"empty:{place.key}", f"Submit “{name}” empty", moves, place)


def _scenario(kind: ScenarioKind, key: str, title: str, moves: tuple[Move, ...], place: _Place) -> Scenario:
    return Scenario(key, title, kind, moves, because=(f"the crawl saw it on {place.page.path}",))


def _follow(intent: str, pattern: str, avoid_adding: bool = False) -> Move:
    return Move("follow", intent, pattern=pattern, unlike=ADD if avoid_adding else "", optional=True)


def _is_add(place: _Place) -> bool:
    return any(re.search(ADD, button.name, re.IGNORECASE) for button in place.form.submits)


def _has_password(place: _Place) -> bool:
    return any(field.type == "password" for field in place.form.fields)
