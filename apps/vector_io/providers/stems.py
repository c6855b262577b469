"""English words without their endings, so that "searches" finds "searching": M. F. Porter's algorithm of 1980.

As he describes it in "An algorithm for suffix stripping", with his later `logi` and `bli`
(https://tartarus.org/martin/PorterStemmer/); SQLite's FTS5 does the same under the name `porter`. Words of other
languages lose their accents, and mostly nothing else.
"""

import re
import unicodedata
from functools import lru_cache

SHORTEST = 3  # letters: shorter words stay as they are
LONGEST = 64  # letters by which a word is found
WORD = re.compile(r"[^\W_]+")
DOUBLE = {"abli": "able", "alli": "al", "anci": "ance", "ator": "ate", "biliti": "ble", "bli": "ble", "eli": "e"}
DOUBLE |= {"enci": "ence", "entli": "ent", "ization": "ize", "izer": "ize", "logi": "log", "ation": "ate"}
DOUBLE |= {"ousli": "ous", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive"}
DOUBLE |= {"ational": "ate", "tional": "tion", "alism": "al"}
SINGLE = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
LAST = {"al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou", "ism"}
LAST |= {"ate", "iti", "ous", "ive", "ize"}


def stems(text: str) -> list[str]:
    """Of a text's words, in their order. A name_of_several is its words, as for FTS5."""
    return [stem(word[:LONGEST]) for word in WORD.findall(text)]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    plain = "".join(each for each in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(each))
    if not SHORTEST <= len(plain) <= LONGEST or not (plain.isascii() and plain.isalpha()):
        return plain
    for step in (_plural, _past, _final_y, _doubled, _single, _last, _final_e):
        plain = step(plain)
    return plain


def _shape(stem: str) -> str:
    """`c` for each run of consonants, `v` for each of vowels. A y behind a consonant is a vowel."""
    shape = ""
    vowel = False
    for place, letter in enumerate(stem):
        vowel = letter in "aeiou" or (letter == "y" and place > 0 and not vowel)
        if not shape.endswith("v" if vowel else "c"):
            shape += "v" if vowel else "c"
    return shape


def _measure(stem: str) -> int:
    return _shape(stem).count("vc")


def _is_short(stem: str) -> bool:
    """Ends in consonant, vowel, consonant, and the last of them is none that lengthens the vowel."""
    return len(stem) >= 3 and _shape(stem[-3:]) == "cvc" and stem[-1] not in "wxy"


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for ending in ("ed", "ing"):
        left = word.removesuffix(ending)
        if left != word:
            return _mended(left) if "v" in _shape(left) else word
    return word


def _mended(left: str) -> str:
    if left.endswith(("at", "bl", "iz")) or (_measure(left) == 1 and _is_short(left)):
        return left + "e"
    return left[:-1] if re.search(r"([^aeioulsz])\1$", left) else left


def _final_y(word: str) -> str:
    return f"{word[:-1]}i" if word.endswith("y") and "v" in _shape(word[:-1]) else word


def _doubled(word: str) -> str:
    return _replaced(word, DOUBLE)


def _single(word: str) -> str:
    return _replaced(word, SINGLE)


def _replaced(word: str, endings: dict[str, str]) -> str:
    ending = next((word[start:] for start in range(len(word)) if word[start:] in endings), None)
    if ending is None:
        return word
    left = word.removesuffix(ending)
    return left + endings[ending] if _measure(left) else word


def _last(word: str) -> str:
    ending = next((word[start:] for start in range(len(word)) if word[start:] in LAST), None)
    if ending is None:
        return word
    left = word.removesuffix("ion" if ending in ("sion", "tion") else ending)
    return left if _measure(left) > 1 else word


def _final_e(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _is_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
