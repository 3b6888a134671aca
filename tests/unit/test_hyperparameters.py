"""Declarations: every spelling that clients send, every refusal, all faults at once."""

import pytest

from common import manifest
from common.failures import ClientError
from common.hyperparameters import (
    Declaration,
    Tuning,
    boolean,
    choice,
    integer,
    listing,
    number,
    text,
)

DECLARATION = Declaration(
    integer("k", "Clusters.", required=True, min=1, tuning=Tuning((1, 9), "Linear")),
    integer("factor", "Factor.", default="auto", min=1, also=("auto",)),
    number("rate", "Step.", default=0.5, min=0, exclusive_min=True, max=1),
    boolean("dense", "Dense.", default=True),
    choice("optimizer", "Optimizer.", "sgd", "adam", default="sgd"),
    number("momentum", "Momentum.", default=0.0, min=0, applies={"optimizer": ("sgd",)}),
    listing("metrics", "Metrics.", "msd", "ssd", default=["msd"]),
    text("note", "Note.", default=""),
    number("lambda", "Penalty.", default=1.0, aliases=("reg_lambda",)),
    rules=[lambda values: "k is 7, which is unlucky; accepted: any other" if values["k"] == 7 else None],
)


def resolve(**written):
    return DECLARATION.resolve({"k": "3", **written})


def refused(**written):
    with pytest.raises(ClientError) as caught:
        DECLARATION.resolve(written)
    return str(caught.value)


def test_defaults_stand_for_what_is_left_out():
    values = resolve()
    assert dict(values) == {**DECLARATION.defaults(), "k": 3}
    assert values.given == {"k"}


@pytest.mark.parametrize("written", ["4", '"4"', "'4'", '"\\"4\\""'.replace("\\", ""), " 4 ", 4])
def test_values_come_as_strings_and_sometimes_quoted_twice(written):
    assert resolve(factor=written)["factor"] == 4


@pytest.mark.parametrize("written", ["true", "True", "TRUE", '"true"', True])
def test_true_is_spelled_in_many_ways(written):
    assert resolve(dense=written)["dense"] is True


def test_what_was_written_is_shown_on_one_line():
    assert "k is 'a\\nb\\x00é';" in refused(k="a\nb\0é")


def test_false_is_false():
    assert resolve(dense="False")["dense"] is False


@pytest.mark.parametrize(
    "written",
    [
        '["msd","ssd"]',
        '["msd", "ssd"]',
        "['msd', 'ssd']",
        "msd,ssd",
        "msd, ssd",
        '("msd", "ssd")',
        "[msd, ssd]",
    ],
)
def test_lists_are_spelled_in_many_ways(written):
    assert resolve(metrics=written)["metrics"] == ["msd", "ssd"]


@pytest.mark.parametrize(
    "written", ["[]", "", '[["msd"]]', "[{}]", "[1]", "[msd, mad]", "[__import__('os')]"]
)
def test_other_lists_are_refused(written):
    assert "accepted: a list of msd or ssd" in refused(k="3", metrics=written)


def test_auto_is_a_word_of_its_own():
    assert resolve(factor="AUTO")["factor"] == "auto"


def test_choices_take_any_case():
    assert resolve(optimizer="Adam")["optimizer"] == "adam"


def test_underscored_knobs_pass():
    values = resolve(_tuning_objective_metric="test:msd", _kvstore="dist_sync")
    assert values.internal == {"_tuning_objective_metric": "test:msd", "_kvstore": "dist_sync"}


def test_aliases_are_other_names():
    assert resolve(reg_lambda="2.5")["lambda"] == 2.5
    assert "given twice" in refused(k="1", reg_lambda="2", **{"lambda": "3"})


@pytest.mark.parametrize(
    ("name", "written", "accepted"),
    [
        ("k", "0", "an integer of at least 1"),
        ("k", "1.5", "an integer of at least 1"),
        ("k", "1_000", "an integer of at least 1"),
        ("k", "٣", "an integer of at least 1"),
        ("k", "", "an integer of at least 1"),
        ("k", "9" * 400, "an integer of at least 1"),
        ("factor", "many", "an integer of at least 1, or auto"),
        ("rate", "0", "a number above 0 and at most 1"),
        ("rate", "nan", "a number above 0 and at most 1"),
        ("rate", "inf", "a number above 0 and at most 1"),
        ("dense", "yes", "true or false"),
        ("optimizer", "lbfgs", "sgd or adam"),
        ("metrics", '["rmse"]', "a list of msd or ssd"),
        ("metrics", "[" * 500, "a list of msd or ssd"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_accepted(name, written, accepted):
    message = refused(**{"k": "3", name: written})
    assert message.startswith(f"hyperparameter {name} is '")
    assert message.endswith(f"accepted: {accepted}")


def test_all_faults_are_told_at_once():
    message = refused(facter="2", rate="-1", dense="maybe")
    assert "facter is unknown; did you mean factor?" in message
    assert "rate is '-1'" in message
    assert "dense is 'maybe'" in message
    assert "k is missing" in message


def test_an_open_declaration_takes_names_of_a_users_own():
    opened = Declaration(integer("k", "", default=1), open=True)
    values = opened.resolve({"k": "2", "rl.training.stop": '"30"', "_knob": "1"})
    assert values["k"] == 2
    assert values.internal == {"rl.training.stop": "30", "_knob": "1"}


def test_rules_between_parameters_are_checked():
    assert "unlucky" in refused(k="7")


def test_parameters_that_other_settings_make_meaningless_are_told():
    assert DECLARATION.without_effect(resolve(momentum="0.5")) == []
    (sentence,) = DECLARATION.without_effect(resolve(momentum="0.5", optimizer="adam"))
    assert sentence == (
        "hyperparameter momentum has no effect: it applies when optimizer is sgd, and optimizer is adam"
    )


def test_what_no_applies_can_say_is_told_by_a_rule():
    declaration = Declaration(
        integer("first", "One.", default=1),
        integer("second", "Two.", default=1),
        idle=[lambda values: "second is in vain" if values["first"] == values["second"] else None],
    )
    assert declaration.without_effect(declaration.resolve({"second": "2"})) == []
    assert declaration.without_effect(declaration.resolve({"second": "1"})) == ["second is in vain"]


def test_the_declaration_is_data():
    described = DECLARATION["k"].described()
    assert described["type"] == "int"
    assert described["required"] is True
    assert described["tuning_range"] == [1, 9]
    assert described["scaling"] == "Linear"


@pytest.mark.parametrize("name", manifest.known())
def test_every_algorithms_defaults_are_values_it_accepts(name):
    for parameter in manifest.load(name).declaration().parameters:
        if parameter.default is not None and not parameter.required and parameter.reader is None:
            written = parameter.default
            assert parameter.read(written if isinstance(written, str) else str(written)) == written
        assert parameter.meaning


def test_an_unknown_name_is_told_on_one_short_line():
    message = refused(k="3", **{"a\nb\ud800" + "x" * 500: "1"})
    assert message.startswith(r"hyperparameter a\nb\ud800xxx")
    assert len(message.split(" is unknown")[0]) < 100
    assert "hyperparameter '' is unknown" in refused(k="3", **{"": "1"})
