import pytest
from barograph.text.errors import TextError
from barograph.text.language import LanguageDetector

CANCEL = "Je voudrais annuler ma commande"


def test_any_language() -> None:
    languages = {
        "How do I reset my password?": "en",
        "Wie kann ich meine Rechnung bezahlen?": "de",
        "¿Dónde está mi pedido de la semana pasada?": "es",
        CANCEL: "fr",
        "请问如何退款": "zh",
        "12345 67890 12345 67890": "unknown",
        "": "unknown",
        "\ud800 how do I reset my password": "en",
    }
    detector = LanguageDetector()
    assert {text: detector.detect(text) for text in languages} == languages


def test_a_language_that_the_contract_does_not_name_is_other_and_an_unknown_code_an_error() -> None:
    languages = {
        "How do I reset my password?": "en",
        "Wie kann ich meine Rechnung bezahlen?": "de",
        f"{CANCEL} de la semaine dernière": "other",
        "请问如何退款": "other",
    }
    detector = LanguageDetector(("en", "de"))
    assert {text: detector.detect(text) for text in languages} == languages
    with pytest.raises(TextError, match="klingon"):
        LanguageDetector(("en", "klingon"))
