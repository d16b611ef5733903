"""Names: valid in DNS, at most 63 characters, the same every time, never the same for two things."""

from __future__ import annotations

import hashlib
import re
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from environments.names import LABEL_LIMIT, SERVICE_LIMIT, host_label, is_label, namespace, slug

DNS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

words = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=120)
branches = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=120)
numbers = st.integers(1, 10**10 - 1)
services = st.from_regex(rf"\A[a-z]([a-z0-9-]{{0,{SERVICE_LIMIT - 2}}}[a-z0-9])?\Z")
targets = st.one_of(numbers, branches)
repositories = st.tuples(st.sampled_from(["github", "local"]), branches, words)


LIKE_TARGETS: list[int | str] = [1, 11, "b" * 90, "b" * 90 + "c"]


def valid(label: str) -> bool:
    return len(label) <= LABEL_LIMIT and DNS.fullmatch(label) is not None and is_label(label)


class TestSlug:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Shop", "shop"),
            ("feature/Add_to cart!", "feature-add-to-cart"),
            ("--a--b--", "a-b"),
            ("Café Übergröße", "cafe-ubergroe"),
            ("日本", "x"),
            ("", "x"),
        ],
    )
    def test_keeps_what_dns_can_hold(self, text: str, expected: str) -> None:
        assert slug(text) == expected

    @given(st.text(max_size=200), st.integers(1, 63))
    def test_is_always_a_label_within_its_limit(self, text: str, limit: int) -> None:
        made = slug(text, limit)
        assert valid(made)
        assert len(made) <= limit

    def test_a_cut_leaves_no_dash_at_the_end(self) -> None:
        assert slug("abc-def", 4) == "abc"


class TestNamespace:
    def test_reads_as_the_design_says(self) -> None:
        digest = hashlib.sha256(b"github/acme/shop").hexdigest()[:8]
        assert namespace("github", "acme", "shop", 3) == f"preview-shop-3-{digest}"

    def test_of_a_branch_shows_its_slug(self) -> None:
        assert namespace("github", "acme", "shop", "uat/Spring").startswith("preview-shop-b-uat-spring-")

    @given(repositories, targets)
    @example(("github", "o" * 39, "r" * 100), 10**10 - 1)
    @example(("github", "o" * 39, "r" * 100), "b" * 250)
    def test_is_a_dns_label_and_the_same_every_time(self, repository: tuple[str, str, str], target: int | str) -> None:
        name = namespace(*repository, target)
        assert valid(name)
        assert name == namespace(*repository, target)

    @settings(max_examples=40)
    @given(st.sets(st.tuples(repositories, targets), min_size=2, max_size=40))
    def test_differs_for_all_that_differs(self, wanted: set[tuple[tuple[str, str, str], int | str]]) -> None:
        assert len({namespace(*repository, target) for repository, target in wanted}) == len(wanted)

    def test_differs_where_only_the_cut_part_differs(self) -> None:
        repos = ["r" * 80 + end for end in ("", "a", "b", "-1")]
        wanted = list(product(["github", "local"], ["acme", "other"], repos, LIKE_TARGETS))
        assert len({namespace(*each) for each in wanted}) == len(wanted)

    def test_branches_with_the_same_slug_differ(self) -> None:
        spelled = ["feature/x", "feature-x", "Feature/X", "feature x"]
        assert len({namespace("local", "", "shop", branch) for branch in spelled}) == len(spelled)

    def test_a_branch_named_like_a_number_is_not_the_pull_request(self) -> None:
        assert namespace("local", "o", "shop", "3") != namespace("local", "o", "shop", 3)

    @pytest.mark.parametrize("number", [0, -1, 10**10])
    def test_refuses_what_is_no_pull_request(self, number: int) -> None:
        with pytest.raises(ValueError, match=str(number)):
            namespace("github", "acme", "shop", number)

    @pytest.mark.parametrize("repo", ["", "a/b"])
    def test_refuses_a_repository_that_could_be_taken_for_another(self, repo: str) -> None:
        with pytest.raises(ValueError, match="can't be told apart"):
            namespace("github", "acme", repo, 1)


class TestHostLabel:
    def test_reads_as_the_design_says_and_ends_like_its_namespace(self) -> None:
        label = host_label("web", "github", "acme", "shop", 3)
        assert label == "web-pr-3-shop-" + namespace("github", "acme", "shop", 3).rsplit("-", 1)[1]

    def test_of_a_branch_shows_service_branch_and_repository(self) -> None:
        assert host_label("web", "github", "acme", "shop", "uat").startswith("web-uat-shop-")

    @given(services, repositories, targets)
    @example("s" * SERVICE_LIMIT, ("github", "o" * 39, "r" * 100), 10**10 - 1)
    @example("s" * SERVICE_LIMIT, ("github", "o" * 39, "r" * 100), "b" * 250)
    @example("s" * 60, ("github", "o", "r"), 1)
    def test_is_a_dns_label_and_the_same_every_time(
        self, service: str, repository: tuple[str, str, str], target: int | str
    ) -> None:
        label = host_label(service, *repository, target)
        assert valid(label)
        assert label == host_label(service, *repository, target)

    @settings(max_examples=40)
    @given(st.sets(st.tuples(services, repositories, targets), min_size=2, max_size=40))
    def test_differs_for_all_that_differs(self, wanted: set[tuple[str, tuple[str, str, str], int | str]]) -> None:
        labels = {host_label(service, *repository, target) for service, repository, target in wanted}
        assert len(labels) == len(wanted)

    def test_differs_where_only_the_cut_part_differs(self) -> None:
        repos = ["r" * 80 + end for end in ("", "a", "b", "-1")]
        names = ["s" * SERVICE_LIMIT, "s" * (SERVICE_LIMIT - 1), "s" * 50]
        wanted = list(product(names, ["github"], ["acme", "other"], repos, LIKE_TARGETS))
        assert len({host_label(*each) for each in wanted}) == len(wanted)

    def test_a_service_can_not_pass_for_another_pull_request_of_a_repository_with_a_like_name(self) -> None:
        # Given a repository whose name continues what a service's name began
        repo = "pr-2-" * 20
        # When both labels are cut at the same place, then they still differ
        assert host_label("web", "local", "o", repo, 1) != host_label("web-pr-1", "local", "o", repo, 2)

    def test_a_dash_can_not_move_between_service_and_branch(self) -> None:
        assert host_label("web-a", "local", "o", "r", "b") != host_label("web", "local", "o", "r", "a-b")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *((label, True) for label in ("demo", "a", "0-0", "a" * 63)),
        *((label, False) for label in ("a" * 64, "", "-a", "a-", "A", "a.b", "a\n")),
    ],
)
def test_a_chosen_label_is_checked(text: str, answer: bool) -> None:
    assert is_label(text) is answer
