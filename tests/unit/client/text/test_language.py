import pytest
from barograph.text.errors import TextError
from barograph.text.language import LanguageDetector


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I reset my password?", "en"),
        ("Wie kann ich meine Rechnung bezahlen?", "de"),
        ("¿Dónde está mi pedido de la semana pasada?", "es"),
        ("Je voudrais annuler ma commande", "fr"),
        ("请问如何退款", "zh"),
        ("hi", "unknown"),
        ("12345 67890 12345 67890", "unknown"),
        ("", "unknown"),
        ("\ud800 how do I reset my password", "en"),
    ],
)
def test_any_language(text: str, language: str) -> None:
    assert LanguageDetector().detect(text) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I reset my password?", "en"),
        ("where is my order", "en"),
        ("Wie kann ich meine Rechnung bezahlen?", "de"),
        ("Je voudrais annuler ma commande de la semaine dernière", "other"),
        ("请问如何退款", "other"),
    ],
)
def test_a_language_that_the_contract_does_not_name_is_other(text: str, language: str) -> None:
    assert LanguageDetector(("en", "de")).detect(text) == language


def test_an_unknown_code_is_an_error() -> None:
    with pytest.raises(TextError, match="klingon"):
        LanguageDetector(("en", "klingon"))
