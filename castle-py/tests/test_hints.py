"""What the engine says as a command line does is said to Python as keywords."""

import re

import pytest
from conftest import ROOT

from castle_py import InvalidSpecError, Project, sync
from castle_py._castle import in_python

CASES = {
    "`--new-life` begins the next life; `--continue` makes": '`lost_life="begin"` begins the next life; `lost_life="continue"` makes',
    "or add `--abandon` to end it": "or add `abandon=True` to end it",
    "`--waive-data blue` gives up": '`waive_data="blue"` gives up',
    "yours: `--waive-ownership 421=6f1c`": 'yours: `waive_ownership={421: "6f1c"}`',
    "`castle destroy --waive-ownership ID=UUID` removes": '`destroy(waive_ownership={ID: "UUID"})` removes',
    "`--until handover-ready`": '`until="handover_ready"`',
    "`castle create` begins one": "`create()` begins one",
    "that `castle lab serve --dir DIR` wrote": "that `Lab.serve(DIR)` wrote",
    "serve it with `--pace 60x`": 'serve it with `pace="60x"`',
    # What is not ours stays.
    "`pvesm set local --disable 0`": "`pvesm set local --disable 0`",
    "`castle members` shows": "`castle members` shows",
    "`--unheard-of x`": "`--unheard-of x`",
    "no backticks --abandon": "no backticks --abandon",
    "one ` only --abandon": "one ` only --abandon",
    "": "",
}


@pytest.mark.parametrize(("said", "expected"), CASES.items(), ids=range(len(CASES)))
def test_a_flag_becomes_its_keyword(said: str, expected: str) -> None:
    assert in_python(said) == expected
    assert in_python(expected) == expected, "said once is said"


def test_every_flag_of_the_engine_s_hints_is_in_the_table() -> None:
    found = set()
    for source in sorted(ROOT.glob("castle-*/src/**/*.rs")):
        lines = [line for line in source.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("//")]
        # A text that is broken over lines is one text.
        text = re.sub(r"\\\n\s*", "", "\n".join(lines))
        found |= set(re.findall(r"`((?:castle [^`\n]*)?--[a-z][^`\n]*)`", text))
    # What has no counterpart here stays a command for the shell.
    found = {said for said in found - source_words() if not said.startswith("castle members ")}
    assert {"--new-life", "--continue", "--abandon", "--waive-data {cluster}"} <= found, found
    for said in sorted(found):
        told = in_python(f"`{said}`")
        assert "--" not in told and told != f"`{said}`", f"castle-py/src/words.rs lacks what says {said!r} in Python"


def source_words() -> set[str]:
    """What the table itself says in its comments, which is no hint."""
    text = (ROOT / "castle-py" / "src" / "words.rs").read_text(encoding="utf-8")
    return set(re.findall(r"`([^`\n]*--[^`\n]*)`", text))


def test_a_milestone_that_is_none_is_told_with_those_of_python(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        with pytest.raises(InvalidSpecError) as caught:
            lab.castle().create(until="nope")  # type: ignore[arg-type]
        assert caught.value.hint and "machines_running, api_serving" in caught.value.hint
        assert "-" not in caught.value.hint and "`nope`" in caught.value.message


def test_a_refused_removal_names_the_keyword_that_allows_it(blue_text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("photos") / "castle.yaml"
    file.write_text(blue_text.replace("datasets: []", "datasets: [{name: photos, what: the album}]"), encoding="utf-8")
    with sync.Lab(file) as lab:
        castle = lab.castle()
        assert castle.create(until="machines_running").outcome == "ok"
        plan, report = castle.plan("destroy"), castle.destroy()
        for told in (plan.problems, report.problems):
            assert ['`waive_data="blue"`' in (problem.hint or "") for problem in told] == [True]
        shown = f"{plan} {plan.to_dict()} {plan._repr_html_()} {report.to_dict()} {report._repr_html_()} {report.error}"
        assert "--waive" not in shown and "waive_data=" in shown
