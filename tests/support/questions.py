"""Questions of customers about twelve topics, in two wordings: written for these tests."""

from __future__ import annotations

import itertools

from numpy.random import Generator

ITEMS = ("laptop", "headphones", "coffee machine", "winter jacket", "running shoes", "desk lamp", "camera", "tent")
CITIES = ("Lisbon", "Toronto", "Hamburg", "Osaka", "Nairobi", "Lyon", "Denver", "Oslo")
DAYS = ("Monday", "Tuesday", "Friday", "last week", "two days ago", "this morning", "in March", "yesterday")

TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "password": (
        (
            "How do I reset my password?",
            "I forgot my password and cannot log in since {day}",
            "Please help me change the password of my account",
        ),
        (
            "What is the way to set a new password?",
            "My password no longer works since {day}, how can I log in",
            "I need to change my account password, please help",
        ),
    ),
    "delivery": (
        (
            "Where is my parcel with the {item}?",
            "My delivery to {city} has not arrived since {day}",
            "When will the package with my {item} be delivered?",
        ),
        (
            "The parcel with my {item} is late, where is it?",
            "I still wait for the delivery to {city} from {day}",
            "What is the delivery date of the package with the {item}?",
        ),
    ),
    "refund": (
        (
            "I want my money back for the {item}",
            "When do I get the refund for the {item}?",
            "The refund of my payment from {day} is missing",
        ),
        (
            "Please refund the money that I paid for the {item}",
            "How long does a refund of the {item} take?",
            "I did not receive the refund of {day}",
        ),
    ),
    "invoice": (
        (
            "Please send me the invoice for the {item}",
            "The invoice from {day} shows the wrong address",
            "I need an invoice with the tax number of my company",
        ),
        (
            "Can I get an invoice of the {item}?",
            "There is a wrong address on the invoice of {day}",
            "My company needs its tax number on the invoice",
        ),
    ),
    "weather": (
        (
            "What is the weather in {city}?",
            "Will it rain in {city} on {day}?",
            "How cold is it in {city} in winter?",
        ),
        (
            "How is the weather in {city} today?",
            "Is rain expected in {city} on {day}?",
            "What are winter temperatures in {city}?",
        ),
    ),
    "recipe": (
        (
            "How do I cook pasta with tomatoes and garlic?",
            "Give me a recipe for potato soup",
            "How long must I bake bread in the oven?",
        ),
        (
            "What is a good way to cook pasta with garlic and tomatoes?",
            "I need a soup recipe with potatoes",
            "What is the baking time of bread in an oven?",
        ),
    ),
    "flight": (
        (
            "Book me a flight to {city} on {day}",
            "How much is a plane ticket to {city}?",
            "My flight to {city} was cancelled",
        ),
        (
            "I want to book a flight to {city}, leaving {day}",
            "What does a ticket for the plane to {city} cost?",
            "The airline cancelled my flight to {city}",
        ),
    ),
    "health": (
        (
            "I have a headache and fever since {day}",
            "Which medicine helps against a sore throat?",
            "My back hurts when I sit, should I see a doctor?",
        ),
        (
            "Since {day} I have fever and my head hurts",
            "What medicine can I take for a sore throat?",
            "Should I go to a doctor, my back hurts while sitting?",
        ),
    ),
    "code": (
        (
            "How do I sort a list in Python?",
            "My Python function returns None instead of a value",
            "How do I read a file line by line in Python?",
        ),
        (
            "What is the way to sort a Python list?",
            "Why does my function in Python return None and not a value?",
            "Read a file in Python, one line at a time, how?",
        ),
    ),
    "football": (
        (
            "Who won the football match on {day}?",
            "How many goals did the striker score this season?",
            "When does the next football game of {city} start?",
        ),
        (
            "Which team won the football game on {day}?",
            "What number of goals has the striker scored this season?",
            "What time is the next football match of {city}?",
        ),
    ),
    "warranty": (
        (
            "My {item} is broken, is it still under warranty?",
            "How long is the warranty of the {item}?",
            "The {item} stopped working, can you repair it?",
        ),
        (
            "Does the warranty cover my broken {item}?",
            "What is the warranty period of a {item}?",
            "Can you repair the {item}, it does not work any more?",
        ),
    ),
    "job": (
        (
            "How do I write an application for a job as a nurse?",
            "Which questions come up in a job interview?",
            "Please improve my resume for a job in {city}",
        ),
        (
            "Help me write a job application as a nurse",
            "What are usual questions of a job interview?",
            "Can you make my resume better for a job in {city}?",
        ),
    ),
}
NAMES = tuple(TOPICS)
USUAL, REWORDED = 0, 1


def questions(shares: dict[str, float], n: int, rng: Generator, wording: int = USUAL) -> list[str]:
    """Draw questions.

    Args:
        shares: topic → its share; other topics have equal parts of the rest.
        n: how many.
        rng: draws topics, templates and words.
        wording: `USUAL` or `REWORDED`.
    """
    rest = (1 - sum(shares.values())) / (len(NAMES) - len(shares))
    topics = rng.choice(len(NAMES), n, p=[shares.get(name, rest) for name in NAMES])
    drawn = []
    for topic in topics.tolist():
        template = str(rng.choice(TOPICS[NAMES[topic]][wording]))
        words = {"item": rng.choice(ITEMS), "city": rng.choice(CITIES), "day": rng.choice(DAYS)}
        drawn.append(template.format(**words))
    return drawn


def all_questions(wording: int = USUAL) -> list[str]:
    """Every question of a wording, in a fixed order."""
    result: dict[str, None] = {}
    for wordings in TOPICS.values():
        for template, item, city, day in itertools.product(wordings[wording], ITEMS, CITIES, DAYS):
            result[template.format(item=item, city=city, day=day)] = None
    return list(result)


def topic_of(question: str) -> str:
    """Return the topic of a question that `questions` drew."""
    return _TOPIC_OF[question]


_TOPIC_OF = {
    template.format(item=item, city=city, day=day): name
    for name, wordings in TOPICS.items()
    for templates in wordings
    for template, item, city, day in itertools.product(templates, ITEMS, CITIES, DAYS)
}
