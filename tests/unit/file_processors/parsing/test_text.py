"""Bytes become text of any encoding, without what a database cannot hold."""

import pytest

from apps.file_processors.parsing.text import NoText, decoded, held

GREEK = "Ο κόσμος είναι μεγάλος και γεμάτος ιστορίες που περιμένουν να ειπωθούν. " * 4
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 4
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 4
GERMAN = "Ärger über das große Übermaß an schönen Äpfeln. Die Straße führt über Köln. " * 4
FRENCH = "Où êtes-vous allés cet été, à la plage ? «\xa0Là-bas\xa0», dit le garçon, déjà sur l’île."
POLISH = "Zażółć gęślą jaźń. Wszystkie dzieci są szczęśliwe w Łodzi."
CZECH = "Dnes je hezky a zítra bude pršet. Děti šly do školy, protože měly zkoušku z češtiny."
HUNGARIAN = "Árvíztűrő tükörfúrógép, és minden ember ésszel bír."
TURKISH = "İstanbul'da yağmur yağıyor. Çocuklar şarkı söylüyor."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        (GREEK, "iso8859-7"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "utf-16-le"),
        ("Grüße aus Köln", "cp1252"),
        ("Café", "cp1252"),
        ("naïve résumé", "cp1252"),
        (FRENCH, "cp1252"),
        ("Une tasse à 5\xa0€, soit ½ l d’été\xa0»", "cp1252"),
        ("På svenska heter det räksmörgås.", "cp1252"),
        ("A coração não está à venda.", "cp1252"),
        ("Perché la città è così bella? Però più buono.", "cp1252"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (CZECH, "cp1250"),
        (CZECH, "iso8859-2"),
        (HUNGARIAN, "cp1250"),
        (TURKISH, "cp1254"),
        ("Įlinkęs žąsinas šūktelėjo", "cp1257"),
        ("Price: £5, or ½ of it at 20 °C", "cp1252"),
    ],
)
def test_text_of_an_encoding_is_read_as_it_was_written(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding))[0] == text


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(NoText):
        decoded(bytes(range(256)) * 16)


def test_a_cut_sign_at_the_end_costs_no_more_than_itself() -> None:
    assert decoded(GREEK.encode()[:-2])[0].startswith("Ο κόσμος")


def test_a_fault_in_utf_8_makes_no_other_encoding_of_it() -> None:
    text = ("Le café d'été était fermé. " * 20).encode()
    assert decoded(text + b"\xe9")[0].startswith("Le café d'été était fermé.")


def test_what_no_database_holds_is_left_out() -> None:
    assert held("a\x00b\ud800c\r\nd\re\x0cf\x1b\ufffe\t") == "abc\nd\ne\nf\t"
