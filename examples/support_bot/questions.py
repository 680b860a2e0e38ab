"""Questions of customers: templates of eight topics, filled at random."""

import random
from collections.abc import Mapping, Sequence

TOPICS: Mapping[str, Sequence[str]] = {
    "delivery": (
        "Where is my parcel with the {item}?",
        "My {item} should have arrived {when}. Where is the parcel?",
        "How long does delivery of a {item} to {city} take?",
        "Can the courier bring the {item} to a neighbour in {city}?",
        "Has my order of a {item} been shipped yet?",
    ),
    "returns": (
        "How do I return the {item}?",
        "I want to send back the {item} that I bought {when}.",
        "Can I return a {item} without the original box?",
        "Who pays for returning a {item} from {city}?",
        "When do I get my money back for the returned {item}?",
    ),
    "payment": (
        "Can I pay for the {item} with a credit card?",
        "My card was charged twice for the {item}.",
        "Do you accept a bank transfer for a {item}?",
        "I need an invoice for the {item} that I bought {when}.",
        "Why was my payment for the {item} declined?",
    ),
    "account": (
        "How do I reset my password?",
        "I cannot log in since {when}.",
        "Please change my e-mail address in my account.",
        "How do I delete my account?",
        "I moved to {city}. Where do I change my address?",
    ),
    "opening hours": (
        "When does your shop in {city} open?",
        "Is the shop in {city} open on Sunday?",
        "Until what time can I come to the shop in {city}?",
        "Are you open on public holidays in {city}?",
        "Where is your nearest shop to {city}?",
    ),
    "warranty": (
        "How long is the warranty of the {item}?",
        "The {item} stopped working {when}. Is that covered by the warranty?",
        "Who repairs a {item} under warranty?",
        "Does the warranty of the {item} cover water damage?",
        "Can I extend the warranty of my {item}?",
    ),
    "products": (
        "Does the {item} come in black?",
        "How much power does the {item} need?",
        "Is the {item} dishwasher safe?",
        "What is the difference between the small and the large {item}?",
        "How heavy is the {item}?",
    ),
    "gift cards": (
        "How do I redeem a gift card?",
        "Can I buy a gift card in {city}?",
        "How long is a gift card valid?",
        "Can I pay for the {item} with two gift cards?",
        "My gift card from {when} does not work.",
    ),
}
"""Topic → templates of its questions."""
_SLOTS: Mapping[str, Sequence[str]] = {
    "item": ("kettle", "lamp", "toaster", "blender", "chair", "desk", "radio", "heater", "mixer", "clock"),
    "city": ("Lyon", "Porto", "Graz", "Leeds", "Turin", "Ghent", "Bergen", "Krakow"),
    "when": ("yesterday", "last week", "on Monday", "three days ago", "this morning", "in March"),
}


def even_mix() -> dict[str, float]:
    """Return the mix in which each topic has the same share."""
    return dict.fromkeys(TOPICS, 1.0 / len(TOPICS))


def mix_with(topic: str, share: float) -> dict[str, float]:
    """Return the mix in which a topic has a share, and all others the same share of the rest."""
    rest = (1.0 - share) / (len(TOPICS) - 1)
    return {each: share if each == topic else rest for each in TOPICS}


def question(rng: random.Random, mix: Mapping[str, float]) -> str:
    """Return a question of a topic drawn by the shares of `mix`."""
    (topic,) = rng.choices(list(mix), list(mix.values()))
    template = rng.choice(TOPICS[topic])
    return template.format(**{name: rng.choice(values) for name, values in _SLOTS.items()})
