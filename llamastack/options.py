"""What the homes of a model lead to, worked out when it is first asked for and kept in the lookups of its snapshot."""

from collections.abc import Iterator

from llamastack.apis import Api
from llamastack.config.homes import DEEPEST
from llamastack.lookups import Lookups, refers
from llamastack.records import Home, ModelRecord, Option, Place


def options_of(model: ModelRecord, known: Lookups) -> tuple[Option, ...]:
    """The homes, as they are listed; of one that leads back to its model, or too deep, what is wrong with it."""
    found = known.options.get(model.key)
    if found is None:
        found = known.options[model.key] = tuple([_option(model, home, known) for home in model.homes])
    return found


def problems_of(model: ModelRecord, known: Lookups) -> tuple[str, ...]:
    """Of the homes that are no place where it can be served."""
    if not refers(model):
        return ()
    return tuple([option.problem for option in options_of(model, known) if option.problem])


def is_registered(model: ModelRecord, known: Lookups) -> bool:
    """Whether any of its homes leads to a provider that is there."""
    for home in model.homes:
        if not home.model and known.provider(model.tenant, home.provider_id, Api.inference):
            return True
    return refers(model) and any(option.registered for option in options_of(model, known))


def _option(model: ModelRecord, home: Home, known: Lookups) -> Option:
    """Names mean to a model's homes what they mean to its tenant."""
    if not home.model:
        provider = known.provider(model.tenant, home.provider_id, Api.inference)
        return Option(home, Place(provider, home.provider_model_id) if provider else None)
    other = known.model(model.tenant, home.model)
    if other is None:
        problem = "is not registered"
    elif other.model_type != model.model_type:
        problem = f"is of type '{other.model_type}'"
    elif _depth(other, known) >= DEEPEST:
        problem = f"leads back to it, or through more than {DEEPEST} models"
    else:
        return Option(home, model=other, options=options_of(other, known))
    return Option(home, problem=f"Model {model.identifier} goes without its home '{home.model}', which {problem}")


def _depth(model: ModelRecord, known: Lookups) -> int:
    """Through how many models, one after the other, its homes lead; `DEEPEST` where it is as many, or goes round.

    The way to the end is kept in a list, since it may be longer than Python's stack.
    """
    depths = known.depths
    if model.key in depths:
        return depths[model.key]
    here = {model.key: 0}  # those on the way, and what is known of them so far
    way = [(model.key, _references(model, known))]
    while way:
        key, rest = way[-1]
        other = next(rest, None)
        if other is None:
            way.pop()
            depths[key] = min(here.pop(key), DEEPEST)
            if way:
                here[way[-1][0]] = max(here[way[-1][0]], depths[key] + 1)
        elif other.key in here:
            here[key] = DEEPEST
        elif other.key in depths:
            here[key] = max(here[key], depths[other.key] + 1)
        else:
            here[other.key] = 0
            way.append((other.key, _references(other, known)))
    return depths[model.key]


def _references(model: ModelRecord, known: Lookups) -> Iterator[ModelRecord]:
    for home in model.homes:
        if home.model and (other := known.model(model.tenant, home.model)):
            yield other
