"""A candidate is a canary if the contracts exchanged it with the primary, and a roll back ends that."""

from barograph.contract import Contract, ShadowTest
from barograph.contract.file import dump_contract

from barograph_server.sketches.rollout.canary import is_canary


def applied(versions: str) -> str:
    """Make the text of a contract from its versions: `43` names candidate 4 beside 3; empty names no candidate."""
    if versions == "unreadable":
        return "not: [a contract"
    return dump_contract(Contract(model="m", shadow=made_shadow(versions) if versions else None))


def made_shadow(versions: str) -> ShadowTest:
    return ShadowTest(candidate=versions[0], of=versions[1], margins={"missing": 0.1})


def test_history_of_contracts_decides() -> None:
    for name, history, expected in (
        ("first", ["43"], False),
        ("promoted", ["43", "34"], True),
        ("contracts without a candidate between", ["43", "", "unreadable", "34"], True),
        ("rolled back", ["43", "34", "43"], False),
        ("promoted again", ["43", "34", "43", "34"], True),
        ("another pair between", ["43", "54", "34"], False),
        ("another candidate", ["43", "53"], False),
        ("applied again", ["43", "34", "34"], True),
    ):
        assert is_canary(made_shadow(history[-1]), map(applied, history)) is expected, name
        assert is_canary(made_shadow(history[-1]), map(applied, [*history, "65"])) is expected, f"{name}, then another"
