"""Words with a meaning for the checks: negations, number words, units, months."""

from decimal import Decimal

_NEGATIONS = """
not no never none neither nor without nothing nobody nowhere hardly
nicht kein keine keinen keinem keiner keines nie niemals ohne
pas jamais aucun aucune sans nunca ningún ninguna sin mai nessun nessuna senza niet geen nooit zonder
不 没 無 无 非 未
"""
_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""
_TENS = "thirty forty fifty sixty seventy eighty ninety hundred"
_MONTHS = "january february march april may june july august september october november december"

NEGATIONS = frozenset(_NEGATIONS.split())
"""Words of English, German, French, Spanish, Italian and Dutch, and characters of Chinese, that negate a statement."""
NEGATIVE_PREFIXES = ("un", "in", "im", "ir", "il", "non", "dis")
ARTICLES = frozenset(("a", "an", "the"))

NUMBER_WORDS: dict[str, int] = {word: value for value, word in enumerate(_NUMBERS.split())} | {
    word: 10 * tens for tens, word in enumerate(_TENS.split(), start=3)
}
"""Number words of English, whose values equal numbers in digits."""

MONTHS: dict[str, int] = {
    name[:length]: month
    for month, name in enumerate(_MONTHS.split(), start=1)
    for length in (3, 4, len(name))
    if length in (3, len(name)) or name == "september"
}
"""Names of months in English, and their abbreviations, in lower case."""

_UNITS: dict[str, str] = {
    "second": "s sec secs second seconds",
    "minute": "min mins minute minutes",
    "hour": "h hr hrs hour hours",
    "day": "d day days",
    "week": "wk wks week weeks",
    "month": "month months mo mos",
    "year": "yr yrs year years",
    "eur": "eur euro euros €",
    "usd": "usd dollar dollars $",
    "gbp": "gbp pound pounds £",
    "jpy": "jpy yen ¥",
    "chf": "chf franc francs",
    "percent": "% percent pct",
    "milligram": "mg milligram milligrams milligramme milligrammes",
    "gram": "g gram grams gramme grammes",
    "kilogram": "kg kgs kilo kilos kilogram kilograms kilogramme kilogrammes",
    "millimetre": "mm millimetre millimetres millimeter millimeters",
    "centimetre": "cm centimetre centimetres centimeter centimeters",
    "metre": "m metre metres meter meters",
    "kilometre": "km kilometre kilometres kilometer kilometers",
    "millilitre": "ml millilitre millilitres milliliter milliliters",
    "litre": "l litre litres liter liters",
    "watt": "w watt watts",
    "kilowatt": "kw kilowatt kilowatts",
    "megabyte": "mb megabyte megabytes",
    "gigabyte": "gb gigabyte gigabytes",
    "degree": "° degree degrees °c",
}
UNITS: dict[str, str] = {form: name for name, forms in _UNITS.items() for form in forms.split()}
"""Each form of a unit with its name: plurals, abbreviations, symbols."""
AFTER_NUMBERS_ONLY = frozenset(form for form in UNITS if len(form) <= 3 and form.isascii() and form != "day")
"""Forms that are units only directly after a number, such as `m` and `min`."""
CURRENCIES = frozenset(("eur", "usd", "gbp", "jpy", "chf"))

SCALES: dict[str, tuple[str, Decimal]] = {
    "second": ("time", Decimal(1)),
    "minute": ("time", Decimal(60)),
    "hour": ("time", Decimal(3_600)),
    "day": ("time", Decimal(86_400)),
    "week": ("time", Decimal(604_800)),
    "month": ("months", Decimal(1)),
    "year": ("months", Decimal(12)),
    "milligram": ("mass", Decimal(1)),
    "gram": ("mass", Decimal(1_000)),
    "kilogram": ("mass", Decimal(1_000_000)),
    "millimetre": ("length", Decimal(1)),
    "centimetre": ("length", Decimal(10)),
    "metre": ("length", Decimal(1_000)),
    "kilometre": ("length", Decimal(1_000_000)),
    "millilitre": ("volume", Decimal(1)),
    "litre": ("volume", Decimal(1_000)),
    "watt": ("power", Decimal(1)),
    "kilowatt": ("power", Decimal(1_000)),
    "megabyte": ("size", Decimal(1)),
    "gigabyte": ("size", Decimal(1_000)),
}
"""Each unit that converts into others, with its dimension and its size. A month has no fixed number of days."""
