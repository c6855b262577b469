"""What print does to words, undone: hyphens at the ends of lines, ligatures, blanks."""

import re
import unicodedata

from apps.file_processors.parsing.text import held

LIGATURES = re.compile("[\ufb00-\ufb06]")
# pdfium has U+FFFE for a hyphen that only the end of the line has put there; others leave the hyphen, or a soft one.
PDFIUM_HYPHEN = re.compile("\ufffe[ \t]*(\r?\n)?|\x02[ \t]*(\r?\n)?")
BROKEN_WORD = re.compile(r"(?<=[^\W\d_])(?:-|\u2010|\u00ad)[ \t]*\n[ \t]*(?=[^\W\d_])")
SOFT_HYPHEN = re.compile("\u00ad")
LINE_END = re.compile(r"[ \t\u00a0]+\n")
BLANK_LINES = re.compile(r"\n{3,}")


def tidied(text: str) -> str:
    """Text of a page. A word that goes on in small letters after a hyphen at a line's end is one word."""
    text = held(PDFIUM_HYPHEN.sub("", text))
    text = LIGATURES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = BROKEN_WORD.sub(lambda found: "" if _goes_on(text, found) else found[0].replace("\u00ad", "-"), text)
    return BLANK_LINES.sub("\n\n", LINE_END.sub("\n", SOFT_HYPHEN.sub("", text))).strip()


def _goes_on(text: str, found: re.Match[str]) -> bool:
    return text[found.start() - 1].islower() and text[found.end()].islower()
