"""Tasks and exports follow from what a class defines, and from its options where these decide."""

import pytest

from ganlib.abilities import (
    ABILITIES,
    EXPORTS,
    TASKS,
    Acts,
    Encodes,
    HasDensity,
    Locates,
    Predicts,
    Samples,
    Scores,
    Segments,
    can,
)
from ganlib.data.spec import DataSpec
from ganlib.models.vae.vae import VAE
from ganlib.registry import create, entries, entry, list_models

POINTS = DataSpec.vector(2)


def test_every_model_claims_what_its_class_has():
    for e in entries():
        own = {ability for ability in ABILITIES if issubclass(e.build, ability)}
        assert set(e.abilities) <= own, e.name
        assert {TASKS[task] for task in e.tasks if task in TASKS} <= set(e.abilities), e.name
        assert {EXPORTS[export] for export in e.exports} <= set(e.abilities), e.name


def test_a_density_is_claimed_only_with_log_prob():
    able = list_models("density")
    assert {"gaussian", "glow", "nice", "realnvp"} <= set(able)
    assert all(HasDensity in entry(name).abilities and hasattr(entry(name).build, "log_prob") for name in able)
    assert HasDensity not in entry("vae").abilities and not hasattr(VAE, "log_prob")


@pytest.mark.parametrize(
    ("name", "abilities"),
    [
        ("vae", {Samples, Scores, Encodes}),
        ("reconstruction_vae", {Scores, Encodes}),
        ("ganomaly", {Scores}),
        ("patch_gaussian", {Scores, Locates}),
        ("blended_patches", {Scores, Locates}),
        ("gan", {Samples}),
        ("began", {Samples, Scores}),
        ("mode_regularised_gan", {Samples, Encodes}),
        ("loss_sensitive_gan", {Samples}),
        ("generalised_loss_sensitive_gan", {Samples}),
        ("cgan", {Samples}),
        ("semi_supervised_gan", {Samples, Encodes, Predicts}),
        ("fcn_wild", {Encodes, Segments}),
        ("gail", {Acts}),
        ("seqgan", set()),
    ],
)
def test_abilities(name, abilities):
    assert set(entry(name).abilities) == abilities


def test_options_take_abilities_away_and_give_them():
    assert not can(create("gan", POINTS), Scores) and can(create("gan", POINTS, objective="ebgan"), Scores)
    assert can(create("infogan", POINTS), Encodes) and not can(create("infogan", POINTS, categories=0), Encodes)
    assert not can(create("cgan", DataSpec.vector(2, 3), objective="ebgan"), Scores)
    assert not can(create("mode_regularised_gan", POINTS), Scores)
    assert not can(object(), Samples)
