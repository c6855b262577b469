"""Lists of homes that no door takes: each with where it is refused, and what is said."""

from typing import Any

SKY, OTHER = {"provider_id": "sky"}, {"provider_id": "other"}
# What `fast`, an llm, may not have as homes. `there` is a model of that name and type, `loop` one whose home is `fast`,
# `small` and `large` are embedding models of 3 and of 4 dimensions.
REFUSED: list[tuple[Any, str, str]] = [
    ([], "homes", "at least one home"),
    ("sky", "homes", "list"),
    ([{"provider_id": "sky", "provider_model_id": f"m{number}"} for number in range(17)], "homes", "at most 16"),
    (["sky"], "homes[0]", ""),
    ([{}], "homes[0].provider_id", "names a provider (provider_id) or another model (model)"),
    ([{"provider_model_id": "sky-1"}], "homes[0].provider_id", "names a provider"),
    ([SKY, {"provider_id": "skyy"}], "homes[1].provider_id", "did you mean 'sky'?"),
    ([{"provider_id": ""}], "homes[0].provider_id", ""),
    ([{"provider_id": "x" * 256}], "homes[0].provider_id", ""),
    ([{"model": "therre"}], "homes[0].model", "did you mean 'there'?"),
    ([SKY, {"model": "nothing-like-it"}], "homes[1].model", "Name a registered one."),
    ([SKY, {"model": "fast"}], "homes[1].model", "is this model itself"),
    ([SKY, {"model": "quick"}], "homes[1].model", "is this model itself"),
    ([{"model": "loop"}], "homes[0].model", "fast -> loop -> fast goes round in a circle"),
    ([SKY, {"model": "outer"}], "homes[1].model", "fast -> outer -> loop -> fast goes round in a circle"),
    ([{"model": "small"}], "homes[0].model", "'small' is of type 'embedding', and this model 'llm'"),
    ([{"model": "there", "provider_id": "sky"}], "homes[0].provider_id", "leave out 'provider_id' or 'model'"),
    ([{"model": "there", "provider_model_id": "a"}], "homes[0].provider_model_id", "leave out 'provider_model_id'"),
    ([SKY, OTHER, {"provider_id": "sky", "weight": 5}], "homes[2]", "the same as homes[0]"),
    ([SKY, {"provider_id": "sky", "provider_model_id": "fast"}], "homes[1]", "the same as homes[0]"),
    ([{"model": "there"}, {"model": "their"}], "homes[1]", "the same as homes[0]"),
    ([{"provider_id": "sky", "weight": 0}], "homes[0].weight", "greater than or equal to 1"),
    ([{"provider_id": "sky", "weight": 1001}], "homes[0].weight", "less than or equal to 1000"),
    ([{"provider_id": "sky", "weight": "2"}], "homes[0].weight", "valid integer"),
    ([{"provider_id": "sky", "weight": True}], "homes[0].weight", "valid integer"),
    ([{"provider_id": "sky", "order": -1}], "homes[0].order", "greater than or equal to 0"),
    ([{"provider_id": "sky", "order": 101}], "homes[0].order", "less than or equal to 100"),
    ([{"provider_id": "sky", "order": 1.5}], "homes[0].order", "valid integer"),
    ([SKY, {"provider_id": "other", "wieght": 2}], "homes[1].wieght", ""),
]
IDS = [f"{place}: {said or index}" for index, (_, place, said) in enumerate(REFUSED)]
# The models that those lists speak of, beside `fast` itself (alias `quick`).
AROUND: dict[str, dict[str, Any]] = {
    "there": {"provider_id": "sky", "aliases": ["their"]},
    "loop": {"homes": [{"provider_id": "sky"}, {"model": "fast"}]},
    "outer": {"homes": [{"provider_id": "sky"}, {"model": "loop"}]},
    "small": {"provider_id": "sky", "model_type": "embedding", "metadata": {"embedding_dimension": 3}},
    "large": {"provider_id": "sky", "model_type": "embedding", "metadata": {"embedding_dimension": 4}},
}
