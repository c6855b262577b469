"""Which of the old encodings a text in Latin letters is in: the one in which a single language writes all its letters.

What counts how often letters follow each other, as charset-normalizer does, tells these encodings badly apart: they
differ in a few letters.
"""

import re
from collections import Counter

WESTERN = (
    "äöüß",  # German
    "àâæçèéêëîïôœùûüÿ",  # French
    "áéíñóúü",  # Spanish
    "àáâãçéêíóôõúü",  # Portuguese
    "àèéìíîòóùú",  # Italian
    "äåéö",  # Swedish, Finnish
    "äåæéèöø",  # Danish, Norwegian
    "áèéëíïóöúü",  # Dutch
    "áæðéíóöúýþ",  # Icelandic
    "àçèéíïòóúü",  # Catalan
)
CENTRAL = (
    "ąćęłńóśźż",  # Polish
    "áéíóöőúüű",  # Hungarian
    "áčďéěíňóřšťúůýž",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "ćčđšž",  # Croatian, Slovenian
    "ăâîşţ",  # Romanian
)
TURKISH = ("âçğıîöşüûİ",)
BALTIC = ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž")
# Where two fit alike, the one that is met more often comes first.
ENCODINGS = {"cp1252": WESTERN, "cp1250": CENTRAL, "iso8859-2": CENTRAL, "cp1254": TURKISH, "cp1257": BALTIC}
SIGNS = frozenset("\xa0\xad–—‘’‚“”„«»‹›…•·€£¢¥§©®™°±²³¼½¾×¡¿ªºµ´")
STRANGE = 0.1  # of what stands beyond ASCII, at most
CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def guessed(content: bytes) -> str | None:
    """The encoding; None where none fits, or half of the letters and more are not ASCII's."""
    if CONTROLS.search(content):
        return None
    fitting = [(strange, encoding) for encoding in ENCODINGS if (strange := _strange(content, encoding)) <= STRANGE]
    return min(fitting, key=lambda found: found[0])[1] if fitting else None


def _strange(content: bytes, encoding: str) -> float:
    """Of the letters and signs beyond ASCII, how many the language lacks that fits best."""
    try:
        counts = Counter(content.decode(encoding))
    except UnicodeDecodeError:
        return 1.0
    beyond = {character: count for character, count in counts.items() if character > "\x7f"}
    letters = sum(count for character, count in counts.items() if character.isalpha())
    if 2 * sum(count for character, count in beyond.items() if character.isalpha()) >= letters:
        return 1.0
    known = [SIGNS.union(language, language.upper()) for language in ENCODINGS[encoding]]
    fewest = min(sum(count for character, count in beyond.items() if character not in kept) for kept in known)
    return fewest / max(1, sum(beyond.values()))
